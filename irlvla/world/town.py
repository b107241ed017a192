"""Towns of the embedded world: SUMO road networks, cut from OpenStreetMap, grown at random or drawn by rule.

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
from tempfile import TemporaryDirectory

import sumo

from irlvla.world.street_plan import Plan, blocks, lengthened, motorway

CRS = "EPSG:32633"  # Berlin's UTM zone; the generated towns are laid out beside it
MAP_OF_SPLIT = {"train": "sg-one-north", "val": "us-ma-boston", "test": "us-nv-las-vegas-strip"}
STUB_MAP = "us-pa-pittsburgh-hazelwood"  # the official reader opens all four of its maps

SUMO_HOME = Path(sumo.SUMO_HOME)

# Round corners and detailed turning paths: as shipped, tight corners break the comfort limits of EPDMS.
# A yellow of 5 s lets a car that enters late clear the junction before red.
CORNERS = (
    "--default.junctions.radius", "14", "--junctions.corner-detail", "8", "--junctions.internal-link-detail", "12",
    "--junctions.limit-turn-speed", "2.0", "--no-turnarounds", "true", "--tls.yellow.time", "5",
    "--tls.allred.time", "2", "--tls.cycle.time", "70", "--tls.left-green.time", "8", "--crossings.guess",
)  # fmt: skip
PAVEMENTS = ("--sidewalks.guess", "--sidewalks.guess.max-speed", "20")
JUNCTIONS = (*CORNERS, *PAVEMENTS, "--tls.guess")


@dataclass(frozen=True)
class Town:
    """One town: how its network is made, how busy it is, and what happens there.

    Log i shows scenarios[i % len(scenarios)].
    """

    name: str
    split: str  # train, val or test
    command: tuple[str, ...]  # netconvert or netgenerate and its own options
    origin: tuple[float, float] | None  # global place of the network's origin [m]; None: as georeferenced
    first_fid: int  # feature ids of its map elements start here
    logs: int
    groups: int = 0  # of second-stage scenes: the first logs have one each
    cars_per_km: float = 14.0  # of lane
    pedestrians: int = 60
    character: str = ""  # one word
    plan: Plan | None = None  # streets that netconvert adds to what its options name
    scenarios: tuple[str, ...] = ()

    @property
    def map_name(self) -> str:
        return MAP_OF_SPLIT[self.split]


def random_streets(seed: int, iterations: int, min_m: int, max_m: int, lanes: int, speed: float, *extra: str) -> tuple:
    return (
        "netgenerate", "--rand", "--seed", str(seed), "--rand.iterations", str(iterations),
        "--rand.min-distance", str(min_m), "--rand.max-distance", str(max_m), "-L", str(lanes),
        "--default.speed", str(speed), "--default.lanewidth", "3.5", *CORNERS, *PAVEMENTS, *extra,
    )  # fmt: skip


def _part_of(network: str, boundary: str) -> tuple[str, ...]:
    return (
        "netconvert", "-s", str(SUMO_HOME / "tools/game" / network), "--keep-edges.in-boundary", boundary,
        "--keep-edges.by-vclass", "passenger", "--remove-edges.isolated", "true",
        "--keep-edges.components", "1", "--geometry.remove", "true",
        "--geometry.min-radius.fix", "true", "--tls.rebuild", "true", *CORNERS, *PAVEMENTS,
    )  # fmt: skip


GRID = (
    "netgenerate", "--grid", "--grid.x-number", "4", "--grid.y-number", "3", "--grid.x-length", "180",
    "--grid.y-length", "160", "--perturb-x", "normc(0,7,-12,12)", "--perturb-y", "normc(0,7,-12,12)", "--seed", "5",
    "-L", "2", "--default.speed", "13.9", "--default.lanewidth", "3.5", *JUNCTIONS,
)  # fmt: skip
# The network of Ingolstadt is one large junction with arms of 130-260 m: straight streets carry them on.
INGOLSTADT_ARMS = lengthened(
    {
        "north": (("cluster_1505457072_1853002525_7692757969_7692757971", 2, (5752.9, 5801.9)),
                  ("cluster_1505457072_1853002525_7692757969_7692757971", 1, (5752.9, 5801.9)), (-17.0, 169.0)),
        "east": (("335525539", 2, (5930.4, 5828.4)), ("1840464400", 3, (5920.5, 5820.4)), (90.0, 132.0)),
        "south": (("1611608463", 1, (5853.8, 5517.1)), ("1611608463", 1, (5853.8, 5517.1)), (29.0, -157.0)),
        "west": (("cluster_1853002486_32564067", 2, (5528.4, 5659.5)), ("7625457158", 2, (5539.4, 5640.3)),
                 (-157.0, 28.0)),
    },
    lane_m=3.2, speed_mps=13.89,
)  # fmt: skip
DRAWN = ("netconvert", *CORNERS)

TOWNS = {
    town.name: town
    for town in (
        Town(
            "berlin", "train", _part_of("DRT/osm.net.xml", "1250,850,1900,1520"), None, 1_000_001, 16,
            character="real", scenarios=(
                "stopped_leader", "red_light", "crosswalk_pedestrian", "cyclist", "unprotected_left", "green_start",
                "right_turn_pedestrians", "jaywalker", "parked_car", "braking_leader", "slow_leader", "construction",
                "cut_in",
            ),
        ),
        Town(
            "aspen", "train", GRID, (402_000.0, 5_809_000.0), 2_000_001, 14,
            character="grid", scenarios=(
                "green_start", "cut_in", "right_turn_pedestrians", "parked_car", "jaywalker", "red_light",
                "unprotected_left", "stopped_leader", "construction", "parked_car", "braking_leader",
                "cyclist",
            ),
        ),
        Town(
            "birch", "train", random_streets(58, 20, 110, 220, 1, 11.1), (405_000.0, 5_809_000.0), 3_000_001, 11,
            cars_per_km=10.0, pedestrians=40, character="village", scenarios=(
                "crosswalk_pedestrian", "slow_leader", "unprotected_left", "cyclist", "jaywalker",
                "right_turn_pedestrians", "construction", "braking_leader", "stopped_leader",
            ),
        ),
        Town(
            "cedar", "train", DRAWN, (408_000.0, 5_809_000.0), 4_000_001, 14,
            character="arterial", plan=blocks(
                (0, 210, 430, 640), (0, 170, 350), seed=5, bend_m=10.0, column_lanes={0: 2, 3: 2}, row_lanes={1: 3},
                lights=((0, 1), (1, 1), (2, 1), (3, 1)),
            ), scenarios=(
                "parked_car", "construction", "red_light", "slow_leader", "green_start", "cut_in", "braking_leader",
                "unprotected_left", "stopped_leader", "right_turn_pedestrians",
            ),
        ),
        Town(
            "juniper", "train", DRAWN, (411_000.0, 5_809_000.0), 5_000_001, 12,
            character="roundabouts", plan=blocks(
                (0, 180, 370), (0, 170, 350), seed=7, bend_m=16.0, roundabouts={(1, 1): 22.0, (1, 0): 17.0},
            ), scenarios=(
                "roundabout", "cyclist", "crosswalk_pedestrian", "roundabout", "unprotected_left", "slow_leader",
                "roundabout", "jaywalker",
            ),
        ),
        Town(
            "larch", "train", DRAWN, (414_000.0, 5_809_000.0), 6_000_001, 13,
            character="motorway", plan=motorway(1000, 85), scenarios=(
                "merge", "cut_in", "slow_leader", "merge", "braking_leader", "parked_car", "merge", "parked_car",
                "construction",
            ),
        ),
        Town(
            "maple", "train", random_streets(11, 20, 110, 220, 2, 13.9, "--rand.random-lanenumber", "--tls.guess"),
            (417_000.0, 5_809_000.0), 7_000_001, 12, character="organic", scenarios=(
                "red_light", "unprotected_left", "parked_car", "right_turn_pedestrians", "stopped_leader",
                "green_start", "jaywalker", "cut_in", "cyclist",
            ),
        ),
        Town(
            "oak", "train", random_streets(23, 18, 110, 220, 2, 13.9, "--rand.random-lanenumber", "--tls.guess"),
            (420_000.0, 5_809_000.0), 8_000_001, 12, character="organic", scenarios=(
                "green_start", "red_light", "jaywalker", "braking_leader", "construction", "unprotected_left",
                "stopped_leader", "cyclist",
            ),
        ),
        Town(
            "poplar", "train", DRAWN, (423_000.0, 5_809_000.0), 9_000_001, 12,
            character="roundabouts", plan=blocks(
                (0, 180, 360), (0, 170, 350), seed=21, bend_m=16.0, roundabouts={(1, 1): 20.0, (0, 0): 17.0},
                lights=((1, 0), (2, 1)),
            ), scenarios=(
                "roundabout", "red_light", "jaywalker", "crosswalk_pedestrian", "roundabout", "green_start", "cyclist",
                "parked_car",
            ),
        ),
        Town(
            "rowan", "train", DRAWN, (426_000.0, 5_809_000.0), 10_000_001, 12,
            character="village", plan=blocks(
                (0, 160, 330), (0, 180, 340), seed=31, bend_m=14.0, lights=((1, 1), (0, 1)),
            ), scenarios=(
                "red_light", "crosswalk_pedestrian", "slow_leader", "cyclist", "unprotected_left", "green_start",
                "construction", "right_turn_pedestrians",
            ),
        ),
        Town(
            "spruce", "train", DRAWN, (429_000.0, 5_809_000.0), 11_000_001, 12,
            character="arterial", plan=blocks(
                (0, 200, 420), (0, 190, 380), seed=41, bend_m=10.0, column_lanes={1: 2}, row_lanes={1: 2},
                lights=((0, 1), (2, 1), (1, 0)),
            ), scenarios=(
                "cut_in", "red_light", "stopped_leader", "parked_car", "unprotected_left", "green_start",
                "braking_leader", "right_turn_pedestrians",
            ),
        ),
        Town(
            "willow", "train", random_streets(37, 16, 110, 220, 1, 11.1, "--tls.guess", "--tls.guess.threshold", "40"),
            (432_000.0, 5_809_000.0), 12_000_001, 12, cars_per_km=10.0, pedestrians=40, character="village", scenarios=(
                "red_light", "slow_leader", "jaywalker", "unprotected_left", "crosswalk_pedestrian", "cyclist",
                "right_turn_pedestrians", "stopped_leader",
            ),
        ),
        Town(
            "dogwood", "val", random_streets(73, 20, 110, 220, 2, 13.9, "--rand.random-lanenumber", "--tls.guess"),
            (402_000.0, 5_820_000.0), 1_000_001, 6, 4, character="organic", scenarios=(
                "red_light", "cut_in", "right_turn_pedestrians", "parked_car", "unprotected_left", "stopped_leader",
            ),
        ),
        Town(
            "elm", "val", DRAWN, (405_000.0, 5_820_000.0), 2_000_001, 6, 4,
            character="roundabouts", plan=blocks(
                (0, 190, 360), (0, 180, 340), seed=9, bend_m=16.0, roundabouts={(1, 1): 19.0}, lights=((1, 0),),
            ), scenarios=(
                "roundabout", "jaywalker", "crosswalk_pedestrian", "cyclist", "construction", "green_start",
            ),
        ),
        Town(
            "fir", "test", random_streets(92, 20, 110, 220, 2, 13.9, "--rand.random-lanenumber", "--tls.guess"),
            (402_000.0, 5_830_000.0), 1_000_001, 18, 18, character="organic", scenarios=(
                "cut_in", "red_light", "parked_car", "right_turn_pedestrians", "jaywalker", "unprotected_left",
            ),
        ),
        Town(
            "ginkgo", "test", DRAWN, (405_000.0, 5_830_000.0), 2_000_001, 18, 18,
            character="roundabouts", plan=blocks(
                (0, 170, 350), (0, 190, 370), seed=13, bend_m=16.0, roundabouts={(1, 1): 24.0, (0, 1): 16.0},
            ), scenarios=(
                "roundabout", "crosswalk_pedestrian", "cyclist", "roundabout", "jaywalker", "slow_leader",
            ),
        ),
        Town(
            "hazel", "test", DRAWN, (408_000.0, 5_830_000.0), 3_000_001, 18, 18,
            character="motorway", plan=motorway(1060, 100), scenarios=(
                "merge", "cut_in", "construction", "merge", "braking_leader", "stopped_leader",
            ),
        ),
        Town(
            "ingolstadt", "test", _part_of("fkk_in/ingolstadt.net.xml.gz", "0,0,9999,9999"), (231_603.0, 5_402_962.0),
            4_000_001, 18, 18, character="real", plan=INGOLSTADT_ARMS, scenarios=(
                "red_light", "stopped_leader", "green_start", "cyclist", "cut_in", "slow_leader",
                "parked_car", "construction",
            ),
        ),
    )
}  # fmt: skip


def build_network(town: Town, path: Path) -> None:
    """Make the town's network file `path` (`.net.xml.gz`).

    Raises RuntimeError with SUMO's message if it cannot.
    """
    program, *options = town.command
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "town.net.xml"
        options += town.plan.write(Path(folder)) if town.plan else []
        command = [str(SUMO_HOME / "bin" / program), *options, "-o", str(plain)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SUMO_HOME": str(SUMO_HOME)})
        if done.returncode:
            raise RuntimeError(f"town {town.name}: {program} failed: {done.stderr.strip()[-500:]}")
        text = plain.read_text()
    text = re.sub(r"<!--.*?-->\s*", "", text, count=1, flags=re.DOTALL)  # names the day and the machine
    if town.origin is not None:
        x, y = town.origin
        text = re.sub(r'netOffset="[^"]*"', f'netOffset="{-x:.2f},{-y:.2f}"', text, count=1)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


@cache
def network_offset(path: Path) -> tuple[float, float]:
    """What is added to network coordinates to make them global [m]."""
    head = gzip.open(path, "rt").read(4000)
    match = re.search(r'netOffset="([-\d.]+),([-\d.]+)"', head)
    if match is None:
        raise ValueError(f"{path}: no netOffset in the location element")
    return -float(match[1]), -float(match[2])
