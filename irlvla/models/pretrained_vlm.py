"""Any image-text model of transformers as the command model: by name or folder, as a whole or with LoRA (peft).

What differs from the small model of `semantic.py`: the processor that comes with the model cuts and counts image
tokens, the instruction goes through its chat template if it has one, and the 22 commands join its vocabulary as tokens
of their own. With LoRA only low-rank updates of the language model's projections and the new tokens' rows are trained.
"""

import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from irlvla.meta_actions import PATH_COMMANDS, SPEED_COMMANDS
from irlvla.models.driving_vlm import DrivingVLMConfig
from irlvla.models.semantic import VIEW_NAMES, CommandModel, questions

# Attention and feed-forward projections of the language model, not of the vision encoder.
LORA_LAYERS = r".*(language_model|text_model)\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class PretrainedCommandModel(CommandModel):
    """See the file's head; questions, answers and meta tokens as of `CommandModel`."""

    def __init__(self, vlm: PreTrainedModel | PeftModel, processor: ProcessorMixin):
        super().__init__(vlm, processor.tokenizer)
        self.processor = processor

    @classmethod
    def from_pretrained(cls, name: str, cameras: tuple[str, ...], lora_rank: int = 0) -> "PretrainedCommandModel":
        """A model of the hub or of a folder, to be trained.

        Args:
            name: as for transformers' `from_pretrained`.
            cameras: of scenes.scene.CAMERAS, in the order of the instruction.
            lora_rank: of the low-rank updates; 0 trains all weights.

        Raises OSError if there is no such model.
        """
        processor = AutoProcessor.from_pretrained(name)
        processor.tokenizer.padding_side = "left"  # answers begin at the same place
        vlm = AutoModelForImageTextToText.from_pretrained(name)
        commands = [AddedToken(command, normalized=False) for command in SPEED_COMMANDS + PATH_COMMANDS]
        processor.tokenizer.add_tokens(commands)
        if len(processor.tokenizer) > vlm.get_input_embeddings().num_embeddings:
            vlm.resize_token_embeddings(len(processor.tokenizer))
        vlm.config.cameras = list(cameras)
        return cls(_with_lora(vlm, processor, lora_rank) if lora_rank else vlm, processor)

    @classmethod
    def load(cls, folder: str | Path) -> "PretrainedCommandModel":
        """A model that `save` wrote, in evaluation mode."""
        processor = AutoProcessor.from_pretrained(folder)
        return cls(AutoModelForImageTextToText.from_pretrained(folder), processor).eval()

    def save(self, folder: str | Path) -> None:
        """Weights, configuration and processor in transformers' layout; LoRA's updates are merged into the weights."""
        if isinstance(self.vlm, PeftModel):
            self.vlm = self.vlm.merge_and_unload()
        self.vlm.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    @property
    def core(self) -> PreTrainedModel:
        return self.vlm.get_base_model() if isinstance(self.vlm, PeftModel) else self.vlm

    def instruction(self, command: Tensor, speed_mps: Tensor) -> list[str]:
        """Text to each of B scenes with a place for each view, as the model's chat template has it."""
        asked = questions(command, speed_mps)
        if self.processor.chat_template is None:
            views = " ".join(f"{VIEW_NAMES[camera]} view {self.processor.image_token}" for camera in self.cameras)
            return [f"{views} {question}" for question in asked]
        views = [part for camera in self.cameras for part in (_text(f"{VIEW_NAMES[camera]} view"), {"type": "image"})]
        turns = [[{"role": "user", "content": [*views, _text(question)]}] for question in asked]
        return self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)

    def _inputs(self, images: Tensor, command: Tensor, speed_mps: Tensor) -> dict[str, Tensor]:
        views = [[view.cpu().numpy() for view in scene] for scene in images]
        texts = self.instruction(command, speed_mps)
        inputs = self.processor(text=texts, images=views, padding=True, return_tensors="pt")
        return {name: value.to(self.speed_tokens.device) for name, value in inputs.items() if torch.is_tensor(value)}


def load_command_model(folder: str | Path) -> CommandModel:
    """The model that 02_semantic_reasoning saved, of either kind, in evaluation mode.

    Raises OSError naming the folder if it does not hold one.
    """
    config = Path(folder) / "config.json"
    if not config.is_file():
        raise OSError(f"{folder}: no model there; run 02_semantic_reasoning first")
    small = json.loads(config.read_text())["model_type"] == DrivingVLMConfig.model_type
    return (CommandModel if small else PretrainedCommandModel).load(folder)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _with_lora(vlm: PreTrainedModel, processor: ProcessorMixin, rank: int) -> PeftModel:
    commands = processor.tokenizer.convert_tokens_to_ids(list(SPEED_COMMANDS + PATH_COMMANDS))
    tied = vlm.get_output_embeddings().weight is vlm.get_input_embeddings().weight
    rows = dict.fromkeys(["embed_tokens"] if tied else ["embed_tokens", "lm_head"], commands)
    return get_peft_model(
        vlm, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_LAYERS, trainable_token_indices=rows)
    )
