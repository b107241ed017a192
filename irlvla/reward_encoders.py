"""Which tokens the reward model reads: the policy's, or those of encoders of its own.

By default the policy's encoders are shared and stay frozen. Encoders of its own start as a copy of the policy's and are
trained on with images, through a reward model, to predict the scores of plans; then they are frozen as well, every
scene is encoded once, and the members of the ensemble are trained on these tokens.

    runs/reward_world_model/encoders/    policy.pt, tokens.npz, or empty: then those of runs/imitation
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

from irlvla.imitation import by_split
from irlvla.models.policy import Policy
from irlvla.models.reward_model import RewardModel, Scores
from irlvla.reward_training import ScoredPlanDataset
from irlvla.scenes.dataset import INPUTS, SceneDataset
from irlvla.tokens import encode_dataset, save_tokens

OWN = Path("reward_world_model") / "encoders"


def reward_encoders(runs: Path) -> Path:
    """Folder of the `policy.pt` whose encoders the reward model reads, with the `tokens.npz` they gave."""
    return runs / OWN if (runs / OWN / "tokens.npz").exists() else runs / "imitation"


class SeeingRewardModel(nn.Module):
    """A reward model on images: the policy's encoders, which learn, and the reward model behind them."""

    def __init__(self, policy: Policy, reward_model: RewardModel):
        super().__init__()
        self.encoder, self.reward_model = policy.encoder.requires_grad_(True), reward_model

    def forward(self, batch: dict[str, Tensor]) -> Scores:
        """A batch with `scenes.dataset.INPUTS` and "plans" (B, N, T, 3) -> logits by sub-score."""
        return self.reward_model(self.encoder(batch), batch["plans"])


class ScoredImageDataset(Dataset):
    """A sample is a scene: its images and other inputs, and some of its plans with their scores.

    Args:
        scenes: holds every scene of `tokens`.
        tokens: of the scenes with scored plans, in the order of `scored`.
        scored: their plans and sub-scores, without cached tokens.
    Raises ValueError naming the first scored scene that `scenes` lacks.
    """

    def __init__(self, scenes: SceneDataset, tokens: Sequence[str], scored: ScoredPlanDataset):
        row = {token: index for index, token in enumerate(scenes.tokens.tolist())}
        missing = [token for token in tokens if token not in row]
        if missing:
            raise ValueError(f"scored scene {missing[0]} ({len(missing)} in all) has no images; run 01 and 04 again")
        self.scenes, self.scored, self.rows = scenes, scored, [row[token] for token in tokens]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.scenes[self.rows[index]]
        return {name: sample[name] for name in INPUTS} | self.scored[index]


def save_encoders(runs: Path, policy: Policy, scenes: Sequence[SceneDataset]) -> None:
    """Write a policy's encoders as the reward model's own, and the tokens of all scenes."""
    policy.eval().requires_grad_(False)
    policy.save(runs / OWN / "policy.pt")
    encoded = {str(i): encode_dataset(policy, dataset) for i, dataset in enumerate(scenes)}
    names = np.concatenate([dataset.tokens for dataset in scenes])
    save_tokens(runs / OWN / "tokens.npz", names, by_split(encoded, list(encoded)))
