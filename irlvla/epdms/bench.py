"""How fast the scorer is: milliseconds per plan by batch size, by part, and with all cores.

Plans are a scene's own, repeated. Every figure is the median over scenes of the best of three runs, on one thread;
what is compiled was compiled before the clock counts.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from irlvla.epdms import collisions
from irlvla.epdms.areas import AreaMap, ego_areas
from irlvla.epdms.centerline import lane_keeping, progress_m
from irlvla.epdms.collisions import Traffic
from irlvla.epdms.comfort import history_comfort
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.drive import simulate
from irlvla.epdms.reference import load_proposals, scene_files
from irlvla.epdms.scores import driving_direction_compliance, score_plans
from irlvla.epdms.states import EgoBoxes

SIZES = (1, 16, 256, 4096)
PARTS_AT, CORES_AT = 256, 256  # plans per scene
REPEATS = 3

Array = NDArray[np.float64]


def report(folder: Path) -> Iterator[str]:
    """Lines for every size, every part and every number of cores."""
    for size in SIZES:
        yield size_line(folder, size)
    yield from part_lines(folder, PARTS_AT)
    yield from core_lines(folder, CORES_AT)


def size_line(folder: Path, size: int) -> str:
    """Milliseconds per plan in batches of `size`. Raises FileNotFoundError if the folder has no scenes."""
    files = scene_files(folder)
    per_plan = [1e3 * _best_s(partial(score_plans, *scene)) / size for scene in _scenes(files, size)]
    return f"{statistics.median(per_plan):.4f} ms per plan ({size} plans, {len(files)} scenes)"


def part_lines(folder: Path, size: int) -> list[str]:
    """Where the time of a batch goes; a part that several sub-scores share stands alone."""
    files = scene_files(folder)
    times: dict[str, list[float]] = {}
    for context, plans in _scenes(files, size):
        for name, run in _parts(context, plans).items():
            times.setdefault(name, []).append(1e3 * _best_s(run) / size)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return [f"{ms:.4f} ms per plan in {name} ({size} plans)" for name, ms in medians.items()]


def core_lines(folder: Path, size: int) -> list[str]:
    """Plans per second of all scenes, spread over one process, two, four ... all cores."""
    files, lines = scene_files(folder), []
    cores = len(os.sched_getaffinity(0))
    for workers in sorted({2**k for k in range(cores.bit_length()) if 2**k <= cores} | {cores}):
        with joblib.Parallel(n_jobs=workers) as pool:
            tasks = [joblib.delayed(_score_often)(file, size) for file in files * REPEATS]
            pool(tasks)  # processes start, caches fill
            start = time.perf_counter()
            plans = sum(pool(tasks))
            lines.append(f"{plans / (time.perf_counter() - start):.0f} plans per second ({workers} processes)")
    return lines


def _scenes(files: list[Path], size: int) -> Iterator[tuple[ScoringContext, Array]]:
    for file in files:
        proposals = load_proposals(file)
        yield ScoringContext.load(file), np.resize(proposals, (size, *proposals.shape[1:]))


def _best_s(run: Callable[[], object]) -> float:
    def seconds() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    with threadpool_limits(limits=1):
        run()
        return min(seconds() for _ in range(REPEATS))


def _parts(context: ScoringContext, plans: Array) -> dict[str, Callable[[], object]]:
    states = simulate(plans, context.ego_state)
    area_map, traffic = AreaMap.from_context(context), Traffic.near(context, states)
    boxes = EgoBoxes.from_states(states)
    areas = ego_areas(area_map, states, boxes)
    return {
        "driving": lambda: simulate(plans, context.ego_state),
        "set-up of map and tracks": lambda: (AreaMap.from_context(context), Traffic.near(context, states)),
        "boxes": lambda: EgoBoxes.from_states(states),
        "areas (DAC, DDC, and for NC, TTC, LK)": lambda: ego_areas(area_map, states, boxes),
        "NC": lambda: collisions.no_at_fault_collisions(traffic, areas, states, boxes),
        "TTC": lambda: collisions.time_to_collision_within_bound(traffic, areas, states, boxes),
        "TLC": lambda: collisions.traffic_light_compliance(area_map, context, boxes),
        "DDC": lambda: driving_direction_compliance(areas, boxes.centers),
        "LK": lambda: lane_keeping(context.centerline, areas.center_in_intersection, boxes.centers),
        "EP": lambda: progress_m(context.centerline, boxes.centers),
        "HC": lambda: history_comfort(context.ego_history, states),
    }


def _score_often(file: Path, size: int) -> int:
    with threadpool_limits(limits=1):
        for context, plans in _scenes([file], size):
            score_plans(context, plans)
    return size
