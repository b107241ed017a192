"""Claims about the imitation losses, on cases small enough to work out by hand."""

import math

import numpy as np
import pytest
import tiny_policy
import torch

from irlvla import losses
from irlvla.models.perception import encode_boxes

torch.set_num_threads(1)


def straight(speed: float) -> torch.Tensor:
    """(T, 3)"""
    steps = torch.arange(1, 9) * 0.5
    return torch.stack([speed * steps, torch.zeros(8), torch.zeros(8)], dim=-1)


def test_trajectory_loss_looks_at_the_nearest_anchors_candidate_only():
    anchors = torch.stack([straight(2.0), straight(8.0)])
    human = straight(7.0)[None]
    plans = torch.stack([straight(100.0), straight(7.0) + torch.tensor([0.0, 0.3, 0.0])])[None]
    terms = losses.trajectory(plans, torch.zeros(1, 2), anchors, human, torch.tensor([True]))
    assert terms["trajectory"].item() == pytest.approx(0.3 / 3)  # 0.3 m in y of every pose, averaged over x, y, heading
    assert terms["score"].item() == pytest.approx(2 * math.log(2))


def test_scenes_without_a_human_plan_do_not_count():
    anchors = torch.stack([straight(2.0), straight(8.0)])
    plans, human = torch.randn(2, 2, 8, 3), torch.stack([straight(7.0), straight(0.0)])
    both = losses.trajectory(plans, torch.randn(2, 2), anchors, human, torch.tensor([True, False]))
    moved = losses.trajectory(
        plans, both["score"] * 0 + torch.randn(2, 2), anchors, human + 0, torch.tensor([False, False])
    )
    first = losses.trajectory(plans[:1], torch.randn(1, 2), anchors, human[:1], torch.tensor([True]))
    assert both["trajectory"].item() == pytest.approx(first["trajectory"].item(), rel=1e-5)
    assert moved["trajectory"].item() == 0 and moved["score"].item() == 0


def test_hungarian_finds_the_cheapest_assignment_of_the_valid_targets():
    cost = torch.tensor([[[1.0, 0.0, 9.0], [2.0, 8.0, 9.0], [9.0, 9.0, 9.0]]])
    sample, query, target = losses.hungarian(cost, torch.tensor([[True, True, False]]))
    assert sorted(zip(query.tolist(), target.tolist(), strict=True)) == [(0, 1), (1, 0)] and sample.tolist() == [0, 0]


def test_perfect_detections_in_any_order_cost_nothing():
    batch = tiny_policy.batch(3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    wanted = torch.where(batch["box_class"] < 0, 4, batch["box_class"])[:, order]
    logits = torch.nn.functional.one_hot(wanted, 5) * 50.0
    predictions = {"box_logits": logits, "box_code": encode_boxes(batch["boxes"][:, order])}
    terms = losses.objects(predictions, batch["boxes"], batch["box_class"])
    assert terms["object_class"].item() < 1e-6 and terms["object_box"].item() < 1e-5


def test_a_scene_without_objects_only_asks_for_nothing():
    predictions = {"box_logits": torch.zeros(1, 30, 5), "box_code": torch.zeros(1, 30, 10)}
    terms = losses.objects(predictions, torch.ones(1, 30, 9), torch.full((1, 30), -1))
    assert terms["object_box"].item() == 0 and terms["object_class"].item() == pytest.approx(math.log(5), rel=1e-5)


def test_a_boundary_may_be_predicted_backwards_but_a_centerline_may_not():
    line = torch.stack([torch.linspace(0, 19, 20), torch.zeros(20)], dim=-1)[None, None]
    backwards = line.flip(2)
    centerline = losses.polyline_distances(backwards, line, torch.tensor([[0]]))
    boundary = losses.polyline_distances(backwards, line, torch.tensor([[1]]))
    assert boundary.item() == pytest.approx(0, abs=1e-5) and centerline.item() == pytest.approx(10.0)


def test_segmentation_of_the_right_classes_costs_nothing_at_another_resolution():
    classes = torch.from_numpy(np.repeat(np.repeat([[0, 1], [2, 6]], 4, axis=0), 4, axis=1))[None]
    logits = torch.nn.functional.one_hot(classes, 7).permute(0, 3, 1, 2) * 100.0
    assert losses.segmentation(logits, classes)["segmentation"].item() < 1e-6
    shrunk = losses.segmentation(logits[:, :, ::4, ::4], classes[:, ::2, ::2])["segmentation"].item()
    assert shrunk < losses.segmentation(-logits, classes)["segmentation"].item()


def test_points_of_the_route_count_inside_the_rectangle_only():
    true = torch.zeros(2, 3, 2)
    predicted = true + torch.tensor([3.0, 4.0])  # 7 in the sum of both, scaled by 10 m
    predicted[1, 2] = 100.0
    inside = torch.tensor([[True, True, False], [True, True, False]])
    assert losses.route(predicted, true, inside)["route"].item() == pytest.approx(0.7)
    assert losses.route(predicted, true, torch.zeros(2, 3, dtype=torch.bool))["route"].item() == 0


def test_weights_must_name_exactly_the_terms():
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert losses.weighted(terms, {"a": 1.0, "b": 10.0}).item() == 32
    with pytest.raises(ValueError, match="'c'"):
        losses.weighted(terms, {"a": 1.0, "c": 1.0})
