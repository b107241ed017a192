"""Hand-made scoring contexts: a straight road along x, the route lane at |y| < 2, an oncoming lane north of it."""

from dataclasses import replace

import numpy as np

from irlvla.epdms.context import ScoringContext
from irlvla.epdms.states import HEADING, NUM_STATES, STEP_S, VX, EgoBoxes, X, Y


def rectangle(x0, x1, y0, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


POLYGONS = {
    ("lane", "LANE"): rectangle(-100, 200, -2, 2),
    ("oncoming_lane", "LANE"): rectangle(-100, 200, 2, 6),
    ("block", "ROADBLOCK"): rectangle(-100, 200, -2, 6),
}


def road(polygons=POLYGONS, route=("lane",), **changes):
    """A context without traffic; the ego stands at the origin, heading along x at 10 m/s."""
    rings = list(polygons.values())
    ego = np.zeros(11)
    ego[VX] = 10.0
    past = np.repeat(ego[None], 4, axis=0)
    past[:, X] = [-15.0, -10.0, -5.0, 0.0]
    along = np.arange(-100.0, 201.0)
    context = ScoringContext(
        scene_type="original",
        ego_state=ego,
        ego_history=past,
        polygon_xy=np.concatenate(rings),
        polygon_offsets=np.cumsum([0, *map(len, rings)]),
        polygon_ids=np.array([name for name, _ in polygons]),
        polygon_layers=np.array([layer for _, layer in polygons]),
        route_lane_ids=np.array(route),
        centerline=np.stack([along, 0 * along, 0 * along], axis=1),
        track_tokens=np.empty(0, dtype=str),
        track_types=np.empty(0, dtype=str),
        track_lwh=np.empty((0, 3)),
        track_states=np.empty((NUM_STATES, 0, 5)),
        track_valid=np.empty((NUM_STATES, 0), dtype=bool),
        red_light_ids=np.empty(0, dtype=str),
        red_light_on=np.empty((NUM_STATES, 0), dtype=bool),
        reference_poses=straight_plan(10.0, 40, 0.1),
        human_poses=straight_plan(10.0),
    )
    return replace(context, **changes)


def straight_plan(speed, poses=8, interval=0.5):
    plan = np.zeros((poses, 3))
    plan[:, 0] = speed * interval * np.arange(1, poses + 1)
    return plan


def with_track(context, x, y, kind="VEHICLE", speed=0.0, velocity=None, heading=0.0, size=(2.0, 2.0), first=0, last=40):
    """Add a track that starts at (x, y) and moves along x at `speed`; `velocity` (41,) is what the log says of it."""
    states = np.zeros((NUM_STATES, 1, 5))
    states[:, 0, 0] = x + speed * STEP_S * np.arange(NUM_STATES)
    states[:, 0, 1], states[:, 0, 2] = y, heading
    states[:, 0, 3] = speed if velocity is None else velocity
    steps = np.arange(NUM_STATES)[:, None]
    return replace(
        context,
        track_tokens=np.append(context.track_tokens, f"track{len(context.track_tokens)}"),
        track_types=np.append(context.track_types, kind),
        track_lwh=np.concatenate([context.track_lwh, [[*size, 1.5]]]),
        track_states=np.concatenate([context.track_states, states], axis=1),
        track_valid=np.concatenate([context.track_valid, (steps >= first) & (steps <= last)], axis=1),
    )


def cruise(speed, x=0.0, y=0.0, heading=0.0):
    """(1, 41, 11) states moving along x at `speed`; y and heading may vary over time."""
    states = np.zeros((1, NUM_STATES, 11))
    states[0, :, X] = x + speed * STEP_S * np.arange(NUM_STATES)
    states[0, :, Y], states[0, :, HEADING], states[0, :, VX] = y, heading, speed
    return states


def front_x(states):
    """x of the ego's front edge at every step."""
    return EgoBoxes.from_states(states).corners[0, :, 0, 0]
