"""The command model: answers are valid, exact, reproducible; it learns a batch; a saved model is the same model."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from irlvla.command_data import CommandDataset, answer_all, log_prior, save_meta_tokens
from irlvla.meta_actions import PATH_COMMANDS, SPEED_COMMANDS
from irlvla.models.driving_vlm import DrivingVisionAdaptor
from irlvla.models.semantic import VIEW_NAMES, CommandModel, build_tokenizer
from irlvla.scenes.dataset import meta_for
from irlvla.scenes.scene import CAMERAS, COMMANDS

CAMERAS_HERE = ("CAM_F0", "CAM_L0")
SIZES = dict(tokens_per_view=2, vision_dim=32, vision_layers=1, text_dim=32, text_layers=2)


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def model():
    return CommandModel.small(CAMERAS_HERE, (32, 64), **SIZES).eval()


def scenes(n, height=32, width=64):
    """Random images, driving commands and speeds of n scenes."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, len(CAMERAS_HERE), height, width, 3), dtype=torch.uint8, generator=draw)
    return images, torch.arange(n) % len(COMMANDS), 20 * torch.rand(n, generator=draw)


def test_one_batch_is_learned_by_heart(model):
    images, command, speed_mps = scenes(9)
    command, speed_mps = command * 0, speed_mps * 0  # only the images tell the scenes apart
    speed, path = torch.arange(9) + 2, torch.arange(9)
    optimizer = torch.optim.AdamW(model.train().parameters(), 3e-3)
    for _ in range(100):
        speed_logits, path_logits = model(images, command, speed_mps, speed)
        loss = F.cross_entropy(speed_logits, speed) + F.cross_entropy(path_logits, path)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answer = model.eval().answer(images, command, speed_mps)
    assert answer.speed.tolist() == speed.tolist() and answer.path.tolist() == path.tolist()


def test_saved_and_loaded_model_gives_the_same_bits(model, tmp_path):
    model.save(tmp_path)
    loaded = CommandModel.load(tmp_path)
    assert loaded.cameras == CAMERAS_HERE and (tmp_path / "model.safetensors").is_file()
    assert torch.equal(loaded.meta_tokens(*scenes(3)), model.meta_tokens(*scenes(3)))


def test_answers_are_a_distribution_over_the_valid_pairs_whatever_the_free_model_prefers(model):
    with torch.no_grad():
        model.vlm.lm_head.weight[5] = 100 * model.vlm.lm_head.weight[model.speed_tokens[0]]  # an ordinary word
    answer = model.answer(*scenes(4))
    assert answer.log_probs.shape == (4, len(SPEED_COMMANDS), len(PATH_COMMANDS))
    assert torch.allclose(answer.log_probs.exp().sum((1, 2)), torch.ones(4), atol=1e-5)
    assert torch.equal(answer.speed, answer.log_probs.logsumexp(2).argmax(1))
    assert torch.equal(answer.path, answer.log_probs[range(4), answer.speed].argmax(1))


def test_cached_continuations_agree_with_reading_the_whole_answer_again(model):
    log_probs = model.answer(*scenes(2)).log_probs
    for speed in range(len(SPEED_COMMANDS)):
        speed_logits, path_logits = model(*scenes(2), torch.full((2,), speed))
        whole = speed_logits.log_softmax(-1)[:, speed, None] + path_logits.log_softmax(-1)
        assert torch.allclose(log_probs[:, speed], whole, atol=1e-5)


def test_greedy_answer_is_the_one_of_transformers_generate_under_the_same_grammar(model):
    images, command, speed_mps = scenes(3)
    prompt = model._inputs(images, command, speed_mps)["input_ids"]
    grammar = (model.speed_tokens.tolist(), model.comma.tolist(), model.path_tokens.tolist())
    said = model.vlm.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        pixel_values=model._pixels(images),
        max_new_tokens=3,
        do_sample=False,
        prefix_allowed_tokens_fn=lambda _, ids: grammar[len(ids) - prompt.shape[1]],
    )
    answer = model.answer(images, command, speed_mps)
    assert torch.equal(said[:, -3], model.speed_tokens[answer.speed])
    assert torch.equal(said[:, -1], model.path_tokens[answer.path])


