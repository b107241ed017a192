"""Comfort: HC of history + plan, and EC between the plans of two consecutive frames.

All filters are Savitzky-Golay filters (window, order, derivative), hence linear: one matrix per filter and length.
Results are rounded to 8 decimals before they meet a bound, as officially.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from irlvla.epdms.states import (
    AX,
    AY,
    HEADING,
    NUM_COLUMNS,
    NUM_STATES,
    STEP_S,
    YAW_ACCELERATION,
    YAW_RATE,
    Verdict,
)  # fmt: skip
from irlvla.vehicle import REAR_AXLE_TO_CENTER_M

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Bounds of nuPlan's comfort metrics, open intervals.
LONGITUDINAL_ACCELERATION_MPS2 = (-4.05, 2.40)
LATERAL_ACCELERATION_MPS2 = (-4.89, 4.89)
JERK_MPS3 = (-8.37, 8.37)
LONGITUDINAL_JERK_MPS3 = (-4.13, 4.13)
YAW_RATE_RADPS = (-0.95, 0.95)
YAW_ACCELERATION_RADPS2 = (-1.93, 1.93)

# Greatest RMS differences of EC, closed: acceleration, jerk, yaw rate, yaw acceleration.
EXTENDED_LIMITS = (0.7, 0.5, 0.1, 0.1)
OVERLAP_SHIFT = 5  # the previous frame is 0.5 s earlier
HISTORY_SAMPLES = 14  # -1.5 ... -0.2 s
DECIMALS = 8


@cache
def _filter(length: int, window: int, order: int, derivative: int) -> Array:
    """(length, length) matrix M of a Savitzky-Golay filter: filtered = values @ M."""
    return savgol_filter(np.eye(length), window, order, deriv=derivative, delta=STEP_S, axis=1)


def _smooth(values: Array, window: int, order: int, derivative: int) -> Array:
    """Filter `values` (..., length) along the last axis and round."""
    length = values.shape[-1]
    return np.round(values @ _filter(length, min(window, length), order, derivative), DECIMALS)


def _unwrap(heading: Array) -> Array:
    return np.unwrap(heading, axis=-1)


def _within(values: Array, bounds: tuple[float, float]) -> Mask:
    return (values > bounds[0]) & (values < bounds[1])


def history_samples(ego_history: Array) -> Array:
    """(14, 11) states at -1.5 ... -0.2 s, linear between the four of `ego_history` (4, 11); headings unwrapped.

    Yaw rate, yaw acceleration and steering rate are zero: the official interpolation does not carry them.
    """
    history = ego_history.copy()
    history[:, HEADING] = np.unwrap(history[:, HEADING])
    position = np.arange(HISTORY_SAMPLES) / OVERLAP_SHIFT
    left = position.astype(int)
    samples = history[left] + (position - left)[:, None] * (history[left + 1] - history[left])
    samples[:, YAW_RATE - 1 :] = 0.0
    return samples


def history_quantities(ego_history: Array, states: Array) -> tuple[tuple[str, Array, tuple[float, float]], ...]:
    """(name, values (N, 55), bounds) of each quantity that HC bounds; arguments as in `history_comfort`."""
    past = np.broadcast_to(history_samples(ego_history), (len(states), HISTORY_SAMPLES, NUM_COLUMNS))
    padded = np.concatenate([past, states], axis=1)
    ax, ay, heading = padded[..., AX], padded[..., AY], _unwrap(padded[..., HEADING])
    # The official shift to the box centre adds the centripetal and the angular term, both to the x component.
    shift = REAR_AXLE_TO_CENTER_M * (padded[..., YAW_RATE] ** 2 + padded[..., YAW_ACCELERATION])
    center_ax, center_ay = _smooth(ax + shift, 8, 2, 0), _smooth(ay, 8, 2, 0)
    magnitude = _smooth(np.hypot(ax, ay), 8, 2, 0)
    return (
        ("longitudinal acceleration [m/s2]", center_ax, LONGITUDINAL_ACCELERATION_MPS2),
        ("lateral acceleration [m/s2]", center_ay, LATERAL_ACCELERATION_MPS2),
        ("jerk [m/s3]", _smooth(magnitude, 15, 2, 1), JERK_MPS3),
        ("longitudinal jerk [m/s3]", _smooth(center_ax, 15, 2, 1), LONGITUDINAL_JERK_MPS3),
        ("yaw rate [rad/s]", _smooth(heading, 5, 2, 1), YAW_RATE_RADPS),
        ("yaw acceleration [rad/s2]", _smooth(heading, 5, 3, 2), YAW_ACCELERATION_RADPS2),
    )


def history_comfort(ego_history: Array, states: Array) -> Verdict:
    """HC of driven states (N, 41, 11) behind `ego_history` (4, 11): 1 or 0; causes are rows of `history_quantities`.

    An infraction in the history shows at the first state.
    """
    quantities = history_quantities(ego_history, states)
    outside = np.stack([~_within(values, bounds) for _, values, bounds in quantities], axis=1)  # (N, 6, 55)
    verdict = Verdict.of((~outside.any(axis=(1, 2))).astype(np.float64), outside.any(axis=1))
    lost = verdict.step >= 0
    cause = np.where(lost, outside[np.arange(len(states)), :, verdict.step].argmax(axis=1), -1)
    return Verdict(verdict.score, np.where(lost, np.maximum(verdict.step - HISTORY_SAMPLES, 0), -1), cause)


def extended_features(states: Array) -> Array:
    """(..., 4, L) acceleration, jerk, yaw rate and yaw acceleration of states (..., L, 11)."""
    heading = _unwrap(states[..., HEADING])
    acceleration = _smooth(np.hypot(states[..., AX], states[..., AY]), 8, 2, 0)
    features = (acceleration, _smooth(acceleration, 15, 2, 1), _smooth(heading, 5, 2, 1), _smooth(heading, 5, 2, 2))
    return np.stack(features, axis=-2)


def extended_comfort(states: Array, previous_states: Array, shift: int = OVERLAP_SHIFT) -> Array:
    """EC (...) of driven states (..., 41, 11) and those of the frame `shift` steps earlier: 1 or 0.

    Leading axes broadcast. Both score rows of the pair carry this one value.
    """
    if not 0 < shift < NUM_STATES:
        raise ValueError(f"shift: {shift} steps, expected 1 to {NUM_STATES - 1}")
    current = extended_features(states[..., :-shift, :])
    previous = extended_features(previous_states[..., shift:, :])
    rms = np.sqrt(((current - previous) ** 2).mean(axis=-1))
    return (rms <= np.array(EXTENDED_LIMITS)).all(axis=-1).astype(np.float64)
