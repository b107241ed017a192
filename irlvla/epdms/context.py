"""`ScoringContext`: everything of a scene that EPDMS needs, as plain arrays (global frame)."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    reference_poses: Array  # (40, 3) PDM-Closed plan, ego frame, 10 Hz
    human_poses: Array  # (8, 3) ego frame, 2 Hz

    @classmethod
    def load(cls, path: str | Path) -> "ScoringContext":
        """Read a context from an `.npz` file with one array per field.

        Raises ValueError naming the file and the fields that are missing.
        """
        with np.load(path, allow_pickle=False) as arrays:
            missing = [f.name for f in fields(cls) if f.name not in arrays]
            if missing:
                raise ValueError(f"{path}: not a scoring context, missing {', '.join(missing)}")
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})
