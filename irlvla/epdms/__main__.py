"""Command line of the scorer: `python -m irlvla.epdms reference|bench|score`."""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns the exit status. Each imports what it needs when it runs."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.epdms", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_reference(commands)
    _add_bench(commands)
    options = parser.parse_args(arguments)
    return options.run(options)


def _add_reference(commands) -> None:
    command = commands.add_parser("reference", help="compare with official answers; exit 1 if any differs")
    command.add_argument("folder", type=Path, help="scenes/*.npz, scenes/*.expected.npz, two_stage.npz")
    command.set_defaults(run=_run_reference)


def _run_reference(options: argparse.Namespace) -> int:
    from irlvla.epdms.reference import check_reference

    report = check_reference(options.folder)
    print("name compared differing largest_difference")
    print(*report.lines(), sep="\n")
    return 0 if report.agrees else 1


def _add_bench(commands) -> None:
    command = commands.add_parser("bench", help="milliseconds per plan, median over scenes, one thread")
    command.add_argument("folder", type=Path, help="as for reference; answers are not needed")
    command.add_argument("--plans", type=int, default=256, help="plans in a batch (the scene's own, repeated)")
    command.set_defaults(run=_run_bench)


def _run_bench(options: argparse.Namespace) -> int:
    from threadpoolctl import threadpool_limits

    from irlvla.epdms.context import ScoringContext
    from irlvla.epdms.reference import load_proposals, scene_files
    from irlvla.epdms.scores import score_plans

    def seconds(context: ScoringContext, plans: np.ndarray) -> float:
        start = time.perf_counter()
        score_plans(context, plans)
        return time.perf_counter() - start

    milliseconds = []
    with threadpool_limits(limits=1):
        for scene in scene_files(options.folder):
            context, proposals = ScoringContext.load(scene), load_proposals(scene)
            plans = np.resize(proposals, (options.plans, *proposals.shape[1:]))
            seconds(context, plans)  # compiled and cached before the clock counts
            best = min(seconds(context, plans) for _ in range(3))
            milliseconds.append(1e3 * best / options.plans)
    print(f"{statistics.median(milliseconds):.4f} ms per plan ({options.plans} plans, {len(milliseconds)} scenes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
