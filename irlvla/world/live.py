"""A living town around an ego that someone else drives: SUMO's traffic reacts to wherever it is put."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from irlvla import HISTORY_FRAMES, vehicle
from irlvla.epdms.states import AX, HEADING, NUM_COLUMNS, VX, YAW_RATE, X, Y
from irlvla.geometry import Array, wrap_angle
from irlvla.scenes.frames import frames_of_log, scene_of_frames
from irlvla.scenes.scene import Scene
from irlvla.world.demand import EgoStart
from irlvla.world.export import log_frames, token
from irlvla.world.recording import Place, Rejected, Situation
from irlvla.world.route import Route
from irlvla.world.simulation import STEP_S, STEPS_PER_FRAME, Frame

LEAD_IN_STEPS = 35  # SUMO drives the ego before it is handed over: 2 s to settle, 1.5 s of history
HISTORY_STEPS = (HISTORY_FRAMES - 1) * STEPS_PER_FRAME + 1
ENTRY_S = 20.0  # longest wait for a gap in the traffic
MAX_DRAWS = 50
MAX_LINE_GAP_M = 1.5  # between the ego and its route's line at the start
MAX_LINE_STEP_M = 2.0  # vertices are a metre apart; a larger step is a lane change


class LiveWorld:
    """One drive through a town, a context manager: there is one simulation per process.

    The same arguments make the same world. `ego_state` (11,), columns of `epdms.states`, is where the ego is; `line`
    (P, 3) leads `length_m` on from where it was handed over, through lanes and connectors without a lane change.

    Args:
        place: the town on disk.
        scenario: of `scenarios.SCENARIOS`.
        seed: of start, route, traffic and script.
        length_m: of the route ahead.
        name: log name of the scenes; their colours come from it.

    Raises ValueError naming the drive if no start will do.
    """

    def __init__(self, place: Place, scenario: str, seed: int, length_m: float, name: str) -> None:
        self.place, self.name, self.town_map = place, name, place.town_map()
        self.frames: list[Frame] = []
        rng = np.random.default_rng(seed)
        for _ in range(MAX_DRAWS):
            try:
                situation = Situation.draw(place, scenario, int(rng.integers(2**31)))
            except Rejected:
                continue
            self.script, self.simulation = situation.script, situation.open()
            if self._lead_in(situation.start) and self._route_serves(length_m):
                return
            self.close()
        raise ValueError(f"{name}: no start for {scenario} and {length_m:.0f} m in {MAX_DRAWS} draws; try another seed")

    def __enter__(self) -> "LiveWorld":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.simulation.close()

    def step(self, ego_state: Array) -> None:
        """Put the ego at `ego_state` (11,) and let 0.1 s pass; the others see it there."""
        self.script.act(self.simulation)
        self.simulation.place_ego(ego_state[:3])
        self.simulation.step()
        self._record(ego_state)

    @property
    def frame(self) -> Frame:
        """The present moment."""
        return self.frames[-1]

    def observe(self) -> Scene:
        """The present moment with its past at 2 Hz, as a reader of the recorded drive would give it."""
        stored = self._stored(self.frames[-HISTORY_STEPS::STEPS_PER_FRAME])
        window = frames_of_log(stored, Path(self.name))
        scene = scene_of_frames(window, HISTORY_FRAMES - 1, self.town_map, Path(), self.name)
        return replace(scene, token=token(self.name, self.simulation.time_step))

    def log(self) -> list[dict]:
        """The drive so far as a NAVSIM log at 2 Hz; its fourth frame is the moment when the ego was handed over."""
        return self._stored(self.frames[LEAD_IN_STEPS - HISTORY_STEPS :: STEPS_PER_FRAME])

    def _stored(self, frames: list[Frame]) -> list[dict]:
        return log_frames(self.name, 0, self.town_map.name, self.route.roadblock_ids, frames)

    def _lead_in(self, start: EgoStart) -> bool:
        """Record SUMO's own ego for LEAD_IN_STEPS; False if it does not enter in time or leaves."""
        simulation, last = self.simulation, None
        self.frames.clear()
        while len(self.frames) < LEAD_IN_STEPS:
            self.script.act(simulation)
            simulation.step()
            if not simulation.ego_is_driving():
                if last is not None or simulation.time_s > start.depart_s + ENTRY_S:
                    return False
                continue
            state = _state(simulation.ego_front(), last)
            if last is None:
                simulation.route = Route(self.town_map, self.place.ids().route(start.edges), state[:3])
            self._record(state)
            last = state
        return True

    def _route_serves(self, length_m: float) -> bool:
        """Cut the line ahead out of the route; False if it is too short, starts elsewhere or changes lanes."""
        self.route = self.simulation.route
        here = self.route.nearest(self.ego_state[:3])
        end = int(np.searchsorted(self.route.distance, self.route.distance[here] + length_m))
        self.line = self.route.line[here : end + 1]
        gap_m = np.hypot(*(self.line[0, :2] - self.ego_state[:2]))
        steps_m = np.hypot(*np.diff(self.line[:, :2], axis=0).T)
        return end < len(self.route.line) and gap_m < MAX_LINE_GAP_M and steps_m.max() < MAX_LINE_STEP_M

    def _record(self, state: Array) -> None:
        acceleration = np.array([state[AX], state[VX] * state[YAW_RATE]])
        self.frames.append(self.simulation.frame(state[:3], np.array([state[VX], 0.0]), acceleration))
        self.ego_state = state


def _state(front: Array, last: Array | None) -> Array:
    """Ego state (11,) from its front bumper (4,: x, y, heading, speed) and its state 0.1 s ago; steering at rest."""
    x, y, heading, speed = front
    state = np.zeros(NUM_COLUMNS)
    state[X] = x - vehicle.REAR_AXLE_TO_FRONT_M * np.cos(heading)
    state[Y] = y - vehicle.REAR_AXLE_TO_FRONT_M * np.sin(heading)
    state[HEADING], state[VX] = wrap_angle(heading), speed
    if last is not None:
        state[AX] = (speed - last[VX]) / STEP_S
        state[YAW_RATE] = wrap_angle(heading - last[HEADING]) / STEP_S
    return state
