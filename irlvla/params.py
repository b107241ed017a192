"""Sections of `params.yaml`: one validated model per stage, read by that stage's notebook only.

An unknown key, a wrong type or an impossible value is an error that names section and key.
"""

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Source = Literal["meta", "bev", "map", "objects"]
DriverName = Literal[
    "constant_velocity", "ego_status_mlp", "regression_head", "vocabulary_scorer", "without_semantics", "imitation",
    "rlvr", "reinforcement", "reinforcement_reranked", "pdm_closed",
]  # fmt: skip


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SharedTraining(Section):
    batch_size: PositiveInt
    processes: PositiveInt  # that share a batch, a core each; on a GPU there is one

    @model_validator(mode="after")
    def _equal_shares(self) -> "SharedTraining":
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared equally by {self.processes} processes")
        return self


class Data(Section):
    root: str  # dataset in NAVSIM format, seen from the repository's root
    images: Literal["rendered", "recorded"]  # recorded: those of a real NAVSIM dataset
    cameras: list[str] = Field(min_length=1)
    image_size: list[int] = Field(min_length=2, max_length=2)  # height, width in pixels
    bev_cells: PositiveInt  # cells along each side of the bird's-eye view
    x_range_m: list[float] = Field(min_length=2, max_length=2)  # what the bird's-eye view spans, ego frame
    y_range_m: list[float] = Field(min_length=2, max_length=2)
    logs_per_split: PositiveInt | None  # None: all
    train_samples: PositiveInt  # at most, spread over the manoeuvres
    perturbed_samples: NonNegativeInt  # moved starts among the train samples
    val_samples: PositiveInt
    test_samples: PositiveInt
    two_stage_groups: PositiveInt | None  # of val and of test; None: all
    workers: PositiveInt
    seed: NonNegativeInt


class SemanticReasoning(SharedTraining):
    cameras: list[str] = Field(min_length=1)  # in the order of the instruction; images of 01_data
    image_size: list[int] = Field(min_length=2, max_length=2)  # height, width in pixels that the model reads
    pretrained: str | None  # image-text model of transformers, by name or folder; None: a small one, of these sizes:
    lora_rank: NonNegativeInt  # of updates of the pretrained model; 0: all weights are trained
    tokens_per_view: PositiveInt
    vision_dim: PositiveInt
    vision_layers: PositiveInt
    text_dim: PositiveInt  # also the width of the meta tokens
    text_layers: PositiveInt
    epochs: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    prior_weight: float = Field(ge=0, le=1)  # 0: plain cross-entropy, 1: balanced softmax
    seed: NonNegativeInt


class Imitation(SharedTraining):
    image_size: list[int] = Field(min_length=2, max_length=2)  # height, width in pixels
    backbone: str  # a timm model
    pretrained: bool  # start from timm's weights
    backbone_weights: str | None  # start from a DD3D-style checkpoint of VoVNetV2-99
    levels: list[int] = Field(min_length=1)  # feature levels of the backbone, finest first
    shrink: PositiveInt  # the backbone sees images shrunk by this factor; the pixels laid on the road are not
    image_channels: PositiveInt  # of the feature pyramid
    pixel_channels: PositiveInt  # of the finest BEV cells, into which the pixels go
    bev_channels: PositiveInt  # of the coarser ones, into which the backbone's features go
    channels: PositiveInt  # of tokens and transformer layers
    heads: PositiveInt
    feedforward: PositiveInt
    bev_cells: PositiveInt  # per side
    bev_tokens_side: PositiveInt  # BEV tokens per side
    bev_blocks: PositiveInt
    heights_m: list[float] = Field(min_length=1)  # of the points that a BEV cell looks up in the images
    query_layers: PositiveInt  # decoder layers of object and map queries
    num_anchors: PositiveInt  # plans per scene
    plan_blocks: PositiveInt
    steps: PositiveInt  # denoising steps
    dropout: float = Field(ge=0, lt=1)  # in the planner
    weights: dict[str, float]  # of the loss terms
    epochs: PositiveInt  # of the whole policy
    learning_rate: PositiveFloat
    planner_epochs: PositiveInt  # of the planner alone, on tokens encoded once
    planner_batch_size: PositiveInt
    planner_learning_rate: PositiveFloat
    ablations: dict[str, list[Source]]  # planners to compare with: name, kinds of tokens that they look at
    workers: NonNegativeInt  # processes that load images
    seed: NonNegativeInt


