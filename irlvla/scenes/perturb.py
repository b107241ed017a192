"""Scenes with the ego moved off the logged track: starts that a policy will meet but a log never shows.

The moved scene can be rendered and scored like any other. Its logged future is no longer reachable, so its human plan
is no imitation target.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.geometry import box_corners, global_from_local, local_from_global
from irlvla.scenes.scene import Scene
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """How far drawn starts lie from the logged one."""

    lateral_m: float
    heading_rad: float
    speed_factors: tuple[float, float]  # a negative one counts as 0: at rest


# Each a third of the starts: as after a moment of imprecise driving, within a third of a lane; as after a wrong plan,
# at the kerb, in the lane beside or in the oncoming one; and where the human drove on, nearly stopped, half of them at
# rest: a policy that never stood on a free road during training does not start there.
SPREADS = (
    Spread(1.2, np.deg2rad(10), (0.6, 1.3)),
    Spread(4.0, np.deg2rad(15), (0.3, 1.3)),
    Spread(1.2, np.deg2rad(10), (-0.2, 0.2)),
)
MARGIN_M = 0.3  # kept free between the moved ego and every object
TRIES = 12
ROAD_LAYERS = ("ROADBLOCK", "INTERSECTION", "CARPARK_AREA")


def perturb(scene: Scene, lateral_m: float, heading_rad: float, speed_factor: float) -> Scene:
    """The scene with the present ego pose moved `lateral_m` to its left, turned by `heading_rad` and at another speed.

    The history moves along rigidly, its travelled distances, velocities and accelerations scaled by `speed_factor`, so
    that poses and speeds still agree. Later ego frames keep the logged values. The scene counts as synthetic (no human
    filter) and gets a token of its own; `original_token` names the scene that it comes from.
    """
    now = scene.now
    moved_pose = global_from_local(scene.ego_pose, np.array([0.0, lateral_m, heading_rad]))
    history = local_from_global(scene.ego_pose, scene.ego_poses[: now + 1]) * [speed_factor, speed_factor, 1.0]
    poses, velocity, acceleration = (
        column.copy() for column in (scene.ego_poses, scene.ego_velocity_mps, scene.ego_acceleration_mps2)
    )
    poses[: now + 1] = global_from_local(moved_pose, history)
    velocity[: now + 1] *= speed_factor
    acceleration[: now + 1] *= speed_factor
    name = f"{scene.token} {lateral_m:.4f} {heading_rad:.5f} {speed_factor:.4f}"
    return replace(
        scene,
        token=hashlib.blake2b(name.encode(), digest_size=8).hexdigest(),
        original_token=scene.token,
        is_synthetic=True,
        ego_poses=poses,
        ego_velocity_mps=velocity,
        ego_acceleration_mps2=acceleration,
        cameras={name: replace(camera, image_path=None) for name, camera in scene.cameras.items()},
    )


def draw_perturbation(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """A random `perturb` of the scene that starts on the road and clear of every object; None if none is found."""
    spread = SPREADS[rng.integers(len(SPREADS))]
    for attempt in range(TRIES):
        reach = 1 - attempt / TRIES  # smaller and smaller offsets, for tight places
        lateral_m, heading_rad = rng.uniform(-reach, reach, 2) * (spread.lateral_m, spread.heading_rad)
        moved = perturb(scene, lateral_m, heading_rad, max(rng.uniform(*spread.speed_factors), 0.0))
        if starts_clear(moved):
            return moved
    return None


def starts_clear(scene: Scene) -> bool:
    """Whether the present ego box lies on the road, MARGIN_M away from every object."""
    center = global_from_local(scene.ego_pose, np.array([REAR_AXLE_TO_CENTER_M, 0.0, 0.0]))
    ego = shapely.Polygon(box_corners(center, LENGTH_M, WIDTH_M))
    found = [scene.town_map.layers[name] for name in ROAD_LAYERS]
    road = shapely.union_all(np.concatenate([layer.polygons[layer.near(center[:2], LENGTH_M)] for layer in found]))
    tracks, now = scene.tracks, scene.now
    size = tracks.size_m[now, tracks.valid[now]]
    boxes = shapely.polygons(box_corners(tracks.poses[now, tracks.valid[now]], size[:, 0], size[:, 1]))
    return bool(shapely.covers(road, ego)) and not shapely.dwithin(boxes, ego, MARGIN_M).any()
