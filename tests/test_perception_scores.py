"""Claims about the scores of perception: average precision by hand, and the model that sees nothing."""

import numpy as np
import pytest
import tiny_policy
import torch

from irlvla.average_precision import average_precision, chamfer_distance, map_scores, take_nearest
from irlvla.models.perception import encode_boxes
from irlvla.perception_scores import mean_prediction, perceive, perception_scores
from irlvla.scenes.targets import BEV_CLASSES, LIGHTS, MAP_CLASSES, NO_CLASS, OBJECT_CLASSES

torch.set_num_threads(1)

TRUE = ("boxes", "box_class", "polylines", "polyline_class", "bev", "route", "route_inside", "light")
IN_NUMBERS = [*(f"detection_ap_{t}m" for t in (1, 2, 4)), *(f"map_ap_{t}m" for t in (0.5, 1, 1.5))]


def certain(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Logits (..., num_classes + 1) that leave no doubt about the labels; NO_CLASS is the last one."""
    index = torch.where(label == NO_CLASS, num_classes, label)
    return 20.0 * torch.nn.functional.one_hot(index, num_classes + 1)


def perfect(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Predictions that say what is true."""
    return {
        "box_code": encode_boxes(batch["boxes"]),
        "box_logits": certain(batch["box_class"], len(OBJECT_CLASSES)),
        "polylines": batch["polylines"],
        "polyline_logits": certain(batch["polyline_class"], len(MAP_CLASSES)),
        "bev_logits": certain(batch["bev"], len(BEV_CLASSES))[..., :-1].movedim(-1, 1).float(),
        "route": batch["route"],
        "light_logits": certain(batch["light"], len(LIGHTS))[..., :-1].float(),
    }


def test_average_precision_is_the_area_under_the_envelope():
    # precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1; the envelope is 1 up to recall 1/2 and 2/3 from there
    right = np.array([True, True, False])
    assert average_precision(np.array([0.9, 0.7, 0.8]), right, 2) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_what_is_never_found_costs_recall():
    assert average_precision(np.array([0.9]), np.array([True]), 4) == pytest.approx(0.25)
    assert np.isnan(average_precision(np.array([0.9]), np.array([False]), 0))


def test_a_true_element_is_taken_once_and_by_the_more_confident_prediction():
    distance = np.array([[0.3, 9.0], [0.1, 9.0], [9.0, 3.0]])
    assert take_nearest(distance, np.array([0.9, 0.5, 0.8]), 2.0).tolist() == [True, False, False]
    assert take_nearest(distance, np.array([0.4, 0.5, 0.8]), 4.0).tolist() == [False, True, True]


def test_chamfer_distance_of_parallel_lines_is_their_gap_in_either_direction():
    x = torch.linspace(0, 19, 20)
    line, beside = torch.stack([x, 0 * x], dim=-1), torch.stack([x, 0 * x + 0.75], dim=-1)
    distance = chamfer_distance(torch.stack([line, beside]), torch.stack([line.flip(0)]))
    assert distance[:, 0].tolist() == pytest.approx([0.0, 0.75])


def test_perfect_predictions_have_full_marks():
    batch = tiny_policy.batch(3) | {"light": torch.arange(3)}
    scores = perception_scores(perfect(batch), batch)
    assert [scores[name] for name in IN_NUMBERS] == [1.0] * 6
    assert all(scores[f"iou_{name}"] == 1.0 for name in BEV_CLASSES)
    assert all(scores[f"recall_light_{name}"] == 1.0 for name in LIGHTS)
    assert scores["route_error_m"] == 0.0


def test_the_route_is_judged_where_it_is_inside_the_rectangle_only():
    batch = tiny_policy.batch(2)
    batch["route_inside"] = torch.arange(20) < torch.tensor([[20], [5]])
    aside = batch["route"] + torch.where(batch["route_inside"], 3.0, 50.0)[..., None] * torch.tensor([0.6, 0.8])
    assert perception_scores(perfect(batch) | {"route": aside}, batch)["route_error_m"] == pytest.approx(3.0)


def test_a_light_taken_for_another_counts_against_the_true_one_only():
    batch = tiny_policy.batch(4) | {"light": torch.tensor([0, 1, 2, 2])}
    seen = perfect(batch) | {"light_logits": certain(torch.tensor([0, 1, 2, 1]), len(LIGHTS))[..., :-1].float()}
    scores = perception_scores(seen, batch)
    assert [scores[f"recall_light_{name}"] for name in LIGHTS] == [1.0, 1.0, 0.5]


def test_lines_a_metre_aside_count_from_the_threshold_of_a_metre_and_a_half_on():
    batch = tiny_policy.batch(2)
    x = torch.linspace(0, 19, 20)
    lines = torch.stack([torch.stack([x, 0 * x + 30 * i], dim=-1) for i in range(batch["polylines"].shape[1])])
    batch["polylines"] = lines.expand(2, -1, -1, -1)
    aside = perfect(batch) | {"polylines": batch["polylines"] + torch.tensor([0.0, 1.2])}
    scores = map_scores(aside, batch)
    assert [scores[f"map_ap_{t}m"] for t in (0.5, 1, 1.5)] == [0.0, 0.0, 1.0]


def test_a_prediction_of_the_wrong_class_is_wrong():
    batch = tiny_policy.batch(2)
    other = torch.where(batch["box_class"] == NO_CLASS, NO_CLASS, (batch["box_class"] + 1) % len(OBJECT_CLASSES))
    confused = perfect(batch) | {"box_logits": certain(other, len(OBJECT_CLASSES))}
    batch["boxes"] += 50.0 * torch.arange(batch["boxes"].shape[1])[:, None]  # nothing near that has this class
    confused["box_code"] = encode_boxes(batch["boxes"])
    assert perception_scores(confused, batch)["detection_ap_4m"] == 0.0


def test_the_training_mean_is_right_where_every_scene_is_alike():
    one = {name: value for name, value in tiny_policy.batch(1).items() if name in TRUE}
    alike = {name: np.repeat(value.numpy(), 4, axis=0) for name, value in one.items()}
    scores = perception_scores(mean_prediction(alike, seed=0), one)
    assert [scores[name] for name in IN_NUMBERS] == [1.0] * 6
    assert all(scores[f"iou_{name}"] == 1.0 for name in BEV_CLASSES)
    assert scores["route_error_m"] == pytest.approx(0.0, abs=1e-5)


def test_the_policy_is_scored_on_every_scene_of_the_data_set():
    batch = tiny_policy.batch(5)
    predictions, targets = perceive(tiny_policy.policy().eval(), tiny_policy.Rows(batch), batch_size=2)
    assert all(len(value) == 5 for value in (*predictions.values(), *targets.values()))
    assert all(torch.equal(targets[name], batch[name]) for name in TRUE)
    scores = perception_scores(predictions, targets)
    assert scores.pop("route_error_m") > 0 and all(0 <= value <= 1 for value in scores.values())