class RewardData(Section):
    vocabulary_size: PositiveInt  # K-means modes of human plans
    vocabulary_plans: NonNegativeInt  # of them, drawn for each scene
    noisy_plans: NonNegativeInt  # variations of the human plan per scene
    noise_scale: PositiveFloat  # of those variations: relative change of speed at the last pose
    eta: float = Field(ge=0, le=1)  # noise of the chain's steps, as 06 explores
    std_floor: PositiveFloat
    human_filter: bool  # labels with EPDMS' human filter, which acts on original scenes
    workers: PositiveInt
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _enough_modes(self) -> "RewardData":
        if self.vocabulary_plans > self.vocabulary_size:
            raise ValueError(
                f"vocabulary_plans: {self.vocabulary_plans} plans a scene cannot be drawn from the "
                f"{self.vocabulary_size} of vocabulary_size"
            )
        return self


class RewardWorldModel(Section):
    members: PositiveInt  # of the ensemble
    heads: PositiveInt
    feedforward: PositiveInt
    blocks: PositiveInt
    dropout: float = Field(ge=0, lt=1)
    epochs: PositiveInt
    batch_scenes: PositiveInt
    plans_per_scene: PositiveInt  # drawn anew at each visit
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    reward_weight: NonNegativeFloat  # of the composed reward's squared error, beside DiffVLA's sub-score weights
    status_epochs: PositiveInt  # of the baseline that sees only the ego status
    encoder_epochs: NonNegativeInt  # of encoders of its own, with images; 0: the policy's, frozen
    seed: NonNegativeInt


class Ppo(Section):
    iterations: PositiveInt
    scenes_per_iteration: PositiveInt
    anchors: PositiveInt  # sampled in a scene, the likeliest to be chosen
    samples: PositiveInt  # noise samples of each anchor
    epochs: PositiveInt
    minibatch_scenes: PositiveInt
    trained_steps: PositiveInt  # the last ones of the denoising chain
    eta: float = Field(ge=0, le=1)
    std_floor: PositiveFloat  # normalised plan units
    baseline: Literal["group", "critic"]
    gamma: float = Field(gt=0, le=1)  # per denoising step
    clip_first: PositiveFloat  # clip range of the noisiest step
    clip_last: PositiveFloat
    choice_clip: PositiveFloat
    target_kl: PositiveFloat
    learning_rate: PositiveFloat
    critic_learning_rate: PositiveFloat
    cloning_weight: NonNegativeFloat  # of the denoising steps
    choice_cloning_weight: NonNegativeFloat
    rolling_back_cost: NonNegativeFloat  # reward lost per metre that a plan comes behind its start
    max_grad_norm: PositiveFloat


class Reinforcement(Section):
    ppo: Ppo
    pessimism: NonNegativeFloat  # standard deviations of the reward ensemble taken off its mean
    diagnose_every: PositiveInt  # iterations between looks at validation scenes
    diagnose_scenes: PositiveInt  # at most
    seed: NonNegativeInt


class Evaluation(Section):
    root: str  # dataset in NAVSIM format, as in `data`
    bootstrap_samples: PositiveInt
    vocabulary_sizes: list[PositiveInt]  # of the vocabulary scorers
    workers: PositiveInt
    seed: NonNegativeInt  # of the bootstrap and of the ego-status network


class ClosedLoop(Section):
    root: str  # dataset with the towns' networks and maps, seen from the repository's root
    suite: str  # file of routes (`route_suite.py`), seen from the repository's root
    routes: PositiveInt | None  # the first ones of the file; null: all
    drivers: list[DriverName] = Field(min_length=1)
    checks: bool  # policies drive a candidate without a perceived collision or departure from the road
    workers: PositiveInt
    seed: NonNegativeInt  # of the ego-status MLP and the vocabulary


class Figures(Section):
    formats: list[Literal["png", "pdf"]] = Field(min_length=1)
    compared: list[str] = Field(min_length=2, max_length=2)  # agents whose plans are shown side by side: before, after
