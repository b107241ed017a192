"""`ScoringContext`: everything of a scene that EPDMS needs, as plain arrays (global frame)."""

import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_RAILS_PREFIX = "rails_"


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, so that caches can be keyed by it
class Rails:
    """What reactive traffic needs of the map: the centreline that each car (of Q tracks) would follow.

    L rails with V vertices in all. Columns of tracks without a rail hold zeros.
    """

    xyh: Array  # (V, 3) x, y, heading
    offsets: NDArray[np.int64]  # (L + 1,)
    speed_limit_mps: Array  # (L,) NaN where the map has none
    seen_now: NDArray[np.bool_]  # (Q,) the track is in the present frame
    rail: NDArray[np.int64]  # (Q,) -1: no lane under the car, or not a car of the present frame
    start_pose: Array  # (Q, 3) nearest point of the rail
    start_progress_m: Array  # (Q,) its distance along the rail
    on_road: NDArray[np.bool_]  # (Q,) centre in a lane or an intersection


@dataclass(frozen=True)
class ScoringContext:
    """P polygons with M vertices in all, R route lanes, Q tracks, L lights; 41 states at 10 Hz from t = 0."""

    scene_type: str  # "original" or "synthetic"
    ego_state: Array  # (11,) x y heading vx vy ax ay steering steering_rate yaw_rate yaw_acceleration
    ego_history: Array  # (4, 11) at -1.5, -1, -0.5, 0 s
    polygon_xy: Array  # (M, 2)
    polygon_offsets: NDArray[np.int64]  # (P + 1,)
    polygon_ids: NDArray[np.str_]  # (P,)
    polygon_layers: NDArray[np.str_]  # (P,) LANE, LANE_CONNECTOR, ROADBLOCK, INTERSECTION or CARPARK_AREA
    route_lane_ids: NDArray[np.str_]  # (R,)
    centerline: Array  # (C, 3) x, y, heading
    track_tokens: NDArray[np.str_]  # (Q,)
    track_types: NDArray[np.str_]  # (Q,)
    track_lwh: Array  # (Q, 3)
    track_states: Array  # (41, Q, 5) x, y, heading, vx, vy
    track_valid: NDArray[np.bool_]  # (41, Q)
    red_light_ids: NDArray[np.str_]  # (L,)
    red_light_on: NDArray[np.bool_]  # (41, L)
    reference_poses: Array  # (41, 3) PDM-Closed plan, ego frame, 10 Hz from t = 0; (40, 3): it starts at the ego
    human_poses: Array  # (8, 3) ego frame, 2 Hz; NaN in second-stage scenes that do not store it
    rails: Rails | None = None  # only where reactive traffic is wanted

    @classmethod
    def load(cls, path: str | Path) -> "ScoringContext":
        """Read a context from an `.npz` file with one array per field.

        Raises ValueError naming the file and the fields that are missing.
        """
        with np.load(path, allow_pickle=False) as arrays:
            names = [f.name for f in fields(cls) if f.name != "rails"]
            has_rails = any(name.startswith(_RAILS_PREFIX) for name in arrays)
            rail_names = [f.name for f in fields(Rails)] if has_rails else []
            missing = [name for name in names if name not in arrays]
            missing += [_RAILS_PREFIX + name for name in rail_names if _RAILS_PREFIX + name not in arrays]
            if missing:
                raise ValueError(f"{path}: not a scoring context, missing {', '.join(missing)}")
            rails = Rails(**{name: arrays[_RAILS_PREFIX + name] for name in rail_names}) if has_rails else None
            return cls(**{name: arrays[name] for name in names}, rails=rails)

    def save(self, path: str | Path) -> None:
        """Write the context to an `.npz` file that `load` reads; the file appears complete or not at all."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rails"}
        if self.rails is not None:
            arrays |= {_RAILS_PREFIX + f.name: getattr(self.rails, f.name) for f in fields(self.rails)}
        path = Path(path)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            np.savez_compressed(file, **arrays)
        os.replace(file.name, path)
