"""The scenarios by name: a first turn, a script, and the place that both need."""

from collections.abc import Callable
from dataclasses import dataclass

from irlvla.world.junctions import (
    enters_ring,
    green_start,
    has_light,
    has_no_light,
    joins,
    merge,
    red_light,
    roundabout,
    unprotected_left,
)  # fmt: skip
from irlvla.world.leaders import braking_leader, cut_in, cyclist, slow_leader, stopped_leader
from irlvla.world.obstructions import construction, parked_car
from irlvla.world.pedestrians import crosswalk_pedestrian, jaywalker, right_turn_pedestrians
from irlvla.world.script import Draw, Script


@dataclass(frozen=True)
class Scenario:
    turn: str  # of the ego at the first junction: any of s, l and r
    make: Callable[[Draw], Script]
    ahead_m: float | None = None  # length of road that the script needs before the junction
    suits: Callable[..., bool] = lambda net, edge, onto: True  # of network, first and second edge
    green: bool = True  # whether the first light is to be green when the ego comes
    least_comfort: float = 0.93  # share of a log's scenes whose human plan keeps EPDMS' comfort limits


SCENARIOS = {
    "unprotected_left": Scenario("l", unprotected_left, 40.0, green=False),
    "stopped_leader": Scenario("slr", stopped_leader, 90.0),
    "right_turn_pedestrians": Scenario("r", right_turn_pedestrians, 40.0, green=False),
    "jaywalker": Scenario("slr", jaywalker, 95.0),
    "red_light": Scenario("slr", red_light, 35.0, has_light, green=False),
    "cut_in": Scenario("s", cut_in, 90.0),
    "parked_car": Scenario("slr", parked_car, 113.0),
    "roundabout": Scenario("slr", roundabout, 35.0, enters_ring),
    "construction": Scenario("slr", construction, 114.0),
    "green_start": Scenario("s", green_start, 40.0, has_light, green=False, least_comfort=0.65),
    "slow_leader": Scenario("slr", slow_leader, 50.0),
    "merge": Scenario("s", merge, 135.0, joins),
    "cyclist": Scenario("slr", cyclist, 80.0),
    "crosswalk_pedestrian": Scenario("slr", crosswalk_pedestrian, 60.0, has_no_light),
    "braking_leader": Scenario("s", braking_leader, 90.0, least_comfort=0.65),
}
