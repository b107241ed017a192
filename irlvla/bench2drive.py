"""Bench2Drive's four closed-loop metrics from its JSON layout.

    FOLDER/results/*.json                             {"_checkpoint": {"records": [route record, ...]}}
    FOLDER/metric_info/<save_name>/metric_info.json   {"0": {acceleration, angular_velocity, ...}, "1": ...} at 10 Hz

`python -m irlvla.bench2drive FOLDER [--routes 220]` prints them as JSON. Semantics of the benchmark's public
post-processing (Jia et al., NeurIPS 2024): a route without a record counts as zero in score and success.
"""

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, FiniteFloat, ValidationError
from scipy.signal import savgol_filter

from irlvla.epdms import comfort

Array = NDArray[np.float64]

BENCHMARK_ROUTES = 220
SUCCESS_STATUSES = ("Completed", "Perfect")
LOW_SPEED = "min_speed_infractions"  # recorded for the efficiency, never a failure
MAX_SPEED_PERCENT = 1000.0  # larger values come from traffic that stands still
SEGMENT_FRAMES = 20
FRAME_INTERVAL_S = 0.1
SMOOTHING = {"window_length": 7, "polyorder": 2}


def _has_low_speed(infractions: dict[str, list[str]]) -> dict[str, list[str]]:
    if LOW_SPEED not in infractions:
        raise ValueError(f"'{LOW_SPEED}' is missing")
    return infractions


Vector = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class Scores(BaseModel):
    """Route completion [%], product of penalties [0, 1], and their product [%]."""

    score_route: FiniteFloat
    score_penalty: FiniteFloat
    score_composed: FiniteFloat


class RouteRecord(BaseModel):
    route_id: str
    save_name: str
    status: str
    infractions: Annotated[dict[str, list[str]], AfterValidator(_has_low_speed)]  # kind -> one text per event
    scores: Scores


class Frame(BaseModel):
    """Ego motion of one frame, all in one global frame."""

    acceleration: Vector  # [m/s^2]
    angular_velocity: Vector  # [rad/s]
    forward_vector: Vector
    right_vector: Vector


def driving_score(records: Iterable[RouteRecord], routes: int) -> float:
    """Sum of the composed scores [%] over the number of routes."""
    return sum(record.scores.score_composed for record in records) / routes


def is_success(record: RouteRecord) -> bool:
    """Finished without an infraction of any kind but low speed."""
    clean = not any(texts for kind, texts in record.infractions.items() if kind != LOW_SPEED)
    return record.status in SUCCESS_STATUSES and clean


def speed_percentages(record: RouteRecord) -> list[float]:
    """100 x ego speed / traffic speed of each checkpoint, values above 1000 left out.

    Raises ValueError if a text holds no percentage.
    """
    values = []
    for text in record.infractions[LOW_SPEED]:
        match = re.search(r"\b(\d+\.?\d*)%", text)
        if match is None:
            raise ValueError(f"route {record.save_name}: {LOW_SPEED}: no percentage in {text!r}")
        values.append(float(match[1]))
    return [value for value in values if value <= MAX_SPEED_PERCENT]


def driving_efficiency(records: Iterable[RouteRecord]) -> float | None:
    """Mean over the routes that keep a percentage of their mean percentage; None if there is no such route."""
    kept = [values for record in records if (values := speed_percentages(record))]
    means = [sum(values) / len(values) for values in kept]
    return sum(means) / len(means) if means else None


def is_comfortable(acceleration: Array, yaw_rate: Array, forward: Array, right: Array) -> bool:
    """Whether one segment of n >= 3 frames stays within nuPlan's six comfort bounds.

    acceleration, forward, right (n, 2) share a frame; yaw_rate (n,). As in the benchmark's tool, "yaw acceleration"
    is the smoothed yaw rate itself.
    """
    window = {**SMOOTHING, "window_length": min(SMOOTHING["window_length"], len(yaw_rate))}
    derivative = {**window, "deriv": 1, "delta": FRAME_INTERVAL_S}
    longitudinal = savgol_filter((acceleration * forward).sum(axis=1), **window)
    lateral = savgol_filter((acceleration * right).sum(axis=1), **window)
    magnitude = savgol_filter(np.hypot(acceleration[:, 0], acceleration[:, 1]), **window)
    smooth_yaw_rate = savgol_filter(unwrap_phase(yaw_rate), **window)
    bounded = (
        (longitudinal, comfort.LONGITUDINAL_ACCELERATION_MPS2),
        (lateral, comfort.LATERAL_ACCELERATION_MPS2),
        (savgol_filter(magnitude, **derivative), comfort.JERK_MPS3),
        (savgol_filter(longitudinal, **derivative), comfort.LONGITUDINAL_JERK_MPS3),
        (smooth_yaw_rate, comfort.YAW_RATE_RADPS),
        (smooth_yaw_rate, comfort.YAW_ACCELERATION_RADPS2),
    )
    return all(bool(np.all((low < series) & (series < high))) for series, (low, high) in bounded)


