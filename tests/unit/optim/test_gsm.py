"""GSM: SGD when everything is kept, how many entries are chosen, what the unused ones do, and the last pruning."""

from typing import Any

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.optim import prune_smallest
from laws.subjects import SHAPES, start, train


def test_with_everything_kept_it_is_sgd_bit_for_bit():
    values: dict[str, Any] = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.2}
    ends = []
    for chain in (ep.optim.gsm(**values, keep=1.0), ep.optim.sgd(**values)):
        parameters = start(SHAPES)
        train(ep.Optimizer(parameters, chain, runner="reference"), parameters, 5)
        ends.append(parameters)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def chosen(parameters, keep, scale=1.0, **options):
    """Which entries move in a first step without momentum and decay."""
    before = [p.detach().clone() for p in parameters]
    optimizer = ep.Optimizer(parameters, ep.optim.gsm(lr=0.1, momentum=0.0, weight_decay=0.0, keep=keep), **options)
    generator = torch.Generator().manual_seed(7)
    draws = {p.shape: torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in sorted(parameters, key=_size)}
    for p in parameters:
        p.grad = scale * draws[p.shape]
    optimizer.step()
    return [p.detach() != b for p, b in zip(parameters, before, strict=True)]


def _size(p):
    return p.numel(), p.ndim


@pytest.mark.parametrize("runner", ["reference", "blocked"])
def test_exactly_the_asked_share_is_chosen_among_matrices(runner):
    parameters = start([(5, 3), (7,), (4, 3, 2, 2), (10, 6)])
    masks = chosen(parameters, 0.3, runner=runner)
    matrices = [m for m in masks if m.ndim > 1]
    assert sum(int(m.sum()) for m in matrices) == int(0.3 * sum(m.numel() for m in matrices))
    assert masks[1].all()


def test_order_and_scale_do_not_change_the_choice():
    shapes = [(5, 3), (4, 3, 2, 2), (10, 6)]
    usual = chosen(start(shapes), 0.2)
    backwards = chosen(start(shapes)[::-1], 0.2)[::-1]
    louder = chosen(start(shapes), 0.2, scale=1e3)
    assert all(torch.equal(a, b) for a, b in zip(usual, backwards, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(usual, louder, strict=True))


def test_an_unused_weight_wears_down_at_the_rate_of_the_page():
    lr, momentum, decay = 0.01, 0.9, 0.1
    p = nn.Parameter(torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    optimizer = ep.Optimizer([p], ep.optim.gsm(lr=lr, momentum=momentum, weight_decay=decay, keep=0.5))
    for _ in range(300):
        before = p.detach()[0, 1].item()
        p.grad = torch.tensor([[1e-3, 0.0]], dtype=torch.float64)
        optimizer.step()
    assert p.detach()[0, 1].item() / before == pytest.approx(1 - lr * decay / (1 - momentum), abs=3e-3)


def test_the_last_pruning_keeps_the_largest_of_all_tensors():
    layers = [nn.Linear(6, 5), nn.Linear(5, 4)]
    sizes = torch.cat([m.weight.detach().abs().flatten() for m in layers])
    least = sizes.sort(descending=True).values[9]
    biases = [m.bias.detach().clone() for m in layers]
    assert prune_smallest(nn.Sequential(*layers), keep=0.2) == 10
    kept = torch.cat([m.weight.detach().abs().flatten() for m in layers])
    assert torch.equal(kept, torch.where(sizes >= least, sizes, 0.0))
    assert all(torch.equal(m.bias, b) for m, b in zip(layers, biases, strict=True))


@pytest.mark.parametrize("keep", [0.0, 1.5, -0.1])
def test_shares_outside_are_refused(keep):
    with pytest.raises(ArgumentError, match="keep"):
        ep.optim.gsm(keep=keep)
    with pytest.raises(ArgumentError, match="keep"):
        prune_smallest(nn.Linear(2, 2), keep=keep)


def test_nothing_to_prune_is_an_error():
    with pytest.raises(ArgumentError, match="two or more axes"):
        prune_smallest([torch.ones(3)], keep=0.5)


def test_groups_that_disagree_on_the_share_are_refused():
    first, second = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2))
    groups = [{"params": [first], "keep": 0.5}, {"params": [second], "keep": 0.25}]
    optimizer = ep.optim.GSM(groups, lr=0.1)
    first.grad, second.grad = torch.ones(2, 3), torch.ones(2, 3)
    with pytest.raises(ArgumentError, match=r"0\.25, 0\.5.*same value"):
        optimizer.step()


@pytest.mark.parametrize("runner", ["reference", "blocked"])
def test_parameters_of_two_dtypes_share_one_exact_threshold(runner):
    """A threshold in float32 would fall beside the float64 entry that it is."""
    single = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    double = nn.Parameter(torch.tensor([[1.5, 5 + 1e-12], [5 + 2e-12, 6.0]], dtype=torch.float64))
    before = [p.detach().clone() for p in (single, double)]
    optimizer = ep.Optimizer(
        [single, double], ep.optim.gsm(lr=0.1, momentum=0.0, weight_decay=0.0, keep=0.25), runner=runner
    )
    for p in (single, double):
        p.grad = torch.ones_like(p)
    optimizer.step()
    moved = [(p.detach() != b).tolist() for p, b in zip((single, double), before, strict=True)]
    assert moved == [[[False, False], [False, False]], [[False, False], [True, True]]]
