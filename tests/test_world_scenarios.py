"""Scenarios: an event that did not happen is refused, and built logs show what their table says."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_town import TINY

from irlvla.scenes.unpickle import load_data_pickle
from irlvla.world import events
from irlvla.world.build import build
from irlvla.world.expert import BRISK, CALM, HARD, STEP_S, retime
from irlvla.world.scenarios import SCENARIOS
from irlvla.world.script import Swerve
from irlvla.world.simulation import Agents, Frame
from irlvla.world.town import TOWNS

CAR_M = (4.6, 1.9, 1.5)


def drive(speed: np.ndarray, others: dict[str, np.ndarray] | None = None, red: np.ndarray | None = None) -> list[Frame]:
    """Frames of an ego that drives along x with `speed` (F,), and others at places (F, 2)."""
    x = np.append(0, np.cumsum(0.5 * speed[:-1]))
    acceleration = np.gradient(speed, 0.5)
    frames = []
    for n in range(len(speed)):
        ids = tuple(others or ())
        places = np.array([others[id][n] for id in ids]).reshape(-1, 2)
        moved = np.array([np.gradient(others[id], 0.5, axis=0)[n] for id in ids]).reshape(-1, 2)
        poses = np.column_stack([places, np.zeros(len(ids))])
        agents = Agents(ids, ("vehicle",) * len(ids), poses, moved, np.tile(CAR_M, (len(ids), 1)))
        lights = (("7", bool(red[n])),) if red is not None else ()
        state = np.array([x[n], 0.0, 0.0]), np.array([speed[n], 0.0]), np.array([acceleration[n], 0.0])
        frames.append(Frame(500_000 * n, *state, np.array([0, 1, 0, 0]), agents, lights))
    return frames


def ahead(speed: np.ndarray, gap_m: float, left_m: np.ndarray | float = 0.0) -> np.ndarray:
    """Places (F, 2) that keep a gap before the ego's front."""
    x = np.append(0, np.cumsum(0.5 * speed[:-1])) + 4.049 + CAR_M[0] / 2 + gap_m
    return np.column_stack([x, np.broadcast_to(left_m, len(x))])


STEADY = np.full(20, 5.0)
STOPPING = np.clip(10.0 - np.arange(20), 0, None)


def test_a_leader_counts_only_in_the_lane_near_and_slow_enough() -> None:
    near = drive(STEADY, {"a": ahead(STEADY, 10.0)})
    assert events.follows(near, "a", within_m=20, below_mps=5.5, moments=20)
    assert not events.follows(near, "a", within_m=20, below_mps=4.5, moments=1)
    assert not events.follows(near, "a", within_m=8, below_mps=5.5, moments=1)
    assert not events.follows(near, "b", within_m=20, below_mps=5.5, moments=1)
    beside = drive(STEADY, {"a": ahead(STEADY, 10.0, 3.5)})
    assert not events.follows(beside, "a", within_m=20, below_mps=5.5, moments=1)


def test_who_is_on_the_way_counts_only_if_the_ego_brakes_for_him() -> None:
    assert events.brakes_for(drive(STOPPING, {"a": ahead(STOPPING, 10.0)}), "a")
    assert not events.brakes_for(drive(STEADY, {"a": ahead(STEADY, 10.0)}), "a")
    assert not events.brakes_for(drive(STOPPING, {"a": ahead(STOPPING, 10.0, 6.0)}), "a")


def test_a_cut_in_comes_from_the_next_lane_to_close_ahead() -> None:
    inwards = np.linspace(3.5, 0.0, 20)
    assert events.cuts_in(drive(STEADY, {"a": ahead(STEADY, 8.0, inwards)}), "a")
    assert not events.cuts_in(drive(STEADY, {"a": ahead(STEADY, 30.0, inwards)}), "a")
    assert not events.cuts_in(drive(STEADY, {"a": ahead(STEADY, 8.0, 3.5)}), "a")
    assert not events.cuts_in(drive(STEADY, {"a": ahead(STEADY, 8.0, 0.0)}), "a")
    assert not events.cuts_in(drive(STEADY, {"a": ahead(STEADY, 8.0, inwards[::-1])}), "a")


