"""What no sub-score of EPDMS forbids: a plan that rolls back.

Progress is not counted below zero, so in EPDMS a car that rolls back is as good as one that stands, and safer than one
that creeps towards a red light or a leader. No human of the logs does it. Reinforcement finds this out, on the reward
model as on EPDMS itself, unless a metre backwards costs something (`ppo.rolling_back_cost`).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

TOLERANCE_M = 0.1  # how exactly a planner draws a car that stands


def rolled_back_m(plans: Tensor) -> Tensor:
    """How far (...,) [m] plans (..., T, 3) come behind their start, along the course that they take; 0 if never.

    Plans in the ego frame [m, rad]: they start at the origin, heading 0. A step counts along the heading before it.
    """
    poses = F.pad(plans, (0, 0, 1, 0))
    steps, heading = poses.diff(dim=-2)[..., :2], poses[..., :-1, 2]
    ahead = steps[..., 0] * heading.cos() + steps[..., 1] * heading.sin()
    return (-ahead.cumsum(dim=-1)).amax(dim=-1).clamp(min=0.0)


def rolls_back(plans: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which (n,) of the plans (n, T, 3) come behind their start by more than TOLERANCE_M."""
    return rolled_back_m(torch.from_numpy(plans)).numpy() > TOLERANCE_M