def test_same_seed_gives_the_same_model_and_a_batch_the_answers_of_its_scenes(model):
    torch.manual_seed(0)
    twin = CommandModel.small(CAMERAS_HERE, (32, 64), **SIZES).eval()
    images, command, speed_mps = scenes(3)
    meta = model.meta_tokens(images, command, speed_mps)
    assert meta.shape == (3, 4, 32) and torch.equal(twin.meta_tokens(images, command, speed_mps), meta)
    alone = [model.meta_tokens(images[i : i + 1], command[i : i + 1], speed_mps[i : i + 1]) for i in range(3)]
    assert torch.allclose(torch.cat(alone), meta, atol=1e-5)


def test_every_view_its_place_the_command_and_the_speed_reach_the_meta_tokens(model):
    images, command, speed_mps = scenes(1)
    meta = model.meta_tokens(images, command, speed_mps)
    one_view = images.clone()
    one_view[:, 1] = 255 - one_view[:, 1]
    others = ((one_view, command, speed_mps), (images.flip(1), command, speed_mps), (images, command + 1, speed_mps))
    for changed in (*others, (images, command, speed_mps + 3)):
        assert (model.meta_tokens(*changed) - meta).abs().max() > 1e-3


def test_images_of_another_size_are_resized(model):
    left_dark = torch.zeros(1, 2, 64, 128, 3, dtype=torch.uint8)
    left_dark[:, :, :, 64:] = 255
    pixels = model._pixels(left_dark)
    assert pixels.shape == (1, 2, 3, 32, 64)
    assert (pixels[..., :30] == -1).all() and (pixels[..., 34:] == 1).all()


def test_all_instructions_are_known_words_and_equally_long():
    tokenizer = build_tokenizer()
    model = CommandModel.small(CAMERAS, (32, 32), **SIZES)
    texts = model.instruction(torch.arange(4).repeat_interleave(40), torch.arange(40.0).repeat(4))
    ids = tokenizer(texts)["input_ids"]
    assert len(set(texts)) == 4 * 31 and len({len(row) for row in ids}) == 1
    assert tokenizer.unk_token_id not in {i for row in ids for i in row}
    assert set(VIEW_NAMES) == set(CAMERAS)


def test_eight_views_of_128_tokens_are_read_and_fit_the_positions_of_the_language_model():
    model = CommandModel.small(CAMERAS, (32, 64), **SIZES | {"tokens_per_view": 128}).eval()
    (text,) = model.instruction(torch.tensor([0]), torch.tensor([5.0]))
    length = len(model.tokenizer(text)["input_ids"]) + 3  # and the answer
    assert text.count("<image>") == 8 * 128 and length <= model.core.config.text_config.max_position_embeddings
    images = torch.zeros(1, 8, 32, 64, 3, dtype=torch.uint8)
    assert model.meta_tokens(images, torch.tensor([0]), torch.tensor([5.0])).shape == (1, 4, 32)


def test_each_command_is_one_token_also_where_a_name_begins_another():
    tokenizer = build_tokenizer()
    for name in SPEED_COMMANDS + PATH_COMMANDS:
        assert tokenizer.tokenize(f"{name} , {name}") == [name, ",", name]