def test_going_around_something_means_to_pass_it_aside() -> None:
    standing = {"far": np.tile([30.0, 3.0], (20, 1)), "near": np.tile([30.0, 1.5], (20, 1))}
    frames = drive(STEADY, standing)
    assert events.goes_around(frames, "far", beside_m=2.4)
    assert not events.goes_around(frames, "near", beside_m=2.4)
    assert not events.goes_around(frames[:5], "far", beside_m=2.4)  # not yet there


def test_a_hard_braking_loses_much_speed_within_a_second() -> None:
    assert events.brakes_hard(drive(STOPPING), 1.9)
    assert not events.brakes_hard(drive(STOPPING), 2.1)


def test_who_merges_ends_close_in_the_same_lane() -> None:
    assert events.is_close(drive(STEADY, {"a": ahead(STEADY, 12.0, np.linspace(3.5, 0, 20))}), "a")
    assert not events.is_close(drive(STEADY, {"a": ahead(STEADY, 12.0, 3.5)}), "a")
    assert not events.is_close(drive(STEADY, {"a": ahead(STEADY, 50.0)}), "a")


def test_standing_at_red_needs_the_light_of_the_own_way_and_a_halt() -> None:
    red = np.arange(20) < 15
    assert events.stands_at_red(drive(STOPPING, red=red), "7").sum() == 5
    assert events.stands_at_red(drive(STEADY, red=red), "7").sum() == 0
    assert events.stands_at_red(drive(STOPPING, red=red), "8").sum() == 0


def test_a_ring_or_a_merge_counts_only_if_the_ego_drives_along_it() -> None:
    line = np.column_stack([np.arange(20.0, 40.0), np.zeros(20)])
    assert events.drives_along(drive(STEADY), line, moments=3)
    assert not events.drives_along(drive(STEADY), line + (0, 10), moments=1)


def test_a_swerve_is_aside_where_the_thing_is_and_nowhere_else() -> None:
    way = np.column_stack([np.arange(0.0, 100.0), np.zeros(100)])
    aside = Swerve((40.0, 0.0, 0.0), 6.0, 1.0).shifted(way)[:, 1]
    np.testing.assert_allclose(aside[40:47], 1.0)
    assert (aside[:31] == 0).all() and (aside[56:] == 0).all()


@pytest.mark.parametrize("manner", [CALM, BRISK, HARD])
def test_every_manner_keeps_its_own_bounds(manner) -> None:
    wanted = np.minimum(12.0 * STEP_S * np.arange(200), 70.0)
    free = np.full(200, 1e3)
    _, _, acceleration = retime(wanted, 12.0, free, wanted + free, manner)
    least, greatest = manner.acceleration_mps2
    assert acceleration.min() >= least - 1e-4 and acceleration.max() <= greatest + 1e-4
    assert np.abs(np.diff(acceleration) / STEP_S).max() <= manner.jerk_mps3 + 1e-3
    assert acceleration.min() < 0.6 * least


def test_every_scenario_of_a_town_exists_and_every_scenario_has_a_town() -> None:
    named = {name for town in TOWNS.values() for name in town.scenarios}
    assert named == set(SCENARIOS)


def test_logs_take_the_scenarios_of_their_town_in_turn_and_show_them(tmp_path: Path) -> None:
    town = dataclasses.replace(TINY, scenarios=("red_light", "jaywalker"), groups=0)
    build(tmp_path / "data", seed=3, towns=[town], workers=2)
    with open(tmp_path / "data/scenarios.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["scenario"] for row in rows] == ["red_light", "jaywalker"]
    red, jaywalker = (load_data_pickle(tmp_path / f"data/navsim_logs/test/{row['log_name']}.pkl") for row in rows)
    halts = [
        f
        for f in red
        if np.hypot(*f["ego_dynamic_state"][:2]) < 0.3 and any(is_red for _, is_red in f["traffic_lights"])
    ]
    assert len(halts) >= 3
    tracks = [set(f["anns"]["gt_names"]) for f in jaywalker]
    assert any("pedestrian" in names for names in tracks)
