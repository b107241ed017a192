"""Towns of the embedded world: SUMO road networks, some cut from OpenStreetMap, some generated.

A network file keeps the town's place in the global frame (UTM zone 33) in its `location` element:
global = network coordinates - netOffset. Towns of one split lie kilometres apart in one map.
"""

import gzip
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sumo

CRS = "EPSG:32633"  # Berlin's UTM zone; the generated towns are laid out beside it
MAP_OF_SPLIT = {"train": "sg-one-north", "val": "us-ma-boston", "test": "us-nv-las-vegas-strip"}
STUB_MAP = "us-pa-pittsburgh-hazelwood"  # the official reader opens all four of its maps

SUMO_HOME = Path(sumo.SUMO_HOME)

# Round corners and detailed turning paths: as shipped, tight corners break the comfort limits of EPDMS.
# A yellow of 5 s lets a car that enters late clear the junction before red. Pavements up to 20 m/s roads.
JUNCTIONS = (
    "--default.junctions.radius", "14", "--junctions.corner-detail", "8", "--junctions.internal-link-detail", "12",
    "--junctions.limit-turn-speed", "2.0", "--no-turnarounds", "true", "--tls.yellow.time", "5",
    "--tls.allred.time", "2", "--tls.cycle.time", "70", "--tls.left-green.time", "8",
    "--sidewalks.guess", "--sidewalks.guess.max-speed", "20",
    "--crossings.guess", "--tls.guess",
)  # fmt: skip


@dataclass(frozen=True)
class Town:
    """One town: how its network is made and how busy it is."""

    name: str
    split: str  # train, val or test
    command: tuple[str, ...]  # netconvert or netgenerate and its own options
    origin: tuple[float, float] | None  # place of the network's origin, global [m]; None: as georeferenced
    first_fid: int  # feature ids of its map elements start here
    logs: int
    groups: int = 0  # so many of the logs have second-stage scenes
    cars_per_km: float = 14.0  # of lane
    pedestrians: int = 60

    @property
    def map_name(self) -> str:
        return MAP_OF_SPLIT[self.split]


def _random_town(seed: int, iterations: int, min_m: int, max_m: int, lanes: int, speed: float, *extra: str) -> tuple:
    return (
        "netgenerate", "--rand", "--seed", str(seed), "--rand.iterations", str(iterations),
        "--rand.min-distance", str(min_m), "--rand.max-distance", str(max_m), "-L", str(lanes),
        "--default.speed", str(speed), "--default.lanewidth", "3.5", *JUNCTIONS, *extra,
    )  # fmt: skip


def _part_of(network: str, boundary: str) -> tuple[str, ...]:
    return (
        "netconvert", "-s", str(SUMO_HOME / "tools/game" / network), "--keep-edges.in-boundary", boundary,
        "--keep-edges.by-vclass", "passenger,pedestrian", "--remove-edges.isolated", "true",
        "--keep-edges.components", "1", "--geometry.remove", "true", 
        "--geometry.min-radius.fix", "true", "--tls.rebuild", "true", *JUNCTIONS,
    )  # fmt: skip


TOWNS = {
    town.name: town
    for town in (
        Town("berlin", "train", _part_of("DRT/osm.net.xml", "700,900,1900,2300"), None, 1_000_001, 20),
        Town("aspen", "train", _random_town(3, 26, 120, 260, 2, 13.9, "--rand.random-lanenumber"),
             (402_000.0, 5_809_000.0), 2_000_001, 12),
        Town("birch", "train", _random_town(11, 30, 100, 200, 1, 11.1), (405_000.0, 5_809_000.0), 3_000_001, 12),
        Town("cedar", "train", _random_town(23, 16, 140, 260, 3, 13.9), (408_000.0, 5_809_000.0), 4_000_001, 12),
        Town("dogwood", "val", _random_town(31, 24, 120, 260, 2, 13.9), (402_000.0, 5_820_000.0), 1_000_001, 5, 3),
        Town("elm", "val", _random_town(47, 26, 110, 220, 2, 11.1, "--rand.random-lanenumber"),
             (405_000.0, 5_820_000.0), 2_000_001, 5, 3),
        Town("fir", "test", _random_town(53, 24, 120, 260, 2, 13.9), (402_000.0, 5_830_000.0), 1_000_001, 7, 6),
        Town("ginkgo", "test", _random_town(61, 26, 110, 220, 2, 11.1, "--rand.random-lanenumber"),
             (405_000.0, 5_830_000.0), 2_000_001, 7, 6),
        Town("hazel", "test", _random_town(71, 16, 140, 260, 3, 13.9), (408_000.0, 5_830_000.0), 3_000_001, 6, 6),
    )
}  # fmt: skip


def build_network(town: Town, path: Path) -> None:
    """Make the town's network file `path` (`.net.xml.gz`).

    Raises RuntimeError with SUMO's message if it cannot.
    """
    plain = path.with_suffix("")
    program, *options = town.command
    command = [str(SUMO_HOME / "bin" / program), *options, "-o", str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SUMO_HOME": str(SUMO_HOME)})
    if done.returncode:
        raise RuntimeError(f"town {town.name}: {program} failed: {done.stderr.strip()[-500:]}")
    text = re.sub(r"<!--.*?-->\s*", "", plain.read_text(), count=1, flags=re.DOTALL)  # names the day and the machine
    if town.origin is not None:
        x, y = town.origin
        text = re.sub(r'netOffset="[^"]*"', f'netOffset="{-x:.2f},{-y:.2f}"', text, count=1)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    plain.unlink()


@cache
def network_offset(path: Path) -> tuple[float, float]:
    """What is added to network coordinates to make them global [m]."""
    head = gzip.open(path, "rt").read(4000)
    match = re.search(r'netOffset="([-\d.]+),([-\d.]+)"', head)
    if match is None:
        raise ValueError(f"{path}: no netOffset in the location element")
    return -float(match[1]), -float(match[2])
