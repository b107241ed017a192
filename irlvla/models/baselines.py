"""Planners that see nothing: constant velocity, and a network on the ego status (NAVSIM's two blind baselines)."""

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from irlvla import PLAN_INTERVAL_S, PLAN_POSES
from irlvla.scenes.scene import STATUS_VELOCITY

Array = NDArray[np.float64]


def constant_velocity(status: Array) -> Array:
    """Plans (n, T, 3) straight ahead at the present speed, from ego status (n, H, 8)."""
    speed_mps = np.linalg.norm(status[:, -1, STATUS_VELOCITY], axis=-1)
    time_s = PLAN_INTERVAL_S * np.arange(1, PLAN_POSES + 1)
    x = speed_mps[:, None] * time_s
    return np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=-1)


class EgoStatusMLP:
    """Plan from driving command, speeds and accelerations of the history frames alone."""

    def __init__(self, seed: int, hidden: tuple[int, ...] = (128, 128), max_iter: int = 150):
        network = MLPRegressor(hidden_layer_sizes=hidden, max_iter=max_iter, early_stopping=True, random_state=seed)
        self.model = TransformedTargetRegressor(
            make_pipeline(StandardScaler(), network),
            transformer=StandardScaler(),
            check_inverse=False,  # single precision makes it an inverse up to rounding only
        )

    def fit(self, status: Array, plans: Array) -> "EgoStatusMLP":
        """Learn human plans (n, T, 3) from status (n, H, 8)."""
        with threadpool_limits(1):  # several threads add in an order that varies
            self.model.fit(status.reshape(len(status), -1), plans.reshape(len(plans), -1))
        return self

    def __call__(self, status: Array) -> Array:
        """Plans (n, T, 3) for status (n, H, 8)."""
        with threadpool_limits(1):
            return self.model.predict(status.reshape(len(status), -1)).reshape(-1, PLAN_POSES, 3)


def fit_ego_status_mlp(status: Array, plans: Array, seed: int) -> EgoStatusMLP:
    """The blind network trained on human plans; the same data and seed give the same network."""
    return EgoStatusMLP(seed).fit(status, plans)
