"""A vision-language model for several cameras: SmolVLM of transformers with a driving vision adaptor.

    images (B, C, 3, height, width)
      -> convolutional stem, one patch per PATCH_PX x PATCH_PX pixels    (B C, patches, vision_dim)
      -> vision transformer                                              (B C, patches, vision_dim)
      -> driving vision adaptor: Q learned queries read the patches      (B C, Q, text_dim)
      -> put in place of the C Q `<image>` tokens of the instruction
      -> Llama                                                           (B, L, text_dim)

SmolVLM's own connector folds squares of patches, which fits square images only; the adaptor takes any shape and
gives a fixed number of tokens a view, as the adaptor of Senna-VLM does.
"""

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMVisionConfig

PATCH_PX = 16
VIEW_WORDS, QUESTION_WORDS = 3, 64  # at most, of a view's name and of question and answer
QUERY_SCALE = 4.0  # of the adaptor's queries at first: they look at different patches, not all at the average
STEM_CHANNELS = (16, 32, 64)  # of the stages at 1/2, 1/4, 1/8


class DrivingVLMConfig(SmolVLMConfig):
    """SmolVLM's configuration, the cameras it reads, and the adaptor's number of tokens a view."""

    model_type = "driving_vlm"
    cameras: list | tuple = ()  # names of scenes.scene.CAMERAS, in the order of the instruction
    image_height: int = 0  # pixels
    image_width: int = 0
    tokens_per_view: int = 0


def small_config(
    cameras: tuple[str, ...],
    image_size: tuple[int, int],
    tokens_per_view: int,
    vocabulary: int,
    image_token_id: int,
    vision_dim: int,
    vision_layers: int,
    text_dim: int,
    text_layers: int,
) -> DrivingVLMConfig:
    """A model to be trained from nothing; heads of 32 channels, MLPs twice as wide as the stream.

    Raises ValueError if `image_size` (height, width) [px] is no multiple of the patch, a width none of 32.
    """
    if any(side % PATCH_PX for side in image_size) or vision_dim % 32 or text_dim % 32:
        raise ValueError(f"image size {image_size} must divide by {PATCH_PX}, widths {vision_dim}, {text_dim} by 32")
    # The usual spread of 0.02 is made for widths of a thousand; small models hardly start to learn with it.
    vision = SmolVLMVisionConfig(
        initializer_range=vision_dim**-0.5,
        hidden_size=vision_dim,
        intermediate_size=2 * vision_dim,
        num_hidden_layers=vision_layers,
        num_attention_heads=vision_dim // 32,
        image_size=max(image_size),  # of the square that holds the position embeddings
        patch_size=PATCH_PX,
    )
    text = LlamaConfig(
        initializer_range=text_dim**-0.5,
        vocab_size=vocabulary,
        hidden_size=text_dim,
        intermediate_size=2 * text_dim,
        num_hidden_layers=text_layers,
        num_attention_heads=text_dim // 32,
        max_position_embeddings=len(cameras) * (tokens_per_view + VIEW_WORDS) + QUESTION_WORDS,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return DrivingVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=image_token_id,
        scale_factor=1,
        cameras=list(cameras),
        image_height=image_size[0],
        image_width=image_size[1],
        tokens_per_view=tokens_per_view,
    )


class ConvStem(nn.Sequential):
    """(n, 3, height, width) -> (n, dim, height / 16, width / 16).

    Strided 3 x 3 convolutions in place of one 16 x 16 patch projection train better from little data
    (Xiao et al. 2021, Early Convolutions Help Transformers See Better).
    """

    def __init__(self, dim: int):
        layers, width = [], 3
        for channels in STEM_CHANNELS:
            layers += [nn.Conv2d(width, channels, 3, stride=2, padding=1), nn.GroupNorm(1, channels), nn.ReLU()]
            width = channels
        super().__init__(*layers, nn.Conv2d(width, dim, 3, stride=2, padding=1))


class DrivingVisionAdaptor(nn.Module):
    """Compresses a view's patches to `tokens` tokens of the language model: learned queries, one cross-attention.

    What all views have in common is by far the larger part of the patches of an untrained encoder. The queries are
    therefore not added to what they read, and batch normalisation takes the mean over views away: without it the
    language model learns to overlook the images.
    """

    def __init__(self, tokens: int, vision_dim: int, text_dim: int):
        super().__init__()
        self.queries = nn.Parameter(QUERY_SCALE * torch.randn(tokens, vision_dim))
        self.attention = nn.MultiheadAttention(vision_dim, vision_dim // 32, batch_first=True)
        self.norm = nn.BatchNorm1d(vision_dim)
        self.project = nn.Sequential(nn.Linear(vision_dim, text_dim), nn.GELU(), nn.Linear(text_dim, text_dim))

    def forward(self, patches: Tensor) -> Tensor:
        """(n, patches, vision_dim) -> (n, tokens, text_dim)."""
        queries = self.queries.expand(len(patches), -1, -1)
        seen = self.attention(queries, patches, patches, need_weights=False)[0]
        return self.project(self.norm(seen.transpose(1, 2)).transpose(1, 2))


class DrivingVLM(SmolVLMForConditionalGeneration):
    """SmolVLM with the stem and the adaptor above; `save_pretrained`, `from_pretrained`, `generate` are inherited."""

    config_class = DrivingVLMConfig

    def __init__(self, config: DrivingVLMConfig):
        super().__init__(config)
        vision_dim, text_dim = config.vision_config.hidden_size, config.text_config.hidden_size
        self.model.vision_model.embeddings.patch_embedding = ConvStem(vision_dim)
        self.model.connector = DrivingVisionAdaptor(config.tokens_per_view, vision_dim, text_dim)
