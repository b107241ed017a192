"""Claims about the policy's geometry, shapes, saving, and its encode-once form."""

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_policy
import torch
import yaml

from irlvla import losses, model_size, params
from irlvla.models.bev import BevEncoder, cell_centers, grid_points, look_up, project
from irlvla.models.decoder import SOURCES, CrossAttention, DecoderBlock
from irlvla.models.perception import decode_boxes, encode_boxes
from irlvla.models.policy import Policy, best_plan
from irlvla.models.trajectory_encoder import sample_bev
from irlvla.scenes.scene import CAMERAS
from irlvla.tokens import TokenStore, encode_dataset, save_tokens

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]


def test_a_point_on_the_road_projects_where_the_pinhole_equation_says():
    views = tiny_policy.batch(1)
    forward, pose = views["intrinsics"][0, 0], views["ego_from_camera"][0, 0]
    pixels, depth = project(torch.tensor([[11.7, 2.0, 0.0]]), forward, pose)  # 10 m ahead of the camera, 1.5 m below
    expected = [forward[0, 2] - forward[0, 0] * 2.0 / 10, forward[1, 2] + forward[1, 1] * 1.5 / 10]
    assert depth.item() == pytest.approx(10.0, abs=1e-5)
    assert pixels[0].tolist() == pytest.approx([float(e) for e in expected], abs=1e-4)


def test_each_bev_cell_reads_the_image_feature_at_its_own_projection():
    points = grid_points(16, tiny_policy.X_RANGE_M, tiny_policy.Y_RANGE_M, (0.0,))
    views = tiny_policy.batch(1)
    rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(88) + 0.5, indexing="ij")
    features = torch.stack([columns, rows])[None, None].expand(1, 3, -1, -1, -1)  # each pixel holds its own place
    sampled = look_up(features, points, views, 16)[0]
    cell = (8, 8)  # x in 24..28 m, y in 0..4 m: seen by the forward camera only
    x, y = cell_centers(16, tiny_policy.X_RANGE_M, tiny_policy.Y_RANGE_M)[cell].tolist()
    pixels, _ = project(torch.tensor([[x, y, 0.0]]), views["intrinsics"][0, 0], views["ego_from_camera"][0, 0])
    assert sampled[:2, *cell].tolist() == pytest.approx(pixels[0].tolist(), abs=1e-3)
    assert sampled[2, *cell] == 1 and sampled[2, 0, 8] == 0  # the flag: cells behind the ego are seen by no camera


def test_a_car_length_ahead_on_the_road_moves_its_own_bev_token_most():
    torch.manual_seed(0)
    encoder = BevEncoder(2, 8, 16, 8, 16, 4, tiny_policy.X_RANGE_M, tiny_policy.Y_RANGE_M, (0.0,), 1).eval()
    views = tiny_policy.batch(1)
    patch, features = torch.zeros_like(views["images"]), torch.zeros(1, 3, 2, 8, 22)
    pixels, _ = project(torch.tensor([[24.0, 0.0, 0.0]]), views["intrinsics"][0, 0], views["ego_from_camera"][0, 0])
    column, row = pixels[0].round().int().tolist()
    patch[0, 0, :, row - 1 : row + 2, column - 2 : column + 3] = 3.0
    dark, lit = (encoder({**views, "images": images}, features) for images in (torch.zeros_like(patch), patch))
    changed = (lit - dark).norm(dim=-1).unflatten(1, (4, 4))[0]
    assert changed.argmax().item() in (5, 6, 9, 10)  # the four tokens that meet at x = 24 m, y = 0


def test_cells_that_cannot_be_halved_to_tokens_are_an_error():
    with pytest.raises(ValueError, match="48 BEV cells a side cannot be halved to 16 tokens"):
        BevEncoder(2, 8, 16, 8, 48, 16, tiny_policy.X_RANGE_M, tiny_policy.Y_RANGE_M, (0.0,), 1)


