"""Claims about the explicit checks; the ego is 5.176 x 2.297 m with its centre 1.461 m ahead of the rear axle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon

from irlvla.models.checks import checked, collides, corners, leaves_road, overlap

torch.set_num_threads(1)
RANGES = ((-8.0, 56.0), (-32.0, 32.0))


def straight(speed: float, y: float = 0.0) -> torch.Tensor:
    """(1, 1, T, 3)"""
    steps = torch.arange(1, 9) * 0.5
    return torch.stack([speed * steps, torch.full((8,), y), torch.zeros(8)], dim=-1)[None, None]


def car(x: float, y: float = 0.0, vx: float = 0.0) -> torch.Tensor:
    """(1, 1, 9)"""
    return torch.tensor([[[x, y, 0.8, 4.6, 1.9, 1.6, 0.0, vx, 0.0]]])


PRESENT = torch.tensor([[True]])


@pytest.mark.parametrize(
    ("plan", "box", "hit"),
    [
        (straight(5.0), car(20.0), True),
        (straight(2.0), car(20.0), False),  # front bumper reaches 12.05 m, the car begins at 17.7 m
        (straight(5.0), car(20.0, vx=5.0), False),  # it drives away as fast
        (straight(5.0), car(20.0, y=2.2), False),  # 0.1 m between the sides
        (straight(5.0), car(20.0, y=2.0), True),
    ],
)
def test_collision_with_a_car_ahead(plan, box, hit):
    assert collides(plan, box, PRESENT).item() is hit


def test_an_absent_object_is_not_hit():
    assert not collides(straight(5.0), car(20.0), ~PRESENT).item()


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-4, 4)] * 2, *[st.floats(-3.2, 3.2)] * 2), st.tuples(*[st.floats(0.5, 5)] * 4))
def test_overlap_of_rectangles_agrees_with_shapely(place, sizes):
    x, y, turn_a, turn_b = (torch.tensor(value) for value in place)
    length_a, width_a, length_b, width_b = (torch.tensor(size) for size in sizes)
    a = corners(torch.zeros(()), torch.zeros(()), turn_a, length_a, width_a)
    b = corners(x, y, turn_b, length_b, width_b)
    area, gap = (
        Polygon(a.tolist()).intersection(Polygon(b.tolist())).area,
        Polygon(a.tolist()).distance(Polygon(b.tolist())),
    )
    if area > 1e-4 or gap > 1e-4:  # touching is left to rounding
        assert overlap(a, b).item() == (area > 1e-4)


def test_only_plans_whose_corners_leave_the_drivable_cells_are_faulty():
    road = torch.zeros(1, 64, 64)
    road[:, :, 28:36] = 1.0  # y in -4 ... 4 m
    for y, left in ((0.0, False), (2.0, False), (4.0, True)):  # half the width is 1.15 m
        assert leaves_road(straight(5.0, y), road, *RANGES).item() is left


def test_what_lies_beyond_the_grid_counts_as_drivable():
    assert not leaves_road(straight(0.0) + torch.tensor([60.0, 0, 0]), torch.zeros(1, 64, 64), *RANGES).item()


def test_a_faultless_plan_beats_a_better_scored_faulty_one_and_ties_keep_their_order():
    logits = torch.tensor([[9.0, -3.0, 2.0]])
    fault = torch.tensor([[True, False, False]])
    assert checked(logits, (fault, ~fault & False)).argmax().item() == 2
    assert checked(logits, (fault | True, fault & False)).argsort(descending=True).tolist() == [[0, 2, 1]]
