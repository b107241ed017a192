"""What a parameter file's models cost: weights, time of each part, one optimisation step with its time and memory.

    python -m irlvla.model_size params.yaml               mini size
    python -m irlvla.model_size docs/params.paper.yaml    paper size

    python -m irlvla.model_size docs/params.paper.yaml --device cuda --scenes 8

Random weights and images; calibration is that of the embedded rig. Times are per scene of a batch.
"""

import argparse
import resource
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from irlvla import HISTORY_FRAMES, PLAN_POSES, losses, params
from irlvla.accelerator import moved
from irlvla.imitation import planner_loss
from irlvla.models.policy import Policy
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.semantic import CommandModel
from irlvla.reward_bench import milliseconds
from irlvla.scenes.dataset import INPUTS, TARGETS, check_batch
from irlvla.scenes.targets import (
    BEV_CLASSES,
    BOX_COLUMNS,
    NUM_OBJECTS,
    NUM_POLYLINES,
    POLYLINE_POINTS,
    ROUTE_POINTS,
)
from irlvla.world.rig import camera_for_size

REWARDED_PLANS = 256  # of one scene, when the reward model is timed
META_TOKENS = 4  # of `CommandModel`


def sections(path: Path) -> tuple[params.Data, params.SemanticReasoning, params.Imitation, params.RewardWorldModel]:
    """The validated sections that say how large the models are."""
    named = yaml.safe_load(path.read_text())
    kinds = (params.Data, params.SemanticReasoning, params.Imitation, params.RewardWorldModel)
    names = ("data", "semantic_reasoning", "imitation", "reward_world_model")
    return tuple(kind(**named[name]) for kind, name in zip(kinds, names, strict=True))


def arguments(of: type, *sources: object) -> dict[str, object]:
    """Constructor arguments of a model, by name, from sections; the first that has one gives it."""
    wanted = signature(of).parameters
    return {name: value for source in reversed(sources) for name, value in source if name in wanted}


def build(path: Path) -> tuple[Policy, CommandModel, RewardEnsemble, params.Data]:
    """The three models of a parameter file, with random weights."""
    data, semantic, imitation, reward = sections(path)
    small = ("tokens_per_view", "vision_dim", "vision_layers", "text_dim", "text_layers")
    command_model = CommandModel.small(
        tuple(semantic.cameras), tuple(semantic.image_size), **{name: getattr(semantic, name) for name in small}
    )
    policy = Policy(**arguments(Policy, imitation, data), meta_channels=semantic.text_dim)
    reward_model = RewardEnsemble(**arguments(RewardEnsemble, reward, data), channels=imitation.channels)
    return policy, command_model, reward_model, data


def example(policy: Policy, cameras: list[str], cells: int, meta_channels: int, scenes: int = 1) -> dict[str, Tensor]:
    """`scenes` times a scene that keeps the contract, empty but for a car, a line and a straight plan."""
    height, width = policy.image_hw
    views = [camera_for_size(name, height, width) for name in cameras]
    plan = torch.zeros(1, PLAN_POSES, 3)
    plan[..., 0] = 4.0 * torch.arange(1, PLAN_POSES + 1)
    box_class, line_class = torch.full((1, NUM_OBJECTS), -1), torch.full((1, NUM_POLYLINES), -1)
    box_class[:, 0] = line_class[:, 0] = 0
    batch = {
        "images": torch.randn(1, len(cameras), 3, height, width),
        "intrinsics": torch.stack([torch.from_numpy(k).float() for k, _ in views])[None],
        "ego_from_camera": torch.stack([torch.from_numpy(pose).float() for _, pose in views])[None],
        "status": torch.randn(1, HISTORY_FRAMES, 8),
        "meta": torch.randn(1, META_TOKENS, meta_channels),
        "plan": plan,
        "has_plan": torch.ones(1, dtype=torch.bool),
        "boxes": torch.ones(1, NUM_OBJECTS, len(BOX_COLUMNS)),
        "box_class": box_class,
        "polylines": torch.randn(1, NUM_POLYLINES, POLYLINE_POINTS, 2),
        "polyline_class": line_class,
        "bev": torch.randint(0, len(BEV_CLASSES), (1, cells, cells)),
        "route": torch.randn(1, ROUTE_POINTS, 2),
        "route_inside": torch.ones(1, ROUTE_POINTS, dtype=torch.bool),
        "light": torch.zeros(1, dtype=torch.long),
    }
    batch = {name: torch.cat([values] * scenes) for name, values in batch.items()}
    check_batch(batch, INPUTS | TARGETS)
    return batch