def test_sampling_bev_tokens_at_a_cell_centre_returns_that_cells_token():
    centers = cell_centers(4, tiny_policy.X_RANGE_M, tiny_policy.Y_RANGE_M).flatten(0, 1)
    tokens = torch.randn(1, 16, 5)
    sampled = sample_bev(tokens, centers[None, None], tiny_policy.X_RANGE_M, tiny_policy.Y_RANGE_M)
    assert torch.allclose(sampled[0, 0], tokens[0], atol=1e-5)


def test_decoding_inverts_encoding_of_boxes():
    boxes = tiny_policy.batch(2)["boxes"]
    assert torch.allclose(decode_boxes(encode_boxes(boxes)), boxes, atol=1e-4)


def test_tokens_predictions_and_plans_have_the_contracts_shapes():
    policy, batch = tiny_policy.policy(), tiny_policy.batch(2)
    tokens = policy.encode(batch)
    predictions = policy.read(tokens)
    shapes = {name: tuple(tensor.shape) for name, tensor in tokens.items()}
    assert shapes == {
        "meta": (2, 3, 16), "bev": (2, 64, 16), "objects": (2, 31, 16), "map": (2, 24, 16), "status": (2, 1, 16),
    }  # fmt: skip
    shapes = {name: tuple(tensor.shape) for name, tensor in predictions.items()}
    assert shapes == {
        "box_logits": (2, 30, 5), "box_code": (2, 30, 10), "polyline_logits": (2, 24, 4),
        "polylines": (2, 24, 20, 2), "bev_logits": (2, 7, 16, 16), "route": (2, 20, 2),
        "light_logits": (2, 3),
    }  # fmt: skip
    plans, logits = policy.plan(tokens, policy.noise(2, torch.Generator()))
    assert plans.shape == (2, 4, 8, 3) and logits.shape == (2, 4) and best_plan(plans, logits).shape == (2, 8, 3)


def test_one_optimisation_step_at_paper_size_reaches_every_weight():
    """V2-99, six cameras, BEV 128 x 128, 256 channels; only the images are small, for the sake of time."""
    data, semantic, imitation, _ = model_size.sections(ROOT / "docs" / "params.paper.yaml")
    sizes = model_size.arguments(Policy, imitation, data) | {"image_size": (32, 88)}
    policy = Policy(**sizes, meta_channels=semantic.text_dim)
    policy.set_anchors(tiny_policy.human_plans(50), seed=0)
    batch = model_size.example(policy, data.cameras, data.bev_cells, semantic.text_dim)
    assert batch["images"].shape == (1, 6, 3, 32, 88)
    tokens = policy.encode(batch)
    predictions, (plans, logits) = policy.read(tokens), policy.predict(tokens)
    assert {name: tuple(tensor.shape[1:]) for name, tensor in tokens.items()} == {
        "meta": (4, 256), "bev": (256, 256), "objects": (31, 256), "map": (24, 256), "status": (1, 256),
    }  # fmt: skip
    assert predictions["bev_logits"].shape == (1, 7, 128, 128) and plans.shape == (2, 20, 8, 3)
    assert sum(weight.numel() for weight in policy.parameters()) == 90_801_787
    human, valid = batch["plan"].repeat(2, 1, 1), batch["has_plan"].repeat(2)
    terms = losses.trajectory(plans, logits, policy.anchors, human, valid) | losses.perception(predictions, batch)
    sum(terms.values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in policy.parameters())
    before = policy.encoder.backbone.smooth.weight.clone()
    torch.optim.AdamW(policy.parameters(), 1e-4).step()
    assert not torch.equal(before, policy.encoder.backbone.smooth.weight)
    assert all(weight.isfinite().all() for weight in policy.parameters())


