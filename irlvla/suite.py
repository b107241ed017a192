"""Many routes, several drivers: parallel processes, resumable, records in Bench2Drive's layout.

    OUT/<driver>/results/<route>.json                 {"_checkpoint": {"records": [one record]}}
    OUT/<driver>/metric_info/<save_name>/metric_info.json
    OUT/<driver>/logs/<route>.pkl                     the drive as a NAVSIM log, 2 Hz
    OUT/<driver>/plans/<route>.npz                    what was planned at each frame of the log after its history

The result is written last; a route whose result is there and was made from the same things, the package's code among
them, is not driven again.
"""

import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

import irlvla
from irlvla import HISTORY_FRAMES
from irlvla.bench2drive import LOW_SPEED
from irlvla.closed_loop import Agent, Drive, drive_route, metric_frames
from irlvla.infractions import infractions, route_record
from irlvla.progress import progress
from irlvla.routes import RouteSpec
from irlvla.scenes.frames import frames_of_log, scene_of_frames
from irlvla.scenes.scene import Scene
from irlvla.scenes.town_map import TownMap
from irlvla.scenes.unpickle import load_data_pickle
from irlvla.world.export import write_pickle
from irlvla.world.live import LiveWorld
from irlvla.world.recording import Place

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Driver:
    """Who drives: `make` builds the agent in the process that needs it; `version` changes when the agent does."""

    name: str
    make: Callable[[], Agent]  # picklable
    version: str


def file_version(*paths: Path) -> str:
    """Digest of files' contents."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def run_suite(
    specs: Sequence[RouteSpec], drivers: Sequence[Driver], data_root: Path, out: Path, workers: int
) -> dict[str, float]:
    """Drive every route with every driver, write the results below `out`; seconds per simulated second of new drives.

    Results of another suite or of another version of a driver are removed first.
    Raises what a drive raises; the routes that were finished by then are kept.
    """
    todo = []
    for driver in drivers:
        done = {spec.id for spec in specs if is_done(out / driver.name, spec, driver, data_root)}
        _keep_results(out / driver.name, done)
        todo += [(i, spec, driver) for i, spec in enumerate(specs) if spec.id not in done]
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        jobs = (joblib.delayed(drive_and_write)(*job, data_root, out) for job in todo)
        results = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
        return dict(sorted(progress(results, "routes", total=len(todo))))


def drive_and_write(index: int, spec: RouteSpec, driver: Driver, data_root: Path, out: Path) -> tuple[str, float]:
    """Drive one route; its name and the seconds it took per simulated second."""
    folder = out / driver.name
    started = time.perf_counter()
    with LiveWorld(Place.of(data_root, spec.town), spec.scenario, spec.seed, spec.length_m, spec.id) as world:
        drive = drive_route(world, driver.make())
        log = world.log()
    record = route_record(index, spec.id, drive.ticks, drive.line.length_m, drive.end)
    record["meta"] |= {"town": spec.town, "scenario": spec.scenario, "events": _events(drive)}
    record["meta"]["fingerprint"] = _fingerprint(spec, driver, data_root)
    _write_json(folder / "metric_info" / record["save_name"] / "metric_info.json", metric_frames(drive.states))
    write_pickle(folder / "logs" / f"{spec.id}.pkl", log)
    _write_npz(folder / "plans" / f"{spec.id}.npz", plans=drive.plans, line=drive.line.points)
    _write_json(_result_path(folder, spec), {"_checkpoint": {"records": [record]}})
    return f"{driver.name}/{spec.id}", (time.perf_counter() - started) / drive.ticks[-1].time_s


def is_done(folder: Path, spec: RouteSpec, driver: Driver, data_root: Path) -> bool:
    """Whether the result of this route in this town by this version of the driver is there."""
    path = _result_path(folder, spec)
    return path.exists() and read_record(path)["meta"].get("fingerprint") == _fingerprint(spec, driver, data_root)


def read_record(path: Path) -> dict:
    """The record in a result file, which holds one."""
    return json.loads(path.read_text())["_checkpoint"]["records"][0]


def film(folder: Path, route_id: str, town_map: TownMap) -> Iterator[tuple[Scene, Array]]:
    """Scene and plan (T, 3) at each replan of a recorded drive."""
    path = folder / "logs" / f"{route_id}.pkl"
    frames = load_data_pickle(path)
    with np.load(folder / "plans" / f"{route_id}.npz") as arrays:
        plans = arrays["plans"]
    for start, plan in enumerate(plans):
        window = frames_of_log(frames[start : start + HISTORY_FRAMES], path)
        yield scene_of_frames(window, HISTORY_FRAMES - 1, town_map, Path(), route_id), plan


def events(folder: Path) -> list[dict]:
    """All infractions of a driver but low speed: route, kind, time_s, x_m, y_m, text."""
    records = [read_record(path) for path in sorted((folder / "results").glob("*.json"))]
    rows = [{"route": record["route_id"], **event} for record in records for event in record["meta"]["events"]]
    return [row for row in rows if row["kind"] != LOW_SPEED]


def _result_path(folder: Path, spec: RouteSpec) -> Path:
    return folder / "results" / f"{spec.id}.json"


@functools.cache
def _code_version() -> str:
    """Digest of the package: which of its files a drive depends on is not worth finding out."""
    return file_version(*sorted(Path(irlvla.__file__).parent.rglob("*.py")))


def _fingerprint(spec: RouteSpec, driver: Driver, data_root: Path) -> str:
    network = file_version(Place.of(data_root, spec.town).network_path)
    made_from = [asdict(spec), driver.version, network, _code_version()]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]


def _events(drive: Drive) -> list[dict]:
    return [asdict(event) for event in infractions(drive.ticks, drive.line.length_m, drive.end)]


def _keep_results(folder: Path, route_ids: set[str]) -> None:
    """Remove all other results: the metrics would count them."""
    for path in (folder / "results").glob("*.json"):
        if path.stem not in route_ids:
            path.unlink()
            shutil.rmtree(folder / "metric_info" / f"{path.stem}_rep0", ignore_errors=True)


def _write_json(path: Path, content: Mapping) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


def _write_npz(path: Path, **arrays: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, path)
