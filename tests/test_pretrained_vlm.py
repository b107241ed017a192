"""Claims about pretrained image-text models as command models, on a tiny LLaVA saved to disk."""

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from irlvla.meta_actions import PATH_COMMANDS, SPEED_COMMANDS
from irlvla.models.pretrained_vlm import PretrainedCommandModel, load_command_model
from irlvla.models.semantic import QUESTION, VIEW_NAMES, CommandModel
from irlvla.scenes.scene import COMMANDS

CAMERAS = ("CAM_F0", "CAM_L0")
TEMPLATE = (
    "{% for turn in messages %}user : {% for part in turn['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
)


def save_tiny_llava(folder, template=None) -> None:
    """A LLaVA with random weights, whose tokenizer splits numbers into digits: questions differ in length."""
    words = f"{QUESTION} , {' '.join(COMMANDS)} {' '.join(VIEW_NAMES.values())} user : view 0 1 2 3 4 5 6 7 8 9".split()
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["<pad>", "<unknown>", "<image>", *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    special = {"pad_token": "<pad>", "unk_token": "<unknown>", "additional_special_tokens": ["<image>"]}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, fast, patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    text = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=len(vocabulary),
        initializer_range=0.2, pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=vocabulary["<image>"])
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=[None, TEMPLATE], ids=["plain", "chat_template"])
def folder(request, tmp_path):
    save_tiny_llava(tmp_path / "tiny", request.param)
    return tmp_path / "tiny"


def scenes(n):
    """Images, driving commands and speeds with one and with two digits."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, len(CAMERAS), 48, 64, 3), dtype=torch.uint8, generator=draw)
    return images, torch.arange(n) % len(COMMANDS), 6.0 * torch.arange(n)


def test_answers_are_a_distribution_and_agree_with_reading_the_whole_answer_again(folder):
    model = PretrainedCommandModel.from_pretrained(folder, CAMERAS).eval()
    answer = model.answer(*scenes(3))
    assert torch.allclose(answer.log_probs.exp().sum((1, 2)), torch.ones(3), atol=1e-4)
    for speed in (0, 7):
        speed_logits, path_logits = model(*scenes(3), torch.full((3,), speed))
        whole = speed_logits.log_softmax(-1)[:, speed, None] + path_logits.log_softmax(-1)
        assert torch.allclose(answer.log_probs[:, speed], whole, atol=1e-4)


def test_padding_of_shorter_questions_changes_nothing(folder):
    model = PretrainedCommandModel.from_pretrained(folder, CAMERAS).eval()
    images, command, speed_mps = scenes(3)
    meta = model.meta_tokens(images, command, speed_mps)
    alone = [model.meta_tokens(images[i : i + 1], command[i : i + 1], speed_mps[i : i + 1]) for i in range(3)]
    assert meta.shape == (3, 4, 32) and torch.allclose(torch.cat(alone), meta, atol=1e-4)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_one_batch_is_learned_by_heart_and_survives_saving(folder, tmp_path, lora_rank):
    model = PretrainedCommandModel.from_pretrained(folder, CAMERAS, lora_rank)
    images, command, speed_mps = scenes(4)
    speed, path = torch.arange(4) + 2, torch.arange(4)
    optimizer = torch.optim.AdamW([w for w in model.train().parameters() if w.requires_grad], 1e-2)
    for _ in range(120):
        speed_logits, path_logits = model(images, command, speed_mps, speed)
        loss = F.cross_entropy(speed_logits, speed) + F.cross_entropy(path_logits, path)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answer = model.eval().answer(images, command, speed_mps)
    assert answer.speed.tolist() == speed.tolist() and answer.path.tolist() == path.tolist()
    model.save(tmp_path / "trained")
    loaded = load_command_model(tmp_path / "trained")
    assert isinstance(loaded, PretrainedCommandModel) and loaded.cameras == CAMERAS
    assert torch.allclose(loaded.meta_tokens(images, command, speed_mps), answer.meta, atol=1e-4)


def test_low_rank_updates_leave_the_vision_encoder_and_the_old_words_as_they_are(folder):
    model = PretrainedCommandModel.from_pretrained(folder, CAMERAS, lora_rank=4)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name or "trainable_tokens" in name for name in trained)
    assert not any("vision" in name for name in trained)
    weights = list(model.parameters())
    assert sum(w.numel() for w in weights if w.requires_grad) < 0.5 * sum(w.numel() for w in weights)


def test_every_view_and_the_question_reach_the_meta_tokens(folder):
    model = PretrainedCommandModel.from_pretrained(folder, CAMERAS).eval()
    images, command, speed_mps = scenes(1)
    meta = model.meta_tokens(images, command, speed_mps)
    one_view = images.clone()
    one_view[:, 1] = 255 - one_view[:, 1]
    for changed in ((one_view, command, speed_mps), (images, command + 1, speed_mps), (images, command, speed_mps + 3)):
        assert (model.meta_tokens(*changed) - meta).abs().max() > 1e-4


def test_a_saved_small_model_is_loaded_as_one(tmp_path):
    sizes = dict(tokens_per_view=2, vision_dim=32, vision_layers=1, text_dim=32, text_layers=2)
    CommandModel.small(CAMERAS, (32, 64), **sizes).save(tmp_path)
    assert type(load_command_model(tmp_path)) is CommandModel
    with pytest.raises(OSError, match=r"nothing.*02_semantic_reasoning"):
        load_command_model(tmp_path / "nothing")


def test_the_commands_are_tokens_of_their_own(folder):
    tokenizer = PretrainedCommandModel.from_pretrained(folder, CAMERAS).tokenizer
    ids = tokenizer.convert_tokens_to_ids(list(SPEED_COMMANDS + PATH_COMMANDS))
    assert len(set(ids)) == 22 and tokenizer.unk_token_id not in ids
