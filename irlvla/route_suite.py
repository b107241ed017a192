"""Suites of routes: a small file that says what makes each of them, and how such a file is drawn.

    python -m irlvla.route_suite notebooks/routes/forty.yaml --towns fir ginkgo hazel --seed 0

A route has one scripted scenario. As in Bench2Drive (Jia et al., NeurIPS 2024) scenarios are grouped into five
abilities; the groups follow what the driver has to do, because our scenarios are fewer and named otherwise.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pydantic import TypeAdapter, ValidationError

from irlvla.bench2drive import RouteRecord, is_success
from irlvla.progress import progress
from irlvla.routes import RouteSpec
from irlvla.world.live import LiveWorld
from irlvla.world.recording import Place

ABILITIES = {
    "overtaking": ("parked_car", "construction", "cyclist"),
    "merging": ("merge", "unprotected_left", "cut_in"),
    "emergency_braking": ("jaywalker", "braking_leader", "stopped_leader"),
    "give_way": ("crosswalk_pedestrian", "right_turn_pedestrians", "roundabout"),
    "traffic_signs": ("red_light", "green_start"),
}
ABILITY = {scenario: ability for ability, scenarios in ABILITIES.items() for scenario in scenarios}
LENGTH_RANGE_M = (150.0, 400.0)
DRAWS = 20  # tries of another town, length and seed before a scenario counts as impossible


def load_suite(path: Path, count: int | None = None) -> list[RouteSpec]:
    """The routes of a file, or the first `count` of them: abilities take turns in it, so few routes have all of them.

    Raises FileNotFoundError; ValueError naming file, route and field if one is broken, a name is given twice, a
    scenario has no ability, or there are fewer than `count` routes.
    """
    try:
        suite = TypeAdapter(list[RouteSpec]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: route {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    names = [spec.id for spec in suite]
    for spec in suite:
        if names.count(spec.id) > 1:
            raise ValueError(f"{path}: route {spec.id} is there twice")
        if spec.scenario not in ABILITY:
            raise ValueError(f"{path}: route {spec.id}: scenario {spec.scenario!r} is none of {sorted(ABILITY)}")
    if count is not None and count > len(suite):
        raise ValueError(f"{path}: {count} routes are wanted, but it has {len(suite)}")
    return suite[:count]


def route_scores(records: Sequence[RouteRecord], suite: Sequence[RouteSpec]) -> pd.DataFrame:
    """A row per route of the suite: route, ability, driving_score [%], success (0 or 1).

    A route without a record has zeros, as in the benchmark.
    """
    driven = {record.route_id: record for record in records}
    lines = []
    for spec in suite:
        record = driven.get(spec.id)
        score, success = (record.scores.score_composed, is_success(record)) if record else (0.0, False)
        lines.append({
            "route": spec.id, "ability": ABILITY[spec.scenario], "driving_score": score, "success": int(success),
        })  # fmt: skip
    return pd.DataFrame(lines)


def ability_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Number of routes, success rate and driving score of each ability that `route_scores` has routes of."""
    table = scores.groupby("ability").agg(
        routes=("route", "size"), success_rate=("success", "mean"), driving_score=("driving_score", "mean")
    )
    return table.reindex([ability for ability in ABILITIES if ability in table.index])


def draw_suite(root: Path, towns: Sequence[str], count: int, seed: int) -> list[RouteSpec]:
    """`count` routes: abilities take turns, the scenarios of an ability and the towns as well, lengths are random.

    A town that has no start for the scenario is passed over, so every route is known to begin.
    Raises ValueError naming the scenario if no town has a start.
    """
    rng = np.random.default_rng(seed)
    turns = {ability: cycle(scenarios) for ability, scenarios in ABILITIES.items()}
    suite, next_town = [], 0
    for ability in progress(islice(cycle(ABILITIES), count), "routes", total=count):
        scenario = next(turns[ability])
        for _ in range(DRAWS):
            town = towns[next_town % len(towns)]
            next_town += 1
            length_m, route_seed = float(round(rng.uniform(*LENGTH_RANGE_M))), int(rng.integers(2**31))
            spec = RouteSpec(f"RouteScenario_{len(suite)}", town, scenario, route_seed, length_m)
            if _begins(spec, root):
                suite.append(spec)
                break
        else:
            raise ValueError(f"{scenario}: no start in {', '.join(towns)} in {DRAWS} draws")
    return suite


def _begins(spec: RouteSpec, root: Path) -> bool:
    try:
        LiveWorld(Place.of(root, spec.town), spec.scenario, spec.seed, spec.length_m, spec.id).close()
    except ValueError:  # its message says that this town has no such place
        return False
    return True


def write_suite(path: Path, suite: Sequence[RouteSpec]) -> None:
    """One line a route."""
    lines = [yaml.safe_dump(asdict(spec), default_flow_style=True, sort_keys=False, width=1000) for spec in suite]
    temporary = path.with_suffix(".part")
    temporary.write_text("".join(f"- {line}" for line in lines), encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> None:
    """Draw a suite and write it."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.route_suite", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--towns", nargs="+", required=True)
    parser.add_argument("--root", type=Path, default=Path("data"), help="dataset with the towns")
    parser.add_argument("--routes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write_suite(options.out, draw_suite(options.root, options.towns, options.routes, options.seed))


if __name__ == "__main__":
    main()
