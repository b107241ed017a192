"""3D reasoning on BEV tokens: queries that become objects (30 and the ego) and map polylines, BEV segmentation, the
route ahead, and the light that the ego has to obey.

Q queries. Predictions are in the ego frame.
"""

import math

import torch
from torch import Tensor, nn

from irlvla.models.decoder import mlp
from irlvla.models.trajectory_encoder import sample_bev
from irlvla.scenes.targets import (
    BOX_COLUMNS,
    LIGHTS,
    MAP_CLASSES,
    OBJECT_CLASSES,
    POLYLINE_POINTS,
    ROUTE_POINTS,
    ROUTE_STEP_M,
)

Range = tuple[float, float]

# How a box is predicted and compared: position and speed scaled to about one, sizes as logarithms, heading as sin, cos.
POSITION_SCALE_M = 10.0
SPEED_SCALE_MPS = 5.0
START_LINE_M = 20.0  # a map line is first predicted as a straight one of this length, along x
BOX_CODE = ("x", "y", "z", "log_length", "log_width", "log_height", "sin", "cos", "vx", "vy")


def encode_boxes(boxes: Tensor) -> Tensor:
    """(..., 9) columns BOX_COLUMNS -> (..., 10) columns BOX_CODE."""
    x, y, z, length, width, height, heading, vx, vy = boxes.unbind(-1)
    position = torch.stack([x, y, z], dim=-1) / POSITION_SCALE_M
    size = torch.stack([length, width, height], dim=-1).clamp(min=0.1).log()
    turn = torch.stack([heading.sin(), heading.cos()], dim=-1)
    return torch.cat([position, size, turn, torch.stack([vx, vy], dim=-1) / SPEED_SCALE_MPS], dim=-1)


def decode_boxes(code: Tensor) -> Tensor:
    """Inverse of `encode_boxes`."""
    position, size, turn, velocity = code.split([3, 3, 2, 2], dim=-1)
    heading = torch.atan2(turn[..., :1], turn[..., 1:])
    return torch.cat([position * POSITION_SCALE_M, size.exp(), heading, velocity * SPEED_SCALE_MPS], dim=-1)


class QueryDecoder(nn.Module):
    """Q learned queries with learned reference points attend to each other and to the BEV tokens.

    A query starts with the BEV feature at its reference point, so it knows from the first step on what is there.
    """

    def __init__(
        self,
        num_queries: int,
        channels: int,
        heads: int,
        feedforward: int,
        layers: int,
        x_range_m: Range,
        y_range_m: Range,
    ):
        super().__init__()
        self.x_range_m, self.y_range_m = tuple(x_range_m), tuple(y_range_m)
        spread = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(num_queries)  # evenly over the area
        low = torch.tensor([x_range_m[0], y_range_m[0]])
        size = torch.tensor([x_range_m[1] - x_range_m[0], y_range_m[1] - y_range_m[0]])
        self.references = nn.Parameter((low + spread * size) / POSITION_SCALE_M)  # (Q, 2)
        self.content = nn.Parameter(torch.randn(num_queries, channels) * 0.02)
        self.look = nn.Linear(channels, channels)
        layer = nn.TransformerDecoderLayer(channels, heads, feedforward, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, layers, nn.LayerNorm(channels))

    def forward(self, bev: Tensor, further: Tensor | None = None) -> Tensor:
        """bev (B, L, D), further queries (B, E, D) -> queries (B, Q + E, D)."""
        points = self.references * POSITION_SCALE_M
        there = sample_bev(bev, points.expand(len(bev), -1, -1), self.x_range_m, self.y_range_m)
        queries = self.content + self.look(there)
        return self.layers(queries if further is None else torch.cat([queries, further], dim=1), bev)


class Perception(nn.Module):
    """BEV tokens -> object tokens and map tokens, and what the three kinds say explicitly.

    Everything explicit is read off the tokens alone (`read`): so the tokens, which planner and reward model see, have
    to carry it, and stored tokens can be read later.

    Args:
        objects, elements: decoders of the objects and of the map's polylines.
        channels: D of both.
        group: BEV cells per token and side.
    """

    def __init__(self, objects: QueryDecoder, elements: QueryDecoder, channels: int, num_bev_classes: int, group: int):
        super().__init__()
        self.objects, self.map = objects, elements
        self.box_class = nn.Linear(channels, len(OBJECT_CLASSES) + 1)
        self.box = mlp(channels, channels, len(BOX_CODE))
        self.polyline_class = nn.Linear(channels, len(MAP_CLASSES) + 1)
        self.polyline = mlp(channels, 2 * channels, POLYLINE_POINTS * 2)
        self.segmentation = mlp(channels, 2 * channels, num_bev_classes * group**2)
        self.cells = nn.PixelShuffle(group)
        self.light = mlp(channels, channels, len(LIGHTS))
        self.route = mlp(channels, 2 * channels, ROUTE_POINTS * 2)
        _start_straight(self.polyline[-1], torch.linspace(-START_LINE_M / 2, START_LINE_M / 2, POLYLINE_POINTS))
        _start_straight(self.route[-1], ROUTE_STEP_M * torch.arange(1, ROUTE_POINTS + 1))

    def forward(self, bev: Tensor, ego: Tensor) -> dict[str, Tensor]:
        """BEV tokens (B, L, D), the ego's token (B, 1, D) -> "objects" (B, A + 1, D), the ego last, and "map"."""
        return {"objects": self.objects(bev, ego), "map": self.map(bev)}

    def read(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """box_logits (B, A, classes + 1), last = nothing; box_code (B, A, 10) columns BOX_CODE;
        polyline_logits (B, M, classes + 1); polylines (B, M, P, 2) metres; bev_logits (B, BEV classes, X, Y);
        route (B, R, 2) metres and light_logits (B, lights), off the ego's query, which knows speed and command.
        """
        objects, ego = tokens["objects"][:, :-1], tokens["objects"][:, -1]
        elements, bev = tokens["map"], tokens["bev"]
        code = self.box(objects)
        position = code[..., :2] + self.objects.references
        polylines = self.polyline(elements).unflatten(-1, (POLYLINE_POINTS, 2)) + self.map.references[:, None]
        side = math.isqrt(bev.shape[1])
        return {
            "box_logits": self.box_class(objects),
            "box_code": torch.cat([position, code[..., 2:]], dim=-1),
            "polyline_logits": self.polyline_class(elements),
            "polylines": polylines * POSITION_SCALE_M,
            "bev_logits": self.cells(self.segmentation(bev).transpose(1, 2).unflatten(2, (side, side))),
            "route": self.route(ego).unflatten(-1, (ROUTE_POINTS, 2)) * POSITION_SCALE_M,
            "light_logits": self.light(ego),
        }


def _start_straight(layer: nn.Linear, x_m: Tensor) -> None:
    """Make a last layer predict, untrained, a line along x."""
    nn.init.zeros_(layer.weight)
    layer.bias.data.copy_(torch.stack([x_m / POSITION_SCALE_M, torch.zeros(len(x_m))], dim=-1).flatten())


def detections(predictions: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (B, A, 9), class (B, A), probability of that class (B, A) of the objects' predictions."""
    probability, label = predictions["box_logits"].softmax(-1)[..., :-1].max(-1)
    boxes = decode_boxes(predictions["box_code"])
    assert boxes.shape[-1] == len(BOX_COLUMNS)
    return boxes, label, probability