def test_adaptor_compresses_any_number_of_patches_and_sees_each():
    adaptor, patches = DrivingVisionAdaptor(3, 32, 64), torch.randn(2, 10, 32, requires_grad=True)
    tokens = adaptor(patches)
    tokens.square().sum().backward()
    assert tokens.shape == (2, 3, 64) and (patches.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("images", [torch.zeros(1, 2, 32, 64, 3), torch.zeros(1, 3, 32, 64, 3, dtype=torch.uint8)])
def test_wrong_images_are_an_error(model, images):
    with pytest.raises(ValueError, match="need uint8"):
        model.answer(images, torch.zeros(1, dtype=torch.long), torch.zeros(1))


def test_missing_folder_and_impossible_sizes_are_errors(tmp_path):
    with pytest.raises(OSError, match="run 02_semantic_reasoning first"):
        CommandModel.load(tmp_path)
    with pytest.raises(ValueError, match="divide by 16"):
        CommandModel.small(CAMERAS_HERE, (32, 60), **SIZES)


@pytest.fixture
def targets(tmp_path):
    """Three samples on disk: standing, straight on at 10 m/s, and a left arc at 5 m/s; each in its own grey."""
    time_s = 0.5 * np.arange(1, 9)
    plan, status = np.zeros((3, 8, 3)), np.zeros((3, 4, 8))
    plan[1, :, 0] = 10 * time_s
    angle = 0.2 * time_s
    plan[2] = np.stack([25 * np.sin(angle), 25 * (1 - np.cos(angle)), angle], axis=1)
    status[:, -1, 1], status[:, -1, 4] = [1, 1, 0], [0, 6, 5]
    status[:, -1, 5], status[2, -1, 0] = [0, 8, 0], 1  # 6 m/s forward and 8 m/s sideways are 10 m/s
    paths = np.array([[f"log/{camera}/{i}.png" for camera in CAMERAS_HERE] for i in range(3)])
    for i, path in np.ndenumerate(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / path), np.full((32, 64, 3), (10 * i[0], 0, 200 + i[1]), np.uint8))
    return {"tokens": np.array(["a", "b", "c"]), "plan": plan, "status": status, "image_path": paths}


def test_samples_carry_command_speed_labels_and_images_in_rgb(targets, tmp_path):
    data = CommandDataset(targets, tmp_path, CAMERAS_HERE)
    assert [COMMANDS[data[i]["command"]] for i in range(3)] == ["forward", "forward", "left"]
    assert [float(data[i]["speed_mps"]) for i in range(3)] == [0, 10, 5]
    speeds = [SPEED_COMMANDS[data[i]["speed_id"]] for i in range(3)]
    assert speeds == ["Full Stop", "Constant Speed Strict", "Constant Speed Strict"]
    assert PATH_COMMANDS[data[2]["path_id"]] == "Sharp Left Turn"
    assert data[2]["images"][:, 0, 0].tolist() == [[200, 0, 20], [201, 0, 20]]


def test_images_of_other_cameras_or_missing_ones_are_errors(targets, tmp_path):
    with pytest.raises(ValueError, match="a: images"):
        CommandDataset(targets, tmp_path, CAMERAS_HERE[::-1])
    with pytest.raises(ValueError, match="run 01_data first"):
        CommandDataset(targets, tmp_path / "elsewhere", CAMERAS_HERE)[0]


def test_cached_meta_tokens_are_read_back_by_token(model, targets, tmp_path):
    data = CommandDataset(targets, tmp_path, CAMERAS_HERE)
    meta = answer_all(model, data, 2, "test")["meta"]
    save_meta_tokens(tmp_path / "meta.npz", data.tokens, meta)
    with np.load(tmp_path / "meta.npz") as cache:
        assert np.array_equal(meta_for(["c", "a"], cache), meta[[2, 0]].astype(np.float32))
    sample = data[2]
    alone = model.meta_tokens(sample["images"][None], sample["command"][None], sample["speed_mps"][None])
    assert np.allclose(alone[0].numpy(), meta[2], atol=2e-3)
    with pytest.raises(ValueError, match="2 different"):
        save_meta_tokens(tmp_path / "meta.npz", ["a", "b", "a"], meta)


def test_log_prior_counts_each_class_once_more():
    assert torch.allclose(log_prior(np.array([0, 0, 2]), 3).exp(), torch.tensor([3 / 6, 1 / 6, 2 / 6]))
