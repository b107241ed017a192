"""Colours, light and ground texture of the rendered world, drawn from names so that they carry no information."""

import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from irlvla.world.furniture import BUILDINGS, TREES
from irlvla.world.things import Things

Array = NDArray[np.float64]
NO_GAIN = np.ones(3)

CAR_PAINTS = (
    (236, 236, 232), (30, 32, 36), (150, 154, 160), (86, 90, 98), (36, 62, 120), (152, 28, 32), (196, 186, 160),
    (44, 92, 70), (70, 120, 170), (214, 164, 40), (112, 74, 52), (188, 92, 40),
)  # fmt: skip
SKIES = (((96, 148, 214), (206, 222, 236)), ((150, 160, 172), (208, 212, 216)), ((112, 132, 176), (240, 214, 186)))
GROUNDS = ((116, 136, 92), (136, 134, 104), (150, 146, 138), (104, 124, 84))
LEAVES = ((1.0, 1.0, 1.0), (0.82, 0.94, 0.92), (1.25, 1.08, 0.8), (1.75, 0.98, 0.62))  # gains, of fresh green to autumn
ANY_COLOUR = 0.2  # share of the cars that are painted in none of CAR_PAINTS


@dataclass(frozen=True, eq=False)  # hashed by identity
class Look:
    """Colours (RGB) and light of a log."""

    sky: Array
    horizon: Array
    ground: Array
    layers: dict[str, Array]  # by name of `street.GROUND_LAYERS`, and "shadow"
    walls: Array  # (3,) gain on buildings
    leaves: Array  # (3,) gain on plants
    sunlight: Array  # (3,) gain on everything that the sun shades
    to_sun: Array  # (3,) unit vector, global axes
    ambient: float


@lru_cache(maxsize=256)
def look_of(log_name: str) -> Look:
    """The look that belongs to a log's name."""
    rng = np.random.default_rng(zlib.crc32(log_name.encode()))
    sky, horizon = np.array(SKIES[rng.integers(len(SKIES))], dtype=float) + rng.normal(0, 5, (2, 3))
    road = rng.uniform(82, 112) + rng.normal(0, 2.5, 3)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
    ground = np.array(GROUNDS[rng.integers(len(GROUNDS))]) + rng.normal(0, 3, 3)
    warmth = rng.uniform(-1, 1)
    layers = {
        "shade": 0.62 * ground,
        "walkway": rng.uniform(158, 184) + rng.normal(0, 5, 3), "curb": rng.uniform(186, 206) + rng.normal(0, 3, 3),
        "road": road, "carpark": road * 1.12, "crosswalk": rng.uniform(218, 240) + np.zeros(3),
        "marking": rng.uniform(220, 242) + np.zeros(3), "shadow": road * 0.52,
    }  # fmt: skip
    return Look(
        sky=np.clip(sky, 0, 255),
        horizon=np.clip(horizon, 0, 255),
        ground=ground,
        layers=layers,
        walls=rng.normal(1, 0.09, 3),
        leaves=np.array(LEAVES[rng.integers(len(LEAVES))]) * rng.normal(1, 0.05, 3),
        sunlight=np.array([1 + 0.06 * warmth, 1.0, 1 - 0.08 * warmth]),
        to_sun=np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]),
        ambient=rng.uniform(0.66, 0.78),
    )


@lru_cache(maxsize=1)
def grain() -> NDArray[np.float32]:
    """(512, 512) periodic noise in about [-1, 1]: fine grain on larger patches."""
    rng = np.random.default_rng(0)
    octaves = []
    for sigma in (0.8, 3.0, 14.0):
        noise = np.tile(rng.standard_normal((512, 512)).astype(np.float32), (3, 3))
        noise = cv2.GaussianBlur(noise, (0, 0), sigma)[512:1024, 512:1024]
        octaves.append(noise / noise.std())
    return np.ascontiguousarray(np.clip(0.3 * sum(octaves), -1, 1))


def dressed(things: Things, look: Look) -> Things:
    """Scenery in the colours of a log."""
    gain = np.array([look.leaves if name in TREES else look.walls if name in BUILDINGS else NO_GAIN
                     for name in things.models]).reshape(-1, 3)  # fmt: skip
    return replace(things, paint=things.paint * gain, accent=things.accent * gain)


@lru_cache(maxsize=4096)
def paints_of(name: str, kind: str) -> tuple[Array, int]:
    """(2, 3) paint and accent of an object and a number that chooses its model, drawn from its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    draw = int(rng.integers(1024))
    if kind != "vehicle":
        return rng.uniform(30, 225, (2, 3)), draw
    known = np.array(CAR_PAINTS[rng.integers(len(CAR_PAINTS))]) + rng.normal(0, 8, 3)
    paint = rng.uniform(20, 235, 3) if rng.random() < ANY_COLOUR else known
    return np.clip([paint, 0.7 * paint + 40], 0, 255), draw
