"""VoVNetV2-99 as published: timm's network with eSE attention in every block, and DD3D-style checkpoints for it.

timm's `ese_vovnet99b` has eSE (arXiv 1911.06667) in the last block of a stage only and comes without weights. The
public weights of the field, DD3D's (arXiv 2108.06417) and those of the detectors that started from them, belong to the
network of vovnet-detectron2, with eSE in each block. Names there and in timm's network:

    stem.stem_1/conv.weight                    stem.0.conv.weight
    stem.stem_1/norm.weight                    stem.0.bn.weight
    stage2.OSA2_1.layers.3.OSA2_1_3/conv...    stages.0.blocks.0.conv_mid.3.conv...
    stage4.OSA4_9.concat.OSA4_9_concat/norm... stages.2.blocks.8.conv_concat.bn...
    stage4.OSA4_9.ese.fc.bias                  stages.2.blocks.8.attn.fc.bias

Before them stands the place in the detector (`backbone.bottom_up.`, `img_backbone.`), around them a "model" or
"state_dict" entry. These detectors read images in the order blue, green, red; here they come in the order red, green,
blue, normalised per channel alike, so the input channels of the first convolution are turned round on loading.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from timm.layers import create_attn
from torch import Tensor, nn

NAME = "ese_vovnet99b"
WRAPPERS = ("model", "state_dict")
COUNTER = "num_batches_tracked"  # frozen batch norms do not count, and evaluation does not need it
SHOWN = 5  # names listed in an error
FIRST = "stem.0.conv.weight"  # (64, 3 image channels, 3, 3)

STEM = re.compile(r"(?:.*\.)?stem\.stem_(\d)/(conv|norm)\.(\w+)")
BLOCK = re.compile(r"(?:.*\.)?stage(\d)\.OSA\d_(\d+)\.(.+)")
LAYER = re.compile(r"(?:layers\.\d+|concat)\.OSA\d_\d+_(\w+)/(conv|norm)\.(\w+)")
PART = {"conv": "conv", "norm": "bn"}


def add_attention(network: nn.Module) -> None:
    """Give every block of timm's network an eSE module of its own, in place."""
    for stage in network.stages:
        for block in stage.blocks:
            block.attn = block.attn or create_attn("ese", block.conv_concat.conv.out_channels)


def timm_name(name: str) -> str | None:
    """Name in timm of a weight of vovnet-detectron2; None if it is of another part of the detector."""
    if stem := STEM.fullmatch(name):
        index, part, what = stem.groups()
        return f"stem.{int(index) - 1}.{PART[part]}.{what}"
    if not (block := BLOCK.fullmatch(name)):
        return None
    stage, number, rest = block.groups()
    prefix = f"stages.{int(stage) - 2}.blocks.{int(number) - 1}"
    if rest.startswith("ese.fc."):
        return f"{prefix}.attn.{rest.removeprefix('ese.')}"
    if not (layer := LAYER.fullmatch(rest)):
        return None
    position, part, what = layer.groups()
    module = "conv_concat" if position == "concat" else f"conv_mid.{position}"
    return f"{prefix}.{module}.{PART[part]}.{what}"


def read_weights(path: str | Path) -> Mapping[str, Tensor]:
    """The weights of a checkpoint file, by the names it gives them; nothing in it is executed.

    Raises FileNotFoundError, and ValueError naming the file if it holds anything but tensors in plain containers.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise ValueError(f"{path}: no checkpoint of tensors in plain containers ({error})") from error
    for wrapper in WRAPPERS:
        if isinstance(saved, Mapping) and isinstance(saved.get(wrapper), Mapping):
            saved = saved[wrapper]
    if not isinstance(saved, Mapping):
        raise ValueError(f"{path}: holds a {type(saved).__name__}, not named weights")
    return {name: value for name, value in saved.items() if isinstance(value, Tensor)}


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load the V2-99 part of a DD3D-style checkpoint into `network`, timm's with `add_attention`.

    Stages that the network was built without are left out. Raises ValueError listing what the file lacks, or what has
    another shape; the network is then as before.
    """
    found = {timm_name(name): value for name, value in read_weights(path).items()}
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"{path}: {len(missing)} of {len(wanted)} weights of {NAME} are missing: {_some(missing)}")
    different = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if found[name].shape != value.shape
    ]
    if different:
        raise ValueError(f"{path}: {len(different)} of {len(wanted)} weights have another shape: {_some(different)}")
    found[FIRST] = found[FIRST].flip(1)
    network.load_state_dict({name: found[name] for name in wanted}, strict=False)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
