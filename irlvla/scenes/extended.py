"""The future of second-stage scenes as the real navhard data store it: nuPlan's objects and lights, without an ego.

Such a scene has four frames; `extended_detections_tracks` and `extended_traffic_light_data` go on from there, one entry
per 0.5 s, in the global frame. Where the ego went is not stored.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from irlvla.geometry import local_from_global, rotate
from irlvla.scenes.frames import INTERVAL_US, Frame
from irlvla.scenes.scene import CATEGORIES

RED = 2  # of nuPlan's TrafficLightStatusType


def extended_frames(content: dict[str, Any], last: Frame) -> list[Frame]:
    """Frames after the last stored one; none if the scene has no extension. The ego stays where it was, unknown.

    Raises ValueError naming the file where an entry is not what nuPlan writes.
    """
    tracks = content.get("extended_detections_tracks") or []
    lights = content.get("extended_traffic_light_data") or []
    try:
        return [
            _frame(last, index + 1, entry, lights[index] if index < len(lights) else None)
            for index, entry in enumerate(tracks)
        ]
    except (AttributeError, IndexError, TypeError) as error:
        raise ValueError(f"{last.where}: extended_detections_tracks: not as nuPlan writes it: {error}") from error


def _frame(last: Frame, steps: int, tracks: Any, lights: Any) -> Frame:
    objects = [item for item in tracks.tracked_objects.tracked_objects if _type_index(item) < len(CATEGORIES)]
    centers = np.array([[o._box._center.x, o._box._center.y, o._box._center.heading] for o in objects]).reshape(-1, 3)
    sizes = np.array([[o._box._length, o._box._width, o._box._height] for o in objects]).reshape(-1, 3)
    velocities = np.array([_velocity(o) for o in objects]).reshape(-1, 2)
    local = local_from_global(last.ego_pose, centers)
    on_ground_z = sizes[:, 2:] / 2  # nuPlan's boxes have no height above the ground
    return replace(
        last,
        where=f"{last.where} + {steps}",
        token=f"{last.token}+{steps}",
        timestamp_us=last.timestamp_us + steps * INTERVAL_US,
        ego_is_known=False,
        red_connectors=() if lights is None else _red(lights),
        boxes=np.concatenate([local[:, :2], on_ground_z, sizes, local[:, 2:]], axis=1),
        velocity_mps=np.column_stack([rotate(velocities, -last.ego_pose[2]), np.zeros(len(objects))]),
        categories=tuple(CATEGORIES[_type_index(item)] for item in objects),
        track_tokens=tuple(str(item._metadata.track_token) for item in objects),
    )


def _type_index(item: Any) -> int:
    """Place of the object's type in CATEGORIES, which has nuPlan's order; the ego comes after them."""
    return int(item._tracked_object_type.arguments[0])


def _velocity(item: Any) -> tuple[float, float]:
    velocity = getattr(item, "_velocity", None)  # static objects have none of their own
    return (0.0, 0.0) if velocity is None else (velocity._x, velocity._y)


def _red(lights: Any) -> tuple[str, ...]:
    return tuple(str(light.lane_connector_id) for light in lights.traffic_lights if light.status.arguments[0] == RED)
