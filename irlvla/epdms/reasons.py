"""Why a plan lost points: each verdict in words, with time, place and the track or area that is to blame.

Verdicts are those without the human filter: what it forgives is explained, too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irlvla.epdms.areas import AreaMap
from irlvla.epdms.centerline import distance_m
from irlvla.epdms.comfort import HISTORY_SAMPLES, history_quantities
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.scores import Scores
from irlvla.epdms.states import STEP_S, EgoBoxes
from irlvla.polygons import contains

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CORNERS = ("front left", "rear left", "rear right", "front right")  # in the order of `states.box_corners`


@dataclass(frozen=True)
class Reason:
    """The first infraction of one sub-score."""

    sub_score: str
    time_s: float  # of the driven state that shows it, from the plan's begin
    cause: str  # kind and token of a track, layer and id of an area, or the quantity that is out of bounds
    center: tuple[float, float]  # of the ego's box at that time, global [m]

    def __str__(self) -> str:
        return f"{self.sub_score} {self.time_s:.1f} s {self.cause}"


def reasons(context: ScoringContext, scores: Scores, row: int) -> list[Reason]:
    """Reasons of plan `row` of `scores`, in order of time; `context` is the scene that was scored.

    TTC's time is that of the state looked ahead from, LK's that of the 20th state off the centreline, DDC's that at
    which 2 m within a second are reached. EP has none: it is relative to the reference plan.
    """
    found = []
    for name, verdict in scores.verdicts.items():
        step, cause = int(verdict.step[row]), int(verdict.cause[row])
        if step < 0:
            continue
        boxes = EgoBoxes.from_states(scores.states[row, step])
        words = _CAUSES[name](context, scores.states[row], step, cause)
        found.append(Reason(name, step * STEP_S, words, tuple(boxes.centers.tolist())))
    return sorted(found, key=lambda reason: reason.time_s)


def _track(context: ScoringContext, states: Array, step: int, cause: int) -> str:
    return f"{str(context.track_types[cause]).lower()} {context.track_tokens[cause]}"


def _red_light(context: ScoringContext, states: Array, step: int, cause: int) -> str:
    return f"red lane connector {context.polygon_ids[cause]}"


def _off_the_road(context: ScoringContext, states: Array, step: int, cause: int) -> str:
    area_map, corners = AreaMap.from_context(context), EgoBoxes.from_states(states[step]).corners
    inside = [bool(_holding(area_map, corner, "drivable")) for corner in corners]
    return f"{', '.join(np.array(CORNERS)[~np.array(inside)])} off the drivable area"


def _off_the_route(context: ScoringContext, states: Array, step: int, cause: int) -> str:
    area_map, center = AreaMap.from_context(context), EgoBoxes.from_states(states[step]).centers
    lanes = [str(context.polygon_ids[p]) for p in _holding(area_map, center, "lane")]
    return f"in lane {', '.join(lanes)} off the route" if lanes else "outside all lanes"


def _holding(area_map: AreaMap, point: Array, role: str) -> list[int]:
    """Polygons of a role, "lane" or "drivable", that contain a point (2,)."""
    candidates = np.flatnonzero(getattr(area_map, f"is_{role}"))
    return [int(p) for p in candidates if contains(*area_map.polygons.index, p, point[0], point[1])]


def _off_the_centerline(context: ScoringContext, states: Array, step: int, cause: int) -> str:
    center = EgoBoxes.from_states(states[step]).centers
    return f"{distance_m(context.centerline, center):.2f} m off the centreline"


def _discomfort(context: ScoringContext, states: Array, step: int, cause: int) -> str:
    name, values, (low, high) = history_quantities(context.ego_history, states[None])[cause]
    begin = 0 if step == 0 else step + HISTORY_SAMPLES
    outside = values[0, begin:][(values[0, begin:] <= low) | (values[0, begin:] >= high)]
    return f"{name} {outside[0]:.2f}"


_CAUSES = {
    "no_at_fault_collisions": _track,
    "drivable_area_compliance": _off_the_road,
    "driving_direction_compliance": _off_the_route,
    "traffic_light_compliance": _red_light,
    "time_to_collision_within_bound": _track,
    "lane_keeping": _off_the_centerline,
    "history_comfort": _discomfort,
}
