"""What Bench2Drive counts on a driven route: infractions, completion, the end, and the route record.

A drive is a list of `Tick`s, 0.1 s apart; everything here is a pure function of it. The rules and numbers are those of
the benchmark (CARLA leaderboard 2 with the changes of Bench2Drive), the texts carry time and place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

TICK_S = 0.1
SAME_COLLISION_M = 5.0  # contacts nearer to the last recorded one belong to it
SAME_OBJECT_S = 5.0  # contacts with the same object within this time are one
MOVING_MPS = 0.1  # below, a contact is not the ego's doing, and the ego counts as standing
BLOCKED_S = 60.0
DEVIATION_M = 30.0
FAR_M = 15.0  # half of the deviation; at most FAR_SHARE of the route may be driven farther away
FAR_SHARE = 0.3
FINISH_SHARE = 0.99
FINISH_M = 10.0
CHECKPOINTS = 20

PENALTIES = {  # factor per event
    "collisions_pedestrian": 0.5,
    "collisions_vehicle": 0.6,
    "collisions_layout": 0.65,
    "red_light": 0.7,
    "stop_infraction": 0.8,
    "scenario_timeouts": 0.7,
    "yield_emergency_vehicle_infractions": 0.7,
}
KINDS = (
    *PENALTIES, "outside_route_lanes", "min_speed_infractions", "route_dev", "vehicle_blocked", "route_timeout",
)  # fmt: skip
COLLISION_KINDS = {
    "pedestrian": "collisions_pedestrian",
    "vehicle": "collisions_vehicle",
    "bicycle": "collisions_vehicle",
}
FINISHED, DEVIATED, BLOCKED, TIMED_OUT = "finished", "route_dev", "vehicle_blocked", "route_timeout"
FAILURES = {
    DEVIATED: "Agent deviated from the route",
    BLOCKED: "Agent got blocked",
    TIMED_OUT: "Agent timed out",
}


@dataclass(frozen=True)
class Tick:
    """The ego at one moment. Places are of the box centre, global frame."""

    time_s: float
    x_m: float
    y_m: float
    speed_mps: float
    progress_m: float  # along the route, never decreasing
    route_distance_m: float  # to the nearest point of the route
    goal_distance_m: float
    outside_lanes: bool  # off every lane, or on one against its direction
    contacts: tuple[tuple[str, str], ...]  # token and category of each object whose box touches the ego's
    red_line: str | None  # connector whose stop line the ego's rear crosses under red
    traffic_mps: float | None  # mean speed of the other vehicles; None if there are none

    @property
    def place(self) -> str:
        return f"(x={self.x_m:.3f}, y={self.y_m:.3f}, z=0.0)"


@dataclass(frozen=True)
class Infraction:
    kind: str  # of KINDS
    time_s: float
    x_m: float
    y_m: float
    text: str


def _at(tick: Tick, kind: str, what: str) -> Infraction:
    return Infraction(kind, tick.time_s, tick.x_m, tick.y_m, f"{what} at {tick.place} after {tick.time_s:.1f} s")


def collisions(ticks: Sequence[Tick]) -> list[Infraction]:
    """Contacts while the ego moves; those within 5 m of the last one, or with its object within 5 s, belong to it."""
    found: list[Infraction] = []
    last_place: Tick | None = None
    last_object: tuple[str, float] | None = None  # token and time
    for tick in ticks:
        if last_place and hypot(tick.x_m - last_place.x_m, tick.y_m - last_place.y_m) > SAME_COLLISION_M:
            last_place = None
        if last_object and tick.time_s - last_object[1] > SAME_OBJECT_S:
            last_object = None
        for token, category in tick.contacts:
            same_object = last_object is not None and last_object[0] == token
            if same_object or last_place is not None or tick.speed_mps < MOVING_MPS:
                continue
            kind = COLLISION_KINDS.get(category, "collisions_layout")
            found.append(_at(tick, kind, f"Agent collided against object with type={category} and id={token}"))
            last_place, last_object = tick, (token, tick.time_s)
    return found


def red_lights(ticks: Sequence[Tick]) -> list[Infraction]:
    """Stop lines crossed under red; the same light twice in a row is one."""
    found, last = [], None
    for tick in ticks:
        if tick.red_line is not None and tick.red_line != last:
            found.append(_at(tick, "red_light", f"Agent ran a red light {tick.red_line}"))
            last = tick.red_line
    return found


def outside_lanes_m(ticks: Sequence[Tick]) -> float:
    """Metres of route gained while outside the lanes."""
    steps = zip(ticks, ticks[1:], strict=False)
    return sum(after.progress_m - before.progress_m for before, after in steps if after.outside_lanes)


def outside_lanes_share(ticks: Sequence[Tick]) -> float:
    """Share of the completed route gained outside the lanes."""
    driven_m = ticks[-1].progress_m - ticks[0].progress_m
    return outside_lanes_m(ticks) / driven_m if driven_m > 0 else 0.0


def speed_checkpoints(ticks: Sequence[Tick], length_m: float) -> list[tuple[Tick, float]]:
    """100 x mean ego speed / mean traffic speed between checkpoints, which lie at each twentieth of the route.

    100 where there is no traffic or all of it stands. The last one is taken at the end of a route driven for > 95 %.
    """
    found: list[tuple[Tick, float]] = []
    passed, ego, traffic = 0, 0.0, 0.0
    for tick in ticks:
        mark = min(int(tick.progress_m * CHECKPOINTS / length_m), CHECKPOINTS - 1)
        if mark > passed:
            found.append((tick, 100 * ego / traffic if traffic > 0 else 100.0))
            passed, ego, traffic = mark, 0.0, 0.0
        if tick.traffic_mps is not None:
            ego, traffic = ego + tick.speed_mps, traffic + tick.traffic_mps
    if ticks[-1].progress_m > (1 - 1 / CHECKPOINTS) * length_m:
        found.append((ticks[-1], 100 * ego / traffic if traffic > 0 else 100.0))
    return found


def standing_s(ticks: Sequence[Tick]) -> float:
    """Time since the ego last moved."""
    count = next((i for i, tick in enumerate(reversed(ticks)) if tick.speed_mps >= MOVING_MPS), len(ticks) - 1)
    return count * TICK_S


def far_share(ticks: Sequence[Tick], length_m: float) -> float:
    """Share of the route gained at more than 15 m from it."""
    steps = zip(ticks, ticks[1:], strict=False)
    return sum(b.progress_m - a.progress_m for a, b in steps if b.route_distance_m > FAR_M) / length_m


def ending(ticks: Sequence[Tick], length_m: float, timeout_s: float) -> str | None:
    """Why the drive ends at its last tick (FINISHED, DEVIATED, BLOCKED or TIMED_OUT), None if it goes on."""
    now = ticks[-1]
    if now.progress_m >= FINISH_SHARE * length_m and now.goal_distance_m < FINISH_M:
        return FINISHED
    if now.route_distance_m > DEVIATION_M or (now.route_distance_m > FAR_M and far_share(ticks, length_m) > FAR_SHARE):
        return DEVIATED
    if standing_s(ticks) > BLOCKED_S:
        return BLOCKED
    return TIMED_OUT if now.time_s >= timeout_s else None


def infractions(ticks: Sequence[Tick], length_m: float, end: str) -> list[Infraction]:
    """Everything the benchmark records, in order of time."""
    found = collisions(ticks) + red_lights(ticks)
    first_outside = next((tick for tick in ticks[1:] if tick.outside_lanes), None)
    if first_outside and outside_lanes_m(ticks) > 0:
        text = (
            f"Agent went outside its route lanes for about {outside_lanes_m(ticks):.3f} meters "
            f"({100 * outside_lanes_share(ticks):.2f}% of the completed route)"
        )
        place = (first_outside.time_s, first_outside.x_m, first_outside.y_m)
        found.append(Infraction("outside_route_lanes", *place, text))
    if end != FINISHED:
        found.append(_at(ticks[-1], end, FAILURES[end]))
    for tick, value in speed_checkpoints(ticks, length_m):
        text = f"Average speed is {value:.2f}% of the surrounding traffic's one"
        found.append(Infraction("min_speed_infractions", tick.time_s, tick.x_m, tick.y_m, text))
    return sorted(found, key=lambda infraction: infraction.time_s)


def scores(ticks: Sequence[Tick], found: Sequence[Infraction], length_m: float, end: str) -> dict[str, float]:
    """Route completion [%], product of the penalties, and their product [%]."""
    completion = 100.0 if end == FINISHED else round(min(100 * ticks[-1].progress_m / length_m, 100.0), 2)
    penalty = 1 - outside_lanes_share(ticks)
    for infraction in found:
        penalty *= PENALTIES.get(infraction.kind, 1.0)
    return {
        "score_route": round(completion, 6),
        "score_penalty": round(penalty, 6),
        "score_composed": round(completion * penalty, 6),
    }


def route_record(index: int, route_id: str, ticks: Sequence[Tick], length_m: float, end: str) -> dict:
    """The route's entry of Bench2Drive's `_checkpoint.records`."""
    found = infractions(ticks, length_m, end)
    texts = {kind: [infraction.text for infraction in found if infraction.kind == kind] for kind in KINDS}
    status = ("Completed" if found else "Perfect") if end == FINISHED else f"Failed - {FAILURES[end]}"
    return {
        "index": index,
        "route_id": route_id,
        "save_name": f"{route_id}_rep0",
        "status": status,
        "num_infractions": len(found),
        "infractions": texts,
        "scores": scores(ticks, found, length_m, end),
        "meta": {"route_length": round(length_m, 3), "duration_game": round(ticks[-1].time_s, 3)},
    }
