"""Four further test towns, which `data/` lacks: for asking again in streets that nobody has seen (`replication.py`)."""

from irlvla.world.street_plan import blocks
from irlvla.world.town import DRAWN, Town, random_streets

FURTHER_TOWNS = {
    town.name: town
    for town in (
        Town(
            "alder", "test", random_streets(131, 20, 110, 220, 2, 13.9, "--rand.random-lanenumber", "--tls.guess"),
            (411_000.0, 5_830_000.0), 5_000_001, 18, 18, character="organic", scenarios=(
                "cut_in", "red_light", "parked_car", "right_turn_pedestrians", "jaywalker", "unprotected_left",
            ),
        ),
        Town(
            "beech", "test", DRAWN, (414_000.0, 5_830_000.0), 6_000_001, 18, 18,
            character="roundabouts", plan=blocks(
                (0, 180, 360), (0, 180, 350), seed=51, bend_m=16.0, roundabouts={(1, 1): 21.0, (2, 0): 17.0},
                lights=((0, 1),),
            ), scenarios=(
                "roundabout", "crosswalk_pedestrian", "cyclist", "roundabout", "green_start", "slow_leader",
            ),
        ),
        Town(
            "chestnut", "test", DRAWN, (417_000.0, 5_830_000.0), 7_000_001, 18, 18,
            character="arterial", plan=blocks(
                (0, 200, 410), (0, 180, 370), seed=61, bend_m=10.0, column_lanes={0: 2}, row_lanes={1: 2},
                lights=((0, 1), (1, 1), (2, 0)),
            ), scenarios=(
                "stopped_leader", "red_light", "construction", "unprotected_left", "braking_leader", "cut_in",
            ),
        ),
        Town(
            "hawthorn", "test", random_streets(43, 16, 110, 220, 1, 11.1, "--tls.guess", "--tls.guess.threshold", "40"),
            (420_000.0, 5_830_000.0), 8_000_001, 18, 18, cars_per_km=10.0, pedestrians=40, character="village",
            scenarios=(
                "jaywalker", "slow_leader", "parked_car", "unprotected_left", "crosswalk_pedestrian", "cyclist",
            ),
        ),
    )
}  # fmt: skip