@torch.no_grad()
def test_eight_cameras_of_full_size_give_the_paper_sizes_shapes():
    data, semantic, imitation, _ = model_size.sections(ROOT / "docs" / "params.paper.yaml")
    policy = Policy(**model_size.arguments(Policy, imitation, data), meta_channels=semantic.text_dim).eval()
    batch = model_size.example(policy, list(CAMERAS), data.bev_cells, semantic.text_dim)
    assert batch["images"].shape == (1, 8, 3, 256, 704)
    tokens = policy.encode(batch)
    plans, scores = policy.plan(tokens)
    assert tokens["bev"].shape == (1, 256, 256) and policy.read(tokens)["bev_logits"].shape == (1, 7, 128, 128)
    assert plans.shape == (1, 20, 8, 3) and scores.shape == (1, 20) and plans.isfinite().all()


def test_the_sizes_of_a_parameter_file_are_printed_part_by_part(capsys):
    model_size.main([str(ROOT / "params.yaml")])
    printed = capsys.readouterr().out
    parts = ("vision-language model", "image backbone, . cameras", "bird's-eye view", "objects, map", "planner, .*")
    assert all(re.search(rf"^{part} +[\d,]+ +[\d.]+$", printed, re.M) for part in parts)
    assert re.search(r"one optimisation step of 1 scene\(s\): [\d.]+ s; peak memory", printed)


def test_every_section_of_the_paper_size_is_valid_and_sets_the_same_keys_as_the_mini_size():
    paper, mini = (yaml.safe_load((ROOT / name).read_text()) for name in ("docs/params.paper.yaml", "params.yaml"))
    assert list(paper) == list(mini)
    for name, section in paper.items():
        if name != "runs":
            getattr(params, "".join(word.title() for word in name.split("_")))(**section)
            assert set(section) == set(mini[name])


def test_a_fresh_planner_returns_the_noisy_plans_themselves():
    policy, batch = tiny_policy.policy(), tiny_policy.batch(2)
    noisy = torch.randn(2, 4, 8, 3)
    clean, _ = policy.planner.denoiser(policy.encode(batch))(noisy, torch.tensor([49, 10]))
    assert torch.equal(clean, noisy)


def trained(policy: Policy) -> Policy:
    """All weights random, so that nothing is zero by initialisation."""
    torch.manual_seed(1)
    for parameter in policy.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return policy.eval()


