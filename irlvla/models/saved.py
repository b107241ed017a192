"""Models whose file holds all that rebuilds them: the constructor's arguments and the weights, nothing executable."""

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch
from torch import nn

NOT_KEPT = ("self", "__class__", "pretrained", "backbone_weights")  # a loaded model has its weights from the file


class SavedModule(nn.Module):
    """A module that `load` rebuilds from what `save` wrote: {"arguments": ..., "state_dict": ...}.

    Args:
        given: `locals()` of the subclass's constructor, whose parameters are plain values or sequences of them.
    """

    def __init__(self, given: Mapping[str, Any]):
        super().__init__()
        kept = {name: value for name, value in given.items() if name not in NOT_KEPT}
        self.arguments = {name: list(v) if isinstance(v, tuple) else v for name, v in kept.items()}

    def save(self, path: str | Path) -> None:
        """Write what rebuilds this model."""
        temporary = Path(path).with_suffix(".partial")
        torch.save({"arguments": self.arguments, "state_dict": self.state_dict()}, temporary)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A saved model, on the CPU, in evaluation mode.

        Raises FileNotFoundError, and ValueError if the file is damaged or of another class or version.
        """
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            model = cls(**saved["arguments"])
            model.load_state_dict(saved["state_dict"])
        except FileNotFoundError:
            raise
        except (OSError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
            raise ValueError(f"{path} is no {cls.__name__} of this version: write it again ({error})") from error
        return model.eval()