def unwrap_phase(angle: Array) -> Array:
    """Series (n,) with whole turns taken out of its steps, so that none exceeds half a turn."""
    turns = np.round(np.diff(angle) / (2 * np.pi))
    return angle - 2 * np.pi * np.concatenate([[0.0], np.cumsum(turns)])


def comfortable_share(frames: list[Frame]) -> float:
    """Share of comfortable segments of 20 frames; an incomplete tail is dropped unless it is the whole route."""
    acceleration = np.array([frame.acceleration for frame in frames])[:, :2]
    yaw_rate = np.array([frame.angular_velocity for frame in frames])[:, 2]
    forward = np.array([frame.forward_vector for frame in frames])[:, :2]
    right = np.array([frame.right_vector for frame in frames])[:, :2]
    count = max(len(frames) // SEGMENT_FRAMES, 1)
    segments = [slice(i * SEGMENT_FRAMES, (i + 1) * SEGMENT_FRAMES) for i in range(count)]
    verdicts = [is_comfortable(acceleration[s], yaw_rate[s], forward[s], right[s]) for s in segments]
    return sum(verdicts) / len(verdicts)


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: this file is missing; was the route's run interrupted?") from None
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _validated(model: type[BaseModel], content: object, where: str) -> BaseModel:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: field '{field}': {first['msg']}") from None


def read_records(results: Path) -> list[RouteRecord]:
    """Route records of all `results/*.json`, without the benchmark's own `merged.json`.

    Raises ValueError naming file, route and field for a broken record, for a route recorded twice and if there is none.
    """
    records: dict[str, RouteRecord] = {}
    for path in sorted(path for path in results.glob("*.json") if "merged.json" not in path.name):
        checkpoint = _read_json(path).get("_checkpoint")
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("records"), list):
            raise ValueError(f"{path}: field '_checkpoint.records' is missing or not a list")
        for index, content in enumerate(checkpoint["records"]):
            name = content.get("save_name") if isinstance(content, dict) else None
            record = _validated(RouteRecord, content, f"{path}: record {index} (route {name})")
            if record.save_name in records:
                raise ValueError(
                    f"{path}: record {index}: route {record.save_name} is recorded twice; keep one of them"
                )
            records[record.save_name] = record
    if not records:
        raise ValueError(f"{results}: no route records; expected *.json files with '_checkpoint.records'")
    return list(records.values())


def read_frames(path: Path) -> list[Frame]:
    """Frames of one `metric_info.json` in the order of the file.

    Raises FileNotFoundError, or ValueError naming file, frame and field, also for fewer than 3 frames.
    """
    frames = [_validated(Frame, content, f"{path}: frame {key}") for key, content in _read_json(path).items()]
    if len(frames) <= SMOOTHING["polyorder"]:
        raise ValueError(f"{path}: {len(frames)} frames; comfort needs at least {SMOOTHING['polyorder'] + 1}")
    return frames


def evaluate(folder: Path, routes: int = BENCHMARK_ROUTES) -> dict[str, float | int | None]:
    """The metrics of a folder; `routes` is the size of the suite, also of what has no record yet."""
    records = read_records(folder / "results")
    if len(records) > routes:
        raise ValueError(f"{folder}: {len(records)} route records, but a suite of {routes} routes")
    shares = [
        comfortable_share(read_frames(folder / "metric_info" / r.save_name / "metric_info.json")) for r in records
    ]
    return {
        "driving_score": driving_score(records, routes),
        "success_rate": sum(map(is_success, records)) / routes,
        "eval_num": len(records),
        "driving_efficiency": driving_efficiency(records),
        "comfortness": sum(shares) / len(shares),
        "routes": routes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m irlvla.bench2drive", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--routes", type=int, default=BENCHMARK_ROUTES, help="size of the suite (default %(default)s)")
    arguments = parser.parse_args()
    try:
        print(json.dumps(evaluate(arguments.folder, arguments.routes), indent=1))
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