@torch.no_grad()
def part_table(policy: Policy, command_model: CommandModel, reward_model: RewardEnsemble, batch: dict) -> list[tuple]:
    """Rows (part, weights, milliseconds a scene) of everything that runs for a scene."""
    encoder, images = policy.encoder, batch["images"]
    pixels = images.flatten(0, 1)
    scenes, device = len(images), images.device
    features = encoder.backbone(pixels).unflatten(0, images.shape[:2])
    tokens = policy.encode(batch)
    views = torch.zeros(scenes, images.shape[1], *policy.image_hw, 3, dtype=torch.uint8, device=device)
    asked = (torch.zeros(scenes, dtype=torch.long, device=device), torch.full((scenes,), 5.0, device=device))
    plans = batch["plan"][:, None].expand(-1, REWARDED_PLANS, -1, -1)
    parts: list[tuple[str, nn.Module, Callable]] = [
        ("vision-language model", command_model, lambda: command_model.meta_tokens(views, *asked)),
        (f"image backbone, {images.shape[1]} cameras", encoder.backbone, lambda: encoder.backbone(pixels)),
        ("bird's-eye view", encoder.bev, lambda: encoder.bev(batch, features)),
        ("objects, map", encoder.perception, lambda: encoder.perception(tokens["bev"], tokens["status"])),
        (f"planner, {policy.schedule.steps} steps", policy.planner, lambda: policy.plan(tokens)),
        (f"reward model, {REWARDED_PLANS} plans", reward_model, lambda: reward_model.reward(tokens, plans)),
    ]
    sizes = [sum(w.numel() for w in module.parameters()) for _, module, _ in parts]
    return [(name, size, milliseconds(run) / scenes) for (name, _, run), size in zip(parts, sizes, strict=True)]


def optimisation_step(policy: Policy, weights: dict[str, float], batch: dict[str, Tensor]) -> float:
    """Seconds of one step of stage 1 on the batch: forward, losses, backward, AdamW."""
    policy.train()
    optimizer = torch.optim.AdamW(policy.parameters(), 1e-4, fused=True)
    start = time.perf_counter()
    tokens = policy.encode(batch)
    terms = planner_loss(policy, batch | tokens) | losses.perception(policy.read(tokens), batch)
    losses.weighted(terms, weights).backward()
    optimizer.step()
    terms["trajectory"].item()  # waits for a GPU
    return time.perf_counter() - start


def peak_memory_gb(device: str) -> float:
    """Most memory held so far: of the process, or on the GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of a parameter file."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.model_size", description=__doc__.splitlines()[0])
    parser.add_argument("params", type=Path, help="a parameter file with the sections of params.yaml")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--scenes", type=int, default=1, help="of a batch")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    *models, data = build(options.params)
    policy, command_model, reward_model = (model.to(options.device) for model in models)
    semantic, imitation = sections(options.params)[1:3]
    batch = moved(example(policy, data.cameras, data.bev_cells, semantic.text_dim, options.scenes), options.device)
    # First of all, as later parts need memory of their own; the second step, as the first one warms up.
    _, seconds = (optimisation_step(policy, imitation.weights, batch) for _ in range(2))
    peak_gb = peak_memory_gb(options.device)
    print(f"one optimisation step of {options.scenes} scene(s): {seconds:.2f} s; peak memory {peak_gb:.1f} GB")
    for module in (policy, command_model, reward_model):
        module.eval()
    print(f"{'part':32s} {'weights':>12s} {'ms':>9s}")
    for name, weights, ms in part_table(policy, command_model, reward_model, batch):
        print(f"{name:32s} {weights:12,d} {ms:9.1f}", flush=True)
    with torch.no_grad():
        shapes = {name: tuple(values.shape[1:]) for name, values in policy.encode(batch).items()}
    print("tokens of a scene:", ", ".join(f"{name} {shape}" for name, shape in shapes.items()))


if __name__ == "__main__":
    main()
