"""Bench2Drive metrics: official answers on a cut of made-up routes, hand-made cases for each branch, broken inputs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irlvla import bench2drive
from irlvla.bench2drive import Frame, RouteRecord

REFERENCE = Path(__file__).parent / "data" / "bench2drive"
KINDS = ("collisions_vehicle", "red_light", "min_speed_infractions")


def record(name="a", status="Completed", composed=100.0, **infractions) -> dict:
    return {
        "route_id": name,
        "save_name": name,
        "status": status,
        "infractions": {kind: infractions.get(kind, []) for kind in KINDS},
        "scores": {"score_route": 100.0, "score_penalty": composed / 100, "score_composed": composed},
    }


def frame(forward_acceleration=0.0, yaw_rate=0.0, heading=0.0) -> dict:
    cos, sin = np.cos(heading), np.sin(heading)
    return {
        "acceleration": [forward_acceleration * cos, forward_acceleration * sin, 9.0],
        "angular_velocity": [5.0, 5.0, yaw_rate],
        "forward_vector": [cos, sin, 0.0],
        "right_vector": [-sin, cos, 0.0],
    }


def speeds(*percentages) -> list[str]:
    return [f"Average speed is {value}% of the surrounding traffic's one" for value in percentages]


def share(frames: list[dict]) -> float:
    return bench2drive.comfortable_share([Frame(**f) for f in frames])


def write_suite(folder: Path, records: list[dict], frames: list[dict]) -> Path:
    (folder / "results").mkdir(parents=True)
    (folder / "results" / "part.json").write_text(json.dumps({"_checkpoint": {"records": records}}))
    for route in records:
        (folder / "metric_info" / route["save_name"]).mkdir(parents=True, exist_ok=True)
        numbered = {str(i): f for i, f in enumerate(frames)}
        (folder / "metric_info" / route["save_name"] / "metric_info.json").write_text(json.dumps(numbered))
    return folder


def test_cut_of_the_reference_set_gives_the_values_computed_by_hand():
    metrics = bench2drive.evaluate(REFERENCE)
    composed = (78.610191, 100, 56, 34.0977, 71.33, 100, 100, 70, 63.413, 34.3, 12.691, 80)
    speed_means = (
        (200.89 + 88.99 + 297.77 + 185.19 + 107.53) / 5,
        (139.85 + 265.06 + 23.39) / 3,  # 1522.35 and 1887.47 dropped
        (137.05 + 51.70) / 2,
        (164.39 + 170.97) / 2,
        (37.41 + 59.54) / 2,  # 1968.46 dropped
        (67.88 + 59.14 + 144.22) / 3,  # 1869.69 and 1734.25 dropped
        (194.72 + 50.11 + 190.04 + 186.98) / 4,
        (138.01 + 171.43) / 2,  # 1627.71 dropped
        (69.65 + 205.45 + 149.36) / 3,
        (95.69 + 76.11 + 173.01 + 133.86) / 4,
    )  # routes 7 and 18 have no speed record
    assert metrics["eval_num"] == 12 and metrics["routes"] == 220
    assert metrics["driving_score"] == pytest.approx(sum(composed) / 220, rel=1e-12)
    assert metrics["success_rate"] == 3 / 220  # routes 2, 17 and 18: finished and clean
    assert metrics["driving_efficiency"] == pytest.approx(sum(speed_means) / 10, rel=1e-12)
    assert metrics["comfortness"] == 3 / 12  # routes 12, 18 and 37 by the benchmark's own tool


def test_command_line_prints_the_metrics_as_json():
    command = [sys.executable, "-m", "irlvla.bench2drive", str(REFERENCE), "--routes", "12"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert list(printed) == [
        "driving_score", "success_rate", "eval_num", "driving_efficiency", "comfortness", "routes",
    ]  # fmt: skip
    assert printed["success_rate"] == 3 / 12


def test_routes_without_a_record_count_as_zero():
    records = [RouteRecord(**record(composed=80.0))]
    assert bench2drive.driving_score(records, routes=220) == 80 / 220
    assert bench2drive.driving_score(records, routes=4) == 20


@pytest.mark.parametrize(
    ("status", "infractions", "success"),
    [
        ("Completed", {}, True),
        ("Perfect", {}, True),
        ("Completed", {"min_speed_infractions": speeds(20)}, True),
        ("Completed", {"red_light": ["ran a light"]}, False),
        ("Failed - Agent timed out", {}, False),
    ],
)
def test_success_needs_the_finish_and_no_infraction_but_low_speed(status, infractions, success):
    assert bench2drive.is_success(RouteRecord(**record(status=status, **infractions))) is success


def test_speeds_above_1000_percent_are_dropped_before_the_mean_of_a_route():
    routes = [speeds(50, 1000.01, 150), speeds(1000.0), [], speeds(1500)]
    records = [RouteRecord(**record(min_speed_infractions=texts)) for texts in routes]
    assert bench2drive.driving_efficiency(records) == (100 + 1000) / 2
    assert bench2drive.driving_efficiency(records[2:]) is None


def test_a_speed_text_without_a_percentage_is_an_error():
    with pytest.raises(ValueError, match="route a: min_speed_infractions: no percentage in 'slow'"):
        bench2drive.driving_efficiency([RouteRecord(**record(min_speed_infractions=["slow"]))])


def test_incomplete_tail_is_dropped_but_a_short_route_is_one_segment():
    good, bad = [frame(0.0)], [frame(5.0)]
    assert share(good * 20 + bad * 20) == 0.5
    assert share(good * 20 + bad * 19) == 1.0
    assert share(bad * 19) == 0.0
    assert share(good * 3) == 1.0  # the filter's window shrinks with the route


@pytest.mark.parametrize(
    ("acceleration", "comfortable"), [(2.39, True), (2.41, False), (-4.04, True), (-4.06, False)]
)  # fmt: skip
def test_longitudinal_bounds_are_open_and_measured_along_the_forward_vector(acceleration, comfortable):
    assert (share([frame(acceleration, heading=0.7)] * 20) == 1.0) is comfortable


@pytest.mark.parametrize(("slope", "comfortable"), [(4.1, True), (4.2, False)])  # m/s^3
def test_longitudinal_jerk_is_the_derivative_of_the_acceleration(slope, comfortable):
    ramp = [frame(slope * 0.1 * (i - 6)) for i in range(12)]
    assert (share(ramp) == 1.0) is comfortable


@pytest.mark.parametrize(("lateral", "comfortable"), [(4.88, True), (4.90, False), (-4.88, True), (-4.90, False)])
def test_lateral_bound(lateral, comfortable):
    sideways = frame() | {"acceleration": [0.0, lateral, 0.0]}
    assert (share([sideways] * 20) == 1.0) is comfortable


@pytest.mark.parametrize(("slope", "comfortable"), [(8.3, True), (8.5, False)])  # m/s^3
def test_jerk_of_the_magnitude(slope, comfortable):
    sideways = [frame() | {"acceleration": [0.0, slope * 0.1 * i, 0.0]} for i in range(6)]
    assert (share(sideways) == 1.0) is comfortable


@pytest.mark.parametrize(("yaw_rate", "comfortable"), [(0.94, True), (0.96, False), (-0.96, False)])
def test_yaw_rate_bound_also_stands_for_yaw_acceleration(yaw_rate, comfortable):
    assert (share([frame(yaw_rate=yaw_rate)] * 20) == 1.0) is comfortable


def test_whole_turns_between_yaw_rates_are_unwrapped():
    assert share([frame(yaw_rate=2 * np.pi * (i % 2)) for i in range(20)]) == 1.0


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_unwrapping_changes_by_whole_turns_and_leaves_no_step_above_half_a_turn(angles):
    angles = np.array(angles)
    unwrapped = bench2drive.unwrap_phase(angles)
    turns = (angles - unwrapped) / (2 * np.pi)
    assert unwrapped[0] == angles[0]
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    assert np.all(np.abs(np.diff(unwrapped)) <= np.pi + 1e-9)


def test_merged_file_of_the_benchmark_is_not_counted_again(tmp_path):
    folder = write_suite(tmp_path, [record()], [frame()] * 5)
    (folder / "results" / "merged.json").write_text((folder / "results" / "part.json").read_text())
    assert bench2drive.evaluate(folder)["eval_num"] == 1


def broken(change) -> dict:
    content = record()
    change(content)
    return content


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no route records"),
        ([record(), record()], "part.json: record 1: route a is recorded twice"),
        ([broken(lambda r: r.pop("status"))], r"part.json: record 0 \(route a\): field 'status'"),
        ([broken(lambda r: r["scores"].pop("score_composed"))], r"\(route a\): field 'scores.score_composed'"),
        ([broken(lambda r: r["scores"].update(score_composed=float("nan")))], r"'scores.score_composed'.*finite"),
        ([broken(lambda r: r["infractions"].pop("min_speed_infractions"))], "'min_speed_infractions' is missing"),
    ],
)
def test_broken_records_are_named(tmp_path, records, message):
    with pytest.raises(ValueError, match=message):
        bench2drive.evaluate(write_suite(tmp_path, records, [frame()] * 5))


def test_broken_files_are_named(tmp_path):
    folder = write_suite(tmp_path, [record()], [frame()] * 5)
    info = folder / "metric_info" / "a" / "metric_info.json"
    info.write_text(json.dumps({"0": frame(), "1": {**frame(), "angular_velocity": [0.0, 0.0]}}))
    with pytest.raises(ValueError, match=r"a/metric_info.json: frame 1: field 'angular_velocity.2'"):
        bench2drive.evaluate(folder)
    info.write_text(json.dumps({"0": frame()}))
    with pytest.raises(ValueError, match="a/metric_info.json: 1 frames; comfort needs at least 3"):
        bench2drive.evaluate(folder)
    info.unlink()
    with pytest.raises(FileNotFoundError, match="a/metric_info.json: this file is missing"):
        bench2drive.evaluate(folder)
    (folder / "results" / "part.json").write_text('{"_checkpoint": ')
    with pytest.raises(ValueError, match="part.json: not readable as JSON"):
        bench2drive.evaluate(folder)
    (folder / "results" / "part.json").write_text("{}")
    with pytest.raises(ValueError, match="field '_checkpoint.records'"):
        bench2drive.evaluate(folder)


def test_more_records_than_routes_is_an_error():
    with pytest.raises(ValueError, match="12 route records, but a suite of 5 routes"):
        bench2drive.evaluate(REFERENCE, routes=5)
