"""Invariants that the methods' pages declare, on random inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import equipoise as ep
from laws.subjects import start

SEEDS = st.integers(0, 10_000)


def one_step(make, seed, orthogonal=False, shape=(6, 4)):
    """Weight before, weight after and gradient of a first step; the gradient orthogonal to each row when asked."""
    (p,) = start([shape], seed=seed)
    g = start([shape], seed=seed + 1)[0].detach()
    if orthogonal:
        w = p.detach()
        g = g - w * (w * g).sum(1, keepdim=True) / (w * w).sum(1, keepdim=True)
    before = p.detach().clone()
    p.grad = g.clone()
    make([p]).step()
    return before, p.detach(), g


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, lr=st.floats(1e-3, 1.0))
def test_adamp_steps_at_a_right_angle_where_the_gradient_does(seed, lr):
    before, after, _ = one_step(lambda p: ep.optim.AdamP(p, lr=lr), seed, orthogonal=True)
    step = after - before
    assert (before * step).sum(1).abs().max() < 1e-6 * lr
    assert torch.allclose((after**2).sum(), (before**2).sum() + (step**2).sum(), rtol=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_adamp_is_adamw_bit_for_bit_where_the_test_does_not_fire(seed):
    values = {"lr": 0.1, "weight_decay": 0.3}
    ours = one_step(lambda p: ep.optim.AdamP(p, delta=0.0, **values), seed)[1]
    assert torch.equal(ours, one_step(lambda p: ep.optim.AdamW(p, **values), seed)[1])


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
@pytest.mark.parametrize("kind", [ep.optim.Grams, ep.optim.CautiousAdamW])
def test_the_step_never_climbs(kind, seed):
    (p,) = start([(6, 4)], seed=seed)
    optimizer = kind([p], lr=0.1)
    for k in range(4):
        before, g = p.detach().clone(), start([(6, 4)], seed=seed + k + 1)[0].detach()
        p.grad = g.clone()
        optimizer.step()
        step = p.detach() - before
        assert (step * g).max() <= 0
    if kind is ep.optim.CautiousAdamW:
        assert ((step == 0) | (step * g < 0)).all()


def test_grams_leaves_coordinates_without_gradient():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = ep.optim.Grams([p], lr=0.1)
    for g in ([1.0, 1.0, 1.0], [1.0, 0.0, -1.0]):
        before = p.detach().clone()
        p.grad = torch.tensor(g)
        optimizer.step()
    assert (p.detach() != before).tolist() == [True, False, True]


def test_cautious_with_full_agreement_is_the_identity_or_nearly():
    from equipoise.stages import apply, cautious

    for form, factor in (("mean", 1.0), ("count", 6 / 7)):
        p = torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
        p.grad = torch.arange(1.0, 7.0, dtype=torch.float64).view(2, 3)
        ep.Optimizer([p], ep.chain(cautious(form=form), apply(), hyper={"lr": 1.0})).step()
        assert torch.allclose(-p.detach(), factor * p.grad)
