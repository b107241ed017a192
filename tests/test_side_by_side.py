"""Pieces of work side by side: their results come back by name, and nothing else does."""

import os

import pytest
import torch
from torch import nn

from irlvla.side_by_side import side_by_side

FACTORS = {"double": 2, "triple": 3, "quadruple": 4}  # more jobs than the two cores of a small machine


def test_results_come_back_by_name_in_the_order_of_the_jobs():
    found = side_by_side({name: lambda by=factor: 21 * by for name, factor in FACTORS.items()})
    assert list(found.items()) == [("double", 42), ("triple", 63), ("quadruple", 84)]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core the work is done here")
def test_work_is_done_in_processes_of_one_thread_each():
    found = side_by_side({name: lambda: (os.getpid(), torch.get_num_threads()) for name in FACTORS})
    assert os.getpid() not in {process for process, _ in found.values()}
    assert {threads for _, threads in found.values()} == {1}


def test_a_trained_network_comes_back_as_if_trained_here():
    def trained(seed: int) -> nn.Linear:
        torch.manual_seed(seed)
        network, inputs = nn.Linear(4, 1), torch.randn(16, 4)
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(5):
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()
        return network

    found = side_by_side({str(seed): lambda seed=seed: trained(seed) for seed in range(3)})
    assert all(torch.equal(found[str(seed)].weight, trained(seed).weight) for seed in range(3))


def test_what_a_piece_of_work_raises_is_raised_here():
    def fails() -> None:
        raise ValueError("no plan")

    with pytest.raises(ValueError, match="no plan"):
        side_by_side({"fails": fails, "works": lambda: 1})
    assert side_by_side({"works": lambda: 1, "again": lambda: 2}) == {"works": 1, "again": 2}
