"""Semantic reasoning: a vision-language model answers with a driving decision, "SPEED, PATH" (paper: meta tokens).

The answer is three tokens, <SPEED> <,> <PATH>, and a valid one is one of 13 x 9. So the model's distribution over
answers is exact and cheap: with x the images and the instruction,

    p(speed, path | x) = p(speed | x) p(path | x, speed),

each factor a softmax over the logits of the valid tokens alone. The instruction is read once; its keys and values
serve all 13 continuations.

Meta tokens are the last hidden states where the instruction ends and at the three answer tokens: (B, 4, text_dim).
"""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from irlvla.meta_actions import PATH_COMMANDS, SPEED_COMMANDS
from irlvla.models.driving_vlm import DrivingVLM, small_config
from irlvla.scenes.scene import COMMANDS

VIEW_NAMES = {
    "CAM_F0": "front", "CAM_L0": "front left", "CAM_R0": "front right", "CAM_L1": "left", "CAM_R1": "right",
    "CAM_L2": "rear left", "CAM_R2": "rear right", "CAM_B0": "rear",
}  # fmt: skip
QUESTION = (
    "The driving command is {command} and the speed is about {speed} m/s . "
    "What is the driving decision of the next four seconds ? Answer :"
)
logging.disable_progress_bar()  # its bars carry timings into executed notebooks, which must not depend on the clock

FASTEST_MPS = 30  # speeds are told in whole m/s up to this one


