"""D-Adapted Adam and DoG: step sizes found from gradients alone, that never fall and know no scale of the loss."""

from itertools import pairwise

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from laws.subjects import gradients, start

STEPS = 200
KINDS = [ep.optim.DAdaptAdam, ep.optim.DoG]
FOUND = {ep.optim.DAdaptAdam: "d", ep.optim.DoG: "farthest"}


def descend(kind, steps=STEPS, scale=1.0, **values):
    """Two tensors on a quadratic; returns them and the number that was found after each step."""
    ps = [nn.Parameter(torch.full((3, 2), 5.0, dtype=torch.float64)), nn.Parameter(-torch.ones(4, dtype=torch.float64))]
    optimizer = kind(ps, **values)
    seen = []
    for _ in range(steps):
        for p in ps:
            p.grad = scale * p.detach().clone()
        optimizer.step()
        seen.append([optimizer.state[p][FOUND[kind]].item() for p in ps])
    return ps, seen


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_a_step_size_from_a_start_that_is_far_too_small(kind):
    ps, seen = descend(kind)
    assert max(p.abs().max() for p in ps) < 0.5
    assert seen[0][0] < 1e-4
    assert 1e-3 < seen[-1][0] < 20
    assert all(a == b for a, b in seen)
    assert all(later[0] >= sooner[0] for sooner, later in pairwise(seen))


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_the_loss_is_not_seen(kind):
    plain, scaled = descend(kind, eps=0.0)[0], descend(kind, eps=0.0, scale=2.0**12)[0]
    assert all(torch.allclose(p, q, rtol=1e-9) for p, q in zip(plain, scaled, strict=True))


def test_with_moving_averages_d_may_pass_the_distance_but_not_by_much():
    """The largest coordinate's distance is 5; the bound of the convex theory is one of plain sums."""
    _, seen = descend(ep.optim.DAdaptAdam, eps=0.0)
    assert 5.0 < seen[-1][0] < 15.0


def test_growth_bounds_every_rise():
    ds = [d for d, _ in descend(ep.optim.DAdaptAdam, growth=1.1)[1]]
    rises = [later / sooner for sooner, later in pairwise(ds)]
    assert max(rises) == pytest.approx(1.1, abs=1e-9)


def test_at_a_fixed_d_it_is_adam_without_bias_correction():
    """Gradients that turn by right angles at every step agree with none before them: d stays."""
    (p,) = start([(4, 3)])
    ours = ep.optim.DAdaptAdam([p], d0=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2)
    v = m = torch.zeros_like(p)
    w = p.detach().clone()
    for k in range(4):
        g = torch.zeros_like(p)
        g[k] = gradients([p], k)[0][k]
        p.grad = g.clone()
        ours.step()
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        w = (1 - 0.01 * 0.2) * w - 0.01 * m / (v.sqrt() + 1e-3)
    assert ours.state[p]["d"].item() == pytest.approx(0.01)
    assert torch.allclose(p.detach(), w, atol=1e-14)


def test_layerwise_dog_knows_each_tensor_alone():
    parameters, alone = start([(4, 3), (5,)]), start([(4, 3), (5,)])
    together = ep.optim.DoG(parameters, scope="tensor", first=0.1)
    apart = [ep.optim.DoG([p], first=0.1) for p in alone]
    for k in range(5):
        for p, q, g in zip(parameters, alone, gradients(parameters, k), strict=True):
            p.grad, q.grad = g.clone(), g.clone()
        for optimizer in (together, *apart):
            optimizer.step()
    for p, q in zip(parameters, alone, strict=True):
        assert torch.allclose(p, q, atol=1e-14)


@pytest.mark.parametrize(("name", "value"), [("d0", 0.0), ("growth", 0.9), ("beta2", 1.0)])
def test_numbers_out_of_range_are_named(name, value):
    with pytest.raises(ArgumentError, match=name):
        ep.optim.dadapt_adam(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("first", 0.0), ("eps", -1.0), ("scope", "row"), ("weight_decay", -1.0)])
def test_dogs_numbers_out_of_range_are_named(name, value):
    with pytest.raises(ArgumentError, match=name):
        ep.optim.dog(**{name: value})
