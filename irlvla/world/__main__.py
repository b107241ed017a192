"""`python -m irlvla.world build OUT --seed N` makes a dataset; `check ROOT` validates, `report ROOT` describes one."""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

from irlvla.world.build import build, summary
from irlvla.world.check import check
from irlvla.world.further_towns import FURTHER_TOWNS, UNLABELLED_TOWNS
from irlvla.world.report import report
from irlvla.world.town import TOWNS

EVERY_TOWN = TOWNS | FURTHER_TOWNS | UNLABELLED_TOWNS


def main() -> int:
    parser = argparse.ArgumentParser(prog="irlvla.world", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="make a dataset, or go on with one that was stopped")
    make.add_argument("out", type=Path)
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--towns", nargs="+", choices=EVERY_TOWN, default=list(TOWNS))
    make.add_argument("--logs", type=int, help="logs per town (default: each town's own number)")
    make.add_argument("--groups", type=int, help="two-stage groups per town, a log each (default: its own number)")
    cores = len(os.sched_getaffinity(0))
    make.add_argument("--workers", type=int, default=cores, help="default: one per core")
    examine = commands.add_parser("check", help="validate a dataset; exit 1 if something is wrong")
    examine.add_argument("root", type=Path)
    examine.add_argument("--maps", type=Path, help="maps folder (default: ROOT/maps)")
    describe = commands.add_parser("report", help="counts, human scores and reading rates of a built dataset")
    describe.add_argument("root", type=Path)
    describe.add_argument("--workers", type=int, default=cores, help="default: one per core")
    arguments = parser.parse_args()
    if arguments.command == "check":
        found = check(arguments.root, arguments.maps)
        print(*found.lines(), sep="\n")
        return 1 if found.problems else 0
    if arguments.command == "report":
        for paragraph in report(arguments.root, arguments.workers):
            print(paragraph, end="\n\n", flush=True)
        return 0
    towns = [EVERY_TOWN[name] for name in arguments.towns]
    given = {name: getattr(arguments, name) for name in ("logs", "groups") if getattr(arguments, name) is not None}
    towns = [dataclasses.replace(town, **given) for town in towns]
    started = time.monotonic()
    try:
        logs = build(arguments.out, arguments.seed, towns, arguments.workers)
    except (OSError, RuntimeError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    print(*summary(logs), f"built in {time.monotonic() - started:.0f} s", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
