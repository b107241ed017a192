"""The expert's re-timing and path, on motions made by hand."""

import numpy as np
import pytest

from irlvla.world.detour import quintic
from irlvla.world.expert import ACCELERATION, JERK, STEP_S, comfortable_track, dragged, retime

FREE = np.full(200, 1e3)


def test_motion_that_is_comfortable_already_stays() -> None:
    wanted = 8.0 * STEP_S * np.arange(200)
    distance, speed, acceleration = retime(wanted, 8.0, FREE, wanted + FREE)
    np.testing.assert_allclose(distance, wanted, atol=1e-3)
    np.testing.assert_allclose(speed, 8.0, atol=1e-3)
    np.testing.assert_allclose(acceleration, 0.0, atol=1e-3)


def test_a_sudden_stop_becomes_a_braking_within_the_bounds() -> None:
    wanted = np.minimum(8.0 * STEP_S * np.arange(200), 60.0)
    distance, speed, acceleration = retime(wanted, 8.0, FREE, wanted + FREE)
    assert acceleration.min() >= ACCELERATION[0] - 1e-4 and acceleration.max() <= ACCELERATION[1] + 1e-4
    assert np.abs(np.diff(acceleration) / STEP_S).max() <= JERK + 1e-3
    assert (np.diff(distance) >= 0).all()
    assert speed[-20:] == pytest.approx(0, abs=0.1)


def test_the_room_ahead_is_kept() -> None:
    wanted = 8.0 * STEP_S * np.arange(200)
    wall = np.full(200, 70.0)
    distance, _, _ = retime(wanted, 8.0, FREE, wall)
    assert distance.max() < 70.5


def test_what_is_dragged_follows_a_circle_on_the_inner_radius() -> None:
    angle = np.linspace(0, 4 * np.pi, 4000)
    line = 10.0 * np.column_stack([np.cos(angle), np.sin(angle)])
    tail = dragged(line, 3.0)
    assert np.linalg.norm(tail[-1]) == pytest.approx(np.sqrt(10.0**2 - 3.0**2), abs=0.01)
    np.testing.assert_allclose(np.linalg.norm(line - tail, axis=1), 3.0)


def test_the_expert_has_no_side_slip_in_a_bend() -> None:
    angle = np.clip(np.arange(200) * STEP_S * 5.0 / 15.0 - 1.5, 0, np.pi / 2)
    ahead = np.clip(np.arange(200) * STEP_S * 5.0 - 22.5, None, 0)
    beyond = np.clip(np.arange(200) * STEP_S * 5.0 - 22.5 - 15.0 * np.pi / 2, 0, None)
    front = np.column_stack([15.0 * np.sin(angle) + ahead, 15.0 * (1 - np.cos(angle)) + beyond])
    track = comfortable_track(front, angle, np.full(200, 5.0), np.full(200, 13.9), FREE)
    moved = np.diff(track.poses[:, :2], axis=0)
    heading = (track.poses[:-1, 2] + track.poses[1:, 2]) / 2
    sideways = -np.sin(heading) * moved[:, 0] + np.cos(heading) * moved[:, 1]
    assert np.abs(sideways).max() < 0.005
    assert track.poses[-1, 2] == pytest.approx(np.pi / 2, abs=0.01)


def test_a_quintic_meets_its_ends() -> None:
    value = np.polynomial.polynomial.polyval
    slope = np.polynomial.polynomial.polyder
    curve = quintic(7.0, (0.5, -0.1), (2.0, 0.3))
    assert value(0.0, curve) == pytest.approx(0.5) and value(7.0, curve) == pytest.approx(2.0)
    assert value(0.0, slope(curve)) == pytest.approx(-0.1) and value(7.0, slope(curve)) == pytest.approx(0.3)
    assert value(7.0, slope(slope(curve))) == pytest.approx(0.0, abs=1e-9)
