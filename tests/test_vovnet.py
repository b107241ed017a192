"""Claims about VoVNetV2-99 and the checkpoints that exist for it."""

import pytest
import timm
import torch

from irlvla.models import vovnet
from irlvla.models.backbone import ImageBackbone

torch.set_num_threads(1)


def detectron_name(name: str) -> str:
    """The inverse of `timm_name`, written independently: by walking the path."""
    parts = name.split(".")
    part = {"conv": "conv", "bn": "norm"}
    if parts[0] == "stem":
        return f"stem.stem_{int(parts[1]) + 1}/{part[parts[2]]}.{parts[3]}"
    stage, block = int(parts[1]) + 2, int(parts[3]) + 1
    module = f"OSA{stage}_{block}"
    if parts[4] == "attn":
        return f"stage{stage}.{module}.ese.fc.{parts[6]}"
    if parts[4] == "conv_concat":
        return f"stage{stage}.{module}.concat.{module}_concat/{part[parts[5]]}.{parts[6]}"
    return f"stage{stage}.{module}.layers.{parts[5]}.{module}_{parts[5]}/{part[parts[6]]}.{parts[7]}"


def network(levels=(1, 2)) -> torch.nn.Module:
    built = timm.create_model(vovnet.NAME, features_only=True, feature_cls="getter", out_indices=levels)
    vovnet.add_attention(built.model)
    return built.eval()


def checkpoint(built: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its weights under the names of vovnet-detectron2, as far as that one has them."""
    kept = {name: value for name, value in built.model.state_dict().items() if not name.endswith(vovnet.COUNTER)}
    return {detectron_name(name): value for name, value in kept.items()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.bottom_up.stem.stem_3/norm.running_var", "stem.2.bn.running_var"),
        ("img_backbone.stage2.OSA2_1.layers.4.OSA2_1_4/conv.weight", "stages.0.blocks.0.conv_mid.4.conv.weight"),
        ("stage4.OSA4_9.concat.OSA4_9_concat/norm.bias", "stages.2.blocks.8.conv_concat.bn.bias"),
        ("stage5.OSA5_2.ese.fc.weight", "stages.3.blocks.1.attn.fc.weight"),
        ("fcos3d_head.conv.weight", None),
    ],
)
def test_weights_are_renamed_to_those_of_timm(theirs, ours):
    assert vovnet.timm_name(theirs) == ours


def test_every_block_has_attention_of_its_own_as_in_the_published_network():
    blocks = [block for stage in network().model.stages for block in stage.blocks]
    attention = {id(block.attn) for block in blocks if block.attn is not None}
    assert len(attention) == len(blocks) == 4  # one in the first stage, three in the second


@pytest.mark.parametrize(("prefix", "wrapper"), [("backbone.bottom_up.", "model"), ("img_backbone.", "state_dict")])
def test_a_detectors_checkpoint_gives_the_features_of_the_network_it_was_written_from(tmp_path, prefix, wrapper):
    torch.manual_seed(0)
    original, images = network(), torch.randn(1, 3, 64, 96)
    for value in original.state_dict().values():  # batch norms too are unlike their initial state
        if value.is_floating_point():
            value.copy_(value * (1 + 0.1 * torch.rand_like(value)))
    head = {"head.conv.weight": torch.zeros(3)}
    weights = {f"{prefix}{name}": value for name, value in checkpoint(original).items()}
    torch.save({wrapper: weights | head}, tmp_path / "dd3d.pth")
    loaded = network()
    vovnet.load_weights(loaded.model, tmp_path / "dd3d.pth")
    for a, b in zip(original(images), loaded(images.flip(1)), strict=True):  # theirs are BGR, ours RGB
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5) and a.isfinite().all() and a.std() > 0


def test_a_partial_checkpoint_is_refused_with_a_list_of_what_is_missing(tmp_path):
    weights = checkpoint(network())
    del weights["stem.stem_2/conv.weight"], weights["stage3.OSA3_3.ese.fc.bias"]
    torch.save(weights, tmp_path / "partial.pth")
    with pytest.raises(ValueError, match=r"2 of \d+ .*stem\.1\.conv\.weight, stages\.1\.blocks\.2\.attn\.fc\.bias"):
        vovnet.load_weights(network().model, tmp_path / "partial.pth")


def test_a_checkpoint_of_another_width_is_refused_and_changes_nothing(tmp_path):
    weights = checkpoint(network())
    weights["stem.stem_1/conv.weight"] = torch.zeros(32, 3, 3, 3)
    torch.save(weights, tmp_path / "v39.pth")
    built = network()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    with pytest.raises(ValueError, match=r"stem\.0\.conv\.weight \(32, 3, 3, 3\) instead of \(64, 3, 3, 3\)"):
        vovnet.load_weights(built.model, tmp_path / "v39.pth")
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "notes.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"notes\.pth"):
        vovnet.load_weights(network().model, tmp_path / "notes.pth")


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "resnet18"])
def test_no_stage_after_the_last_level_is_built(name):
    backbone = ImageBackbone(name, (1, 2), 16)
    backbone(torch.randn(1, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_weights_for_another_backbone_are_refused():
    with pytest.raises(ValueError, match="test_resnet"):
        ImageBackbone("test_resnet", (2,), 16, weights="dd3d.pth")