def test_plans_do_not_influence_each_other():
    policy = trained(tiny_policy.policy())
    tokens = policy.encode(tiny_policy.batch(1))
    noisy, t = torch.randn(1, 4, 8, 3), torch.tensor([24])
    together, scores = policy.planner.denoiser(tokens)(noisy, t)
    alone, score = policy.planner.denoiser(tokens)(noisy[:, 2:3], t)
    assert torch.allclose(together[:, 2:3], alone, atol=1e-5) and torch.allclose(scores[:, 2:3], score, atol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_the_planner_looks_at_each_source_of_tokens_unless_it_is_left_out(source):
    tokens = trained(tiny_policy.policy()).encode(tiny_policy.batch(1))
    changed = tokens | {source: tokens[source] + 1 + torch.rand_like(tokens[source])}
    noisy, t = torch.randn(1, 4, 8, 3), torch.tensor([24])
    full = trained(tiny_policy.policy())
    without = trained(tiny_policy.policy(sources=[s for s in SOURCES if s != source]))
    assert not torch.allclose(
        full.planner.denoiser(tokens)(noisy, t)[0], full.planner.denoiser(changed)(noisy, t)[0], atol=1e-5
    )
    unseen = torch.equal(without.planner.denoiser(tokens)(noisy, t)[0], without.planner.denoiser(changed)(noisy, t)[0])
    assert unseen == (source != "bev")  # what lies under a plan is seen without attention, too


def test_images_of_another_size_are_refused():
    batch = tiny_policy.batch(1)
    with pytest.raises(ValueError, match=r"\(16, 88\).*\(32, 88\)"):
        tiny_policy.policy().encode(batch | {"images": batch["images"][..., ::2, :]})


def test_a_look_at_tokens_is_multi_head_attention():
    torch.manual_seed(0)
    look, features, tokens = CrossAttention(16, 4, dropout=0.0), torch.randn(2, 3, 16), torch.randn(2, 7, 16)
    whole = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        whole.in_proj_weight.copy_(torch.cat([look.query.weight, look.key_value.weight]))
        whole.in_proj_bias.copy_(torch.cat([look.query.bias, look.key_value.bias]))
        whole.out_proj.load_state_dict(look.out.state_dict())
    expected = features + whole(look.norm(features), tokens, tokens)[0]
    torch.testing.assert_close(look(features, look.keys_values(tokens)), expected)


def test_channels_that_the_heads_cannot_share_are_an_error():
    with pytest.raises(ValueError, match="16 channels .* 3 attention heads"):
        CrossAttention(16, 3, dropout=0.0)


def test_unknown_sources_are_refused():
    with pytest.raises(ValueError, match="lidar"):
        DecoderBlock(16, 2, 32, sources=("lidar",))


def test_a_saved_policy_loads_without_pickle_and_plans_the_same(tmp_path):
    policy, batch = trained(tiny_policy.policy()), tiny_policy.batch(2)
    policy.save(tmp_path / "policy.pt")
    loaded = Policy.load(tmp_path / "policy.pt")
    noise = policy.noise(2, torch.Generator().manual_seed(0))
    expected, logits = policy.plan(policy.encode(batch), noise)
    plans, again = loaded.plan(loaded.encode(batch), noise)
    assert torch.equal(plans, expected) and torch.equal(logits, again)
    assert [path.name for path in tmp_path.iterdir()] == ["policy.pt"]


def test_encode_once_tokens_give_the_plans_of_the_full_forward_pass(tmp_path):
    policy, batch = trained(tiny_policy.policy()), tiny_policy.batch(5)
    save_tokens(tmp_path / "tokens.npz", list("abcde"), encode_dataset(policy, tiny_policy.Rows(batch), batch_size=2))
    noise = policy.noise(2, torch.Generator().manual_seed(0))
    tokens = policy.encode({name: tensor[[3, 1]] for name, tensor in batch.items()})
    expected, expected_scores = policy.plan(tokens, noise)
    plans, scores = policy.plan(TokenStore(tmp_path / "tokens.npz").batch(["d", "b"]), noise)
    assert torch.allclose(plans, expected, atol=2e-2)  # float16 keeps about three digits
    assert torch.allclose(scores, expected_scores, atol=2e-2)


@pytest.mark.parametrize("frame", range(4))
def test_each_of_the_four_frames_of_status_reaches_the_plans(frame):
    policy, batch = trained(tiny_policy.policy()), tiny_policy.batch(1)
    status = batch["status"].clone()
    status[:, frame, 4] += 3.0  # m/s
    plans, scores = policy.plan(policy.encode(batch))
    others, other_scores = policy.plan(policy.encode(batch | {"status": status}))
    assert not torch.allclose(plans, others, atol=1e-5) and not torch.allclose(scores, other_scores, atol=1e-6)


def test_a_scene_that_was_not_encoded_is_named(tmp_path):
    save_tokens(
        tmp_path / "tokens.npz", ["a"], {k: np.zeros((1, 1, 2)) for k in ("meta", "bev", "map", "objects", "status")}
    )
    with pytest.raises(ValueError, match="scene z"):
        TokenStore(tmp_path / "tokens.npz").batch(["a", "z"])


def test_a_file_that_holds_no_policy_is_refused_by_name(tmp_path):
    whole, cut, other = (tmp_path / name for name in ("whole.pt", "cut.pt", "other.pt"))
    tiny_policy.policy().save(whole)
    cut.write_bytes(whole.read_bytes()[:5000])
    torch.save({"arguments": {"channels": 16}, "state_dict": {}}, other)
    for path in (cut, other):
        with pytest.raises(ValueError, match=f"{path.name} is no Policy of this version"):
            Policy.load(path)
