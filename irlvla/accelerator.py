"""What reads images runs on a GPU if there is one: a network of the paper's size needs seconds a scene without.

Lightning trains there by itself and brings the weights back. The passes over a whole data set go there with
`on_accelerator`. What works on stored tokens (PPO, the reward model's judgement, evaluation) stays on the CPU: its
random numbers are the same on every machine there.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def on_accelerator(module: nn.Module) -> Iterator[torch.device]:
    """`module` on the GPU, if there is one, as long as the context lasts, and on the CPU afterwards; the device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        module.to(device)
        yield device
    finally:
        module.cpu()


def moved(batch: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """The tensors on a device."""
    return {name: values.to(device) for name, values in batch.items()}