class Answer(NamedTuple):
    """What the model says of B scenes."""

    log_probs: Tensor  # (B, 13, 9) of every valid answer
    speed: Tensor  # (B,) greedy: the most probable speed command, id in SPEED_COMMANDS
    path: Tensor  # (B,) and after it the most probable path command, id in PATH_COMMANDS
    meta: Tensor  # (B, 4, text_dim) meta tokens


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words of the instruction one token each, a token for each of the 13 + 9 commands, `<image>`."""
    text = QUESTION.format(command=" ".join(COMMANDS), speed=" ".join(map(str, range(FASTEST_MPS + 1))))
    words = dict.fromkeys(f"{text} view , {' '.join(VIEW_NAMES.values())}".split())
    vocabulary = {word: i for i, word in enumerate(("<pad>", "<unknown>", "<image>", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in SPEED_COMMANDS + PATH_COMMANDS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unknown>")


class CommandModel(nn.Module):
    """A vision-language model, its tokenizer, and the questions that we ask it."""

    def __init__(self, vlm: nn.Module, tokenizer: PreTrainedTokenizerFast):
        super().__init__()
        self.vlm, self.tokenizer = vlm, tokenizer
        for name, tokens in (("speed_tokens", SPEED_COMMANDS), ("path_tokens", PATH_COMMANDS), ("comma", (",",))):
            ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(tokens)))
            if tokenizer.unk_token_id in ids:
                raise ValueError(f"the tokenizer lacks some of {tokens}; add them, or build it with `build_tokenizer`")
            self.register_buffer(name, ids, persistent=False)

    @classmethod
    def small(cls, cameras: tuple[str, ...], image_size: tuple[int, int], **sizes: int) -> "CommandModel":
        """A model with random weights; `sizes` are the other arguments of `driving_vlm.small_config`."""
        tokenizer = build_tokenizer()
        image_token_id = tokenizer.convert_tokens_to_ids("<image>")
        config = small_config(cameras, image_size, vocabulary=len(tokenizer), image_token_id=image_token_id, **sizes)
        return cls(DrivingVLM(config), tokenizer)

    def save(self, folder: str | Path) -> None:
        """Weights (safetensors), configuration and tokenizer, in transformers' layout."""
        self.vlm.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "CommandModel":
        """A model that `save` wrote, in evaluation mode.

        Raises OSError naming the folder if it does not hold one.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise OSError(f"{folder}: no model there; run 02_semantic_reasoning first")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        return cls(DrivingVLM.from_pretrained(folder), tokenizer).eval()

    @property
    def core(self) -> PreTrainedModel:
        """transformers' model, with `model` and `lm_head`."""
        return self.vlm

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self.core.config.cameras)

    def instruction(self, command: Tensor, speed_mps: Tensor) -> list[str]:
        """What is asked of B scenes, views and question: `command` (B,) ids in COMMANDS, `speed_mps` (B,)."""
        images = " <image>" * self.vlm.config.tokens_per_view
        views = " ".join(f"{VIEW_NAMES[camera]} view{images}" for camera in self.cameras)
        return [f"{views} {question}" for question in questions(command, speed_mps)]

    def forward(self, images: Tensor, command: Tensor, speed_mps: Tensor, speed_id: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 13) of the speed command and, after the given `speed_id` (B,), logits (B, 9) of the path command.

        images (B, C, H, W, 3) uint8 in the order of `cameras`. This is the form for training (teacher forcing).
        """
        inputs = followed_by(self._inputs(images, command, speed_mps), self._said(speed_id))
        states = self.core.model(**inputs, use_cache=False).last_hidden_state
        return self._logits(states[:, -3], self.speed_tokens), self._logits(states[:, -1], self.path_tokens)

    @torch.no_grad()
    def answer(self, images: Tensor, command: Tensor, speed_mps: Tensor) -> Answer:
        """Likelihood of every valid answer, the greedy one, and the meta tokens. Arguments as in `forward`."""
        inputs = self._inputs(images, command, speed_mps)
        read = self.core.model(**inputs, use_cache=True)
        asked, cache, mask = read.last_hidden_state[:, -1], read.past_key_values, inputs["attention_mask"]
        speed_log_probs = self._logits(asked, self.speed_tokens).log_softmax(-1)  # (B, 13)
        speed, n_speeds = speed_log_probs.argmax(-1), len(SPEED_COMMANDS)

        every_speed = torch.arange(n_speeds, device=speed.device).repeat(len(speed))
        cache.batch_repeat_interleave(n_speeds)
        mask = mask.repeat_interleave(n_speeds, dim=0)
        said = self._continue(self._said(every_speed), cache, mask)  # (B 13, 2, D) at <SPEED> and <,>
        path_log_probs = self._logits(said[:, -1], self.path_tokens).log_softmax(-1).view(len(speed), n_speeds, -1)

        chosen = torch.arange(len(speed), device=speed.device) * n_speeds + speed
        path = path_log_probs.flatten(0, 1)[chosen].argmax(-1)
        cache.batch_select_indices(chosen)
        mask = torch.cat([mask, mask.new_ones(len(mask), 2)], dim=1)[chosen]
        ended = self._continue(self.path_tokens[path][:, None], cache, mask)  # (B, 1, D) at <PATH>
        meta = torch.cat([asked[:, None], said[chosen], ended], dim=1)
        return Answer(speed_log_probs[:, :, None] + path_log_probs, speed, path, meta)

    def meta_tokens(self, images: Tensor, command: Tensor, speed_mps: Tensor) -> Tensor:
        """(B, 4, text_dim) hidden states at the end of the instruction and at the greedy answer's tokens."""
        return self.answer(images, command, speed_mps).meta

    def _inputs(self, images: Tensor, command: Tensor, speed_mps: Tensor) -> dict[str, Tensor]:
        """What the model reads: input_ids and attention_mask (B, L), and the pixels. Nothing is padded: every
        instruction has the same number of tokens.
        """
        asked = self.tokenizer(self.instruction(command, speed_mps), return_tensors="pt", add_special_tokens=False)
        ids = asked["input_ids"].to(self.speed_tokens.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": self._pixels(images)}

    def _pixels(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W, 3) -> (B, C, 3, height, width) in (-1, 1), resized to what the model reads."""
        if images.dtype != torch.uint8 or images.ndim != 5 or images.shape[1] != len(self.cameras):
            raise ValueError(
                f"images {tuple(images.shape)} {images.dtype}: need uint8 (B, {len(self.cameras)}, H, W, 3)"
            )
        size = (self.vlm.config.image_height, self.vlm.config.image_width)
        pixels = images.permute(0, 1, 4, 2, 3).flatten(0, 1).float() / 127.5 - 1
        if pixels.shape[-2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return pixels.unflatten(0, images.shape[:2])

    def _said(self, speed_id: Tensor) -> Tensor:
        """Token ids (n, 2) of <SPEED> and <,>."""
        return torch.stack([self.speed_tokens[speed_id], self.comma.expand(len(speed_id))], dim=1)

    def _continue(self, ids: Tensor, cache: Cache, mask: Tensor) -> Tensor:
        """Hidden states (n, l, D) of tokens (n, l) after those in the cache, which grows by them; mask (n, L)."""
        inputs = followed_by({"input_ids": ids[:, :0], "attention_mask": mask}, ids)
        return self.core.model(**inputs, past_key_values=cache, use_cache=True).last_hidden_state

    def _logits(self, states: Tensor, tokens: Tensor) -> Tensor:
        """(..., len(tokens)) logits of these tokens alone: decoding is constrained to them."""
        return self.core.lm_head(states)[..., tokens]


def questions(command: Tensor, speed_mps: Tensor) -> list[str]:
    """The question to each of B scenes: `command` (B,) ids in COMMANDS, `speed_mps` (B,) present speeds."""
    speeds = speed_mps.round().clamp(0, FASTEST_MPS).int().tolist()
    commands = [COMMANDS[i] for i in command.tolist()]
    return [QUESTION.format(command=c, speed=s) for c, s in zip(commands, speeds, strict=True)]


def followed_by(inputs: dict[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
    """Inputs with further token ids (B, l) at the end, all of them visible."""
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(ids)], dim=1)
    return inputs | {"input_ids": torch.cat([inputs["input_ids"], ids], dim=1), "attention_mask": mask}
