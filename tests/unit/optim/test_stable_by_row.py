"""Stable decay's mean from running sums by row is the mean of Adam's second moments, whoever has gradients when."""

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.core.chain import chain
from equipoise.core.optimizer import Optimizer
from equipoise.decay.shrink import shrink
from equipoise.optim._parts import adam_direction
from equipoise.stages.apply import apply

SHAPES = [(6, 5), (4, 3, 2), (7,), ()]
HYPER = {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.3}


def adams(by_row):
    return chain(adam_direction(), shrink(law="stable", by_row=by_row), apply(), name="adams", hyper=HYPER)


def path(by_row, dtype=torch.float64, steps=12):
    generator = torch.Generator().manual_seed(7)
    ps = [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in SHAPES]
    optimizer = Optimizer(ps, adams(by_row))
    for t in range(steps):
        for i, p in enumerate(ps):
            grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(dtype)
            p.grad = grad if (t + i) % 4 else None  # one of four parameters rests, another one each step
        optimizer.step()
    return ps, optimizer


def test_it_is_the_same_mean():
    for ours, theirs in zip(path(True)[0], path(False)[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_sums_are_those_of_the_second_moments():
    ps, optimizer = path(True)
    own = optimizer.state[ps[1]]
    torch.testing.assert_close(own["row_squares"], own["exp_avg_sq"].sum((1, 2), keepdim=True))
    assert optimizer.state[ps[0]]["row_squares"].shape == (6, 1)


def test_in_bfloat16_the_sums_keep_their_digits():
    ps, optimizer = path(True, torch.bfloat16, steps=3)
    assert optimizer.state[ps[0]]["row_squares"].dtype == torch.float32


def test_ready_adams_sums_by_row_unless_a_maximum_is_kept():
    assert "by_row" in str(ep.optim.adams().decay)
    assert "by_row" not in str(ep.optim.adams(amsgrad=True).decay)


def test_it_belongs_to_the_stable_law():
    with pytest.raises(ArgumentError, match=r"by_row.*law='stable'"):
        shrink(law="lr", by_row=True)
