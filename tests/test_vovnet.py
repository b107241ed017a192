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
    if parts[0].startswith("stem_"):
        return f"stem.stem_{int(parts[0][-1]) + 1}/{part[parts[1]]}.{parts[2]}"
    stage, block = int(parts[0][-1]) + 2, int(parts[2]) + 1
    module = f"OSA{stage}_{block}"
    if parts[3] == "attn":
        return f"stage{stage}.{module}.ese.fc.{parts[5]}"
    if parts[3] == "conv_concat":
        return f"stage{stage}.{module}.concat.{module}_concat/{part[parts[4]]}.{parts[5]}"
    return f"stage{stage}.{module}.layers.{parts[4]}.{module}_{parts[4]}/{part[parts[5]]}.{parts[6]}"


def network(levels=(1, 2)) -> torch.nn.Module:
    built = timm.create_model(vovnet.NAME, features_only=True, out_indices=levels)
    vovnet.add_attention(built)
    return built.eval()


def checkpoint(built: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its weights under the names of vovnet-detectron2, as far as that one has them."""
    kept = {name: value for name, value in built.state_dict().items() if not name.endswith(vovnet.COUNTER)}
    return {detectron_name(name): value for name, value in kept.items()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.bottom_up.stem.stem_3/norm.running_var", "stem_2.bn.running_var"),
        ("img_backbone.stage2.OSA2_1.layers.4.OSA2_1_4/conv.weight", "stages_0.blocks.0.conv_mid.4.conv.weight"),
        ("stage4.OSA4_9.concat.OSA4_9_concat/norm.bias", "stages_2.blocks.8.conv_concat.bn.bias"),
        ("stage5.OSA5_2.ese.fc.weight", "stages_3.blocks.1.attn.fc.weight"),
        ("fcos3d_head.conv.weight", None),
    ],
)
def test_weights_are_renamed_to_those_of_timm(theirs, ours):
    assert vovnet.timm_name(theirs) == ours


def test_every_block_has_attention_of_its_own_as_in_the_published_network():
    blocks = [block for name, stage in network().items() if name.startswith("stages_") for block in stage.blocks]
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
    vovnet.load_weights(loaded, tmp_path / "dd3d.pth")
    for a, b in zip(original(images), loaded(images.flip(1)), strict=True):  # theirs are BGR, ours RGB
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5) and a.isfinite().all() and a.std() > 0


def test_a_partial_checkpoint_is_refused_with_a_list_of_what_is_missing(tmp_path):
    weights = checkpoint(network())
    del weights["stem.stem_2/conv.weight"], weights["stage3.OSA3_3.ese.fc.bias"]
    torch.save(weights, tmp_path / "partial.pth")
    with pytest.raises(ValueError, match=r"2 of \d+ .*stem_1\.conv\.weight, stages_1\.blocks\.2\.attn\.fc\.bias"):
        vovnet.load_weights(network(), tmp_path / "partial.pth")


def test_a_checkpoint_of_another_width_is_refused_and_changes_nothing(tmp_path):
    weights = checkpoint(network())
    weights["stem.stem_1/conv.weight"] = torch.zeros(32, 3, 3, 3)
    torch.save(weights, tmp_path / "v39.pth")
    built = network()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    with pytest.raises(ValueError, match=r"stem_0\.conv\.weight \(32, 3, 3, 3\) instead of \(64, 3, 3, 3\)"):
        vovnet.load_weights(built, tmp_path / "v39.pth")
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "notes.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"notes\.pth"):
        vovnet.load_weights(network(), tmp_path / "notes.pth")


def test_weights_for_another_backbone_are_refused():
    with pytest.raises(ValueError, match="test_resnet"):
        ImageBackbone("test_resnet", (2,), 16, weights="dd3d.pth")
