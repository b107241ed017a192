"""Extended comfort (EC) in reinforcement: does a plan go on as the one of half a second ago did?

EC compares the driven states of the plans of two consecutive frames. It needs the two plans and the ego's state at both
moments, nothing of the world around: so it is computed, not learned, with EPDMS' own tracker (`epdms/comfort.py`).
It is known where the frame before is among the scenes as well, which moved starts never have.

    n scenes   B of them   N plans   T plan poses
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from irlvla.epdms.comfort import extended_comfort
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.drive import simulate
from irlvla.epdms.states import NUM_COLUMNS

Array = NDArray[np.float64]


def comfort_after(plans: Tensor, earlier: Tensor, ego_state: Array, earlier_ego_state: Array) -> Tensor:
    """EC (N,) of plans (N, T, 3) after the plan `earlier` (T, 3) of half a second before, 1 or 0.

    Plans in metres, each in its own frame; ego states (11,) as in ScoringContext, at either moment.
    """
    now = simulate(plans.detach().double().numpy(), ego_state)
    then = simulate(earlier[None].detach().double().numpy(), earlier_ego_state)
    return torch.from_numpy(extended_comfort(now, then)).to(plans.dtype)


@dataclass(frozen=True)
class FramePairs:
    """Which scenes follow which, by row."""

    previous: Tensor  # (n,) row of the scene half a second earlier, -1: not among them
    ego_states: Array  # (n, 11) of ScoringContext; zeros where no pair needs them

    @classmethod
    def load(cls, samples: pd.DataFrame, tokens: Sequence[str], contexts: Path) -> "FramePairs":
        """Pairs of the scenes `tokens`, rows of the table of samples that 01_data wrote beside the contexts.

        Raises ValueError if the table has no column of previous tokens, KeyError if it lacks a scene.
        """
        if "previous" not in samples:
            raise ValueError("samples: no column previous; run 01_data again")
        row_of = {token: row for row, token in enumerate(tokens)}
        previous = samples.set_index("token")["previous"].loc[list(tokens)].map(row_of)
        previous = torch.tensor(previous.fillna(-1).to_numpy(np.int64))
        states = np.zeros((len(tokens), NUM_COLUMNS))
        follows = torch.nonzero(previous >= 0)[:, 0]
        for row in torch.cat([follows, previous[follows]]).unique().tolist():
            states[row] = ScoringContext.load(contexts / f"{tokens[row]}.npz").ego_state
        return cls(previous, states)

    def in_order(self) -> Iterator[Tensor]:
        """Rows of all scenes, in groups: those that follow nothing, those that follow on these, and so on."""
        rows = torch.nonzero(self.previous < 0)[:, 0]
        while len(rows):
            yield rows
            rows = torch.nonzero(torch.isin(self.previous, rows))[:, 0]

    def extended_comfort(self, scenes: Tensor, plans: Tensor, earlier: Tensor) -> Tensor:
        """EC (B, N) of plans (B, N, T, 3) in the scenes `scenes` (B,), 1 or 0; NaN where no scene precedes.

        `earlier` (B, T, 3) is the plan in each scene's previous frame, of any values where there is none. Plans in
        metres, each in its own frame.
        """
        result = plans.new_full(plans.shape[:2], torch.nan)
        for i, (row, before) in enumerate(zip(scenes.tolist(), self.previous[scenes].tolist(), strict=True)):
            if before >= 0:
                result[i] = comfort_after(plans[i], earlier[i], self.ego_states[row], self.ego_states[before])
        return result

    def of_driven(self, plans: Tensor) -> Tensor:
        """EC (n,) of what is driven in all n scenes, plans (n, T, 3); NaN where no scene precedes."""
        return self.extended_comfort(torch.arange(len(plans)), plans[:, None], plans[self.previous.clamp(min=0)])[:, 0]
