"""Towns that `data/` lacks: four test towns, for asking again in streets that nobody has seen (`replication.py`), and
eight training towns whose scenes nobody labels (`unlabelled.py`).
"""

from irlvla.world.street_plan import blocks, motorway
from irlvla.world.town import DRAWN, Town, random_streets

LIT = ("--rand.random-lanenumber", "--tls.guess")
FEW_LIGHTS = ("--tls.guess", "--tls.guess.threshold", "40")
ORGANIC = (
    "cut_in", "red_light", "parked_car", "right_turn_pedestrians", "jaywalker", "unprotected_left", "green_start",
    "stopped_leader", "cyclist", "braking_leader",
)  # fmt: skip
ROUNDABOUTS = ("roundabout", "crosswalk_pedestrian", "cyclist", "roundabout", "green_start", "slow_leader")
VILLAGE = ("jaywalker", "slow_leader", "parked_car", "unprotected_left", "crosswalk_pedestrian", "cyclist")

FURTHER_TOWNS = {
    town.name: town
    for town in (
        Town(
            "alder", "test", random_streets(131, 20, 110, 220, 2, 13.9, *LIT),
            (411_000.0, 5_830_000.0), 5_000_001, 18, 18, character="organic", scenarios=(
                "cut_in", "red_light", "parked_car", "right_turn_pedestrians", "jaywalker", "unprotected_left",
            ),
        ),
        Town(
            "beech", "test", DRAWN, (414_000.0, 5_830_000.0), 6_000_001, 18, 18,
            character="roundabouts", plan=blocks(
                (0, 180, 360), (0, 180, 350), seed=51, bend_m=16.0, roundabouts={(1, 1): 21.0, (2, 0): 17.0},
                lights=((0, 1),),
            ), scenarios=ROUNDABOUTS,
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
            "hawthorn", "test", random_streets(43, 16, 110, 220, 1, 11.1, *FEW_LIGHTS),
            (420_000.0, 5_830_000.0), 8_000_001, 18, 18, cars_per_km=10.0, pedestrians=40, character="village",
            scenarios=VILLAGE,
        ),
    )
}  # fmt: skip

UNLABELLED_TOWNS = {
    town.name: town
    for town in (
        Town(
            "acacia", "train", random_streets(211, 20, 110, 220, 2, 13.9, *LIT), (402_000.0, 5_840_000.0), 20_000_001,
            18, character="organic", scenarios=ORGANIC,
        ),
        Town(
            "almond", "train", random_streets(223, 18, 110, 220, 2, 13.9, *LIT), (405_000.0, 5_840_000.0), 21_000_001,
            18, character="organic", scenarios=ORGANIC[3:] + ORGANIC[:3],
        ),
        Town(
            "cherry", "train", random_streets(227, 20, 110, 220, 2, 13.9, *LIT), (408_000.0, 5_840_000.0), 22_000_001,
            18, character="organic", scenarios=ORGANIC[6:] + ORGANIC[:6],
        ),
        Town(
            "cypress", "train", random_streets(229, 16, 110, 220, 1, 11.1, *FEW_LIGHTS),
            (411_000.0, 5_840_000.0), 23_000_001, 18, cars_per_km=10.0, pedestrians=40, character="village",
            scenarios=VILLAGE,
        ),
        Town(
            "ebony", "train", DRAWN, (414_000.0, 5_840_000.0), 24_000_001, 18,
            character="roundabouts", plan=blocks(
                (0, 185, 365), (0, 175, 355), seed=71, bend_m=16.0, roundabouts={(1, 1): 20.0, (0, 1): 17.0},
                lights=((2, 1),),
            ), scenarios=ROUNDABOUTS,
        ),
        Town(
            "fig", "train", DRAWN, (417_000.0, 5_840_000.0), 25_000_001, 18,
            character="roundabouts", plan=blocks(
                (0, 175, 355), (0, 185, 360), seed=73, bend_m=16.0, roundabouts={(1, 1): 23.0, (1, 0): 17.0},
                lights=((0, 1),),
            ), scenarios=ROUNDABOUTS[2:] + ROUNDABOUTS[:2],
        ),
        Town(
            "gum", "train", DRAWN, (420_000.0, 5_840_000.0), 26_000_001, 18,
            character="arterial", plan=blocks(
                (0, 205, 415), (0, 185, 375), seed=81, bend_m=10.0, column_lanes={1: 2}, row_lanes={1: 2},
                lights=((0, 1), (1, 1), (2, 1)),
            ), scenarios=(
                "stopped_leader", "red_light", "construction", "unprotected_left", "braking_leader", "cut_in",
                "green_start",
            ),
        ),
        Town(
            "holly", "train", DRAWN, (423_000.0, 5_840_000.0), 27_000_001, 18,
            character="motorway", plan=motorway(1030, 92), scenarios=(
                "merge", "cut_in", "construction", "merge", "braking_leader", "slow_leader",
            ),
        ),
    )
}  # fmt: skip
