"""Command line of the scorer: `python -m irlvla.epdms reference|bench|score`."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns the exit status. Each imports what it needs when it runs."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.epdms", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_reference(commands)
    _add_bench(commands)
    _add_score(commands)
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
    command.add_argument(
        "--plans", type=int, help="only this batch size (default: four sizes, the parts, and all cores)"
    )
    command.set_defaults(run=_run_bench)


def _run_bench(options: argparse.Namespace) -> int:
    from irlvla.epdms import bench

    lines = bench.report(options.folder) if options.plans is None else [bench.size_line(options.folder, options.plans)]
    for line in lines:
        print(line, flush=True)
    return 0


def _add_score(commands) -> None:
    command = commands.add_parser("score", help="score plans on a dataset in NAVSIM format, write a CSV")
    command.add_argument("dataset", type=Path, help="root in NAVSIM's layout")
    command.add_argument("plans", type=Path, help=".npz with tokens (N,) and poses (N, 8, 3), ego frame, 2 Hz")
    command.add_argument("--split", type=Path, required=True, help="official split YAML; a mapping makes it two-stage")
    command.add_argument("--maps", type=Path, help="maps folder (default: DATASET/maps)")
    command.add_argument(
        "--traffic", choices=("replay", "reactive"), help="default: reactive for a two-stage split, as officially"
    )
    command.add_argument("--out", type=Path, required=True, help="CSV to write")
    command.add_argument("--workers", type=int, default=-1, help="processes (default: one per core)")
    command.set_defaults(run=_run_score)


def _run_score(options: argparse.Namespace) -> int:
    from irlvla.epdms.score_dataset import load_plans, score_dataset, summary_lines, write_csv
    from irlvla.scenes.navsim import Dataset

    try:
        plans = load_plans(options.plans)
        dataset = Dataset(options.dataset, options.split, options.maps)
        traffic = options.traffic or ("reactive" if dataset.split.two_stage else "replay")
        frame = score_dataset(dataset, plans, traffic == "reactive", options.workers)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_csv(frame, options.out)
    print(*summary_lines(frame), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
