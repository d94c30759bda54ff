"""Caps on singular values against the SVD, and what LipschitzMuon holds at every step."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.core.linalg.spectral_caps import hard_cap, soft_cap, soft_strength
from equipoise.optim.lipschitz_muon import LipschitzMuon
from laws.subjects import start
from oracles.core import spectral_caps as oracle


def stack(shape, seed=0, scale=1.0):
    return scale * start([shape], seed=seed)[0].detach()


@pytest.mark.parametrize(("bound", "alpha"), [(1.1, 0.158864), (1.01, 0.058025), (1.0, 0.0), (0.5, 0.0)])
def test_the_strength_of_the_soft_cap(bound, alpha):
    assert soft_strength(bound, 1.0) == pytest.approx(alpha, abs=1e-6)
    assert soft_strength(3 * bound, 3.0) == pytest.approx(alpha / 9, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(cap=st.floats(0.1, 10.0), excess=st.floats(1.0, 1.28))
@example(cap=1.0, excess=1 + 2**-52)
def test_the_strength_is_the_root_of_the_published_polynomial(cap, excess):
    assert soft_strength(cap * excess, cap) == pytest.approx(
        oracle.soft_strength(cap * excess, cap), rel=1e-5, abs=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(cap=st.floats(0.1, 10.0), excess=st.floats(1.0, 2.5))
def test_nothing_below_the_bound_ends_above_the_cap(cap, excess):
    bound = cap * excess
    s = oracle.soft(np.linspace(0, bound, 2001), soft_strength(bound, cap))
    assert abs(s).max() <= cap * (1 + 1e-9)


def test_where_decay_outweighs_the_step_nothing_is_shrunk():
    """The authors' code falls back to strength 1 there."""
    assert soft_strength(1.0 * (1 - 0.1 * 2.0) + 0.1, 1.0) == 0.0


def test_a_step_beyond_all_strengths_is_refused():
    with pytest.raises(ArgumentError, match="learning rate"):
        soft_strength(3.0, 1.0)


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 4, 9), (1, 6, 6)])
def test_soft_and_hard_caps_equal_their_maps_of_singular_values(shape):
    x = stack(shape, scale=0.3)
    alpha = torch.full((shape[0], 1, 1), 0.1, dtype=torch.float64)
    for k in range(shape[0]):
        matrix = x[k].numpy()
        assert abs(soft_cap(x, alpha)[k].numpy() - oracle.by_svd(matrix, lambda s: oracle.soft(s, 0.1))).max() < 1e-12
        assert abs(hard_cap(x)[k].numpy() - oracle.by_svd(matrix, oracle.hard)).max() < 1e-12


def test_the_hard_cap_is_near_the_minimum_of_one_and_the_value():
    s = np.linspace(0, 3, 3001)
    assert oracle.hard(s).max() < 1.011
    assert abs(oracle.hard(s) - np.minimum(1, s)).max() < 0.035


def capped(kind, w, steps=16, times=1, **group):
    """A chain that does nothing but cap the weight."""
    p = nn.Parameter(w.clone())
    hyper = {"lr": 0.0, "weight_decay": 0.0, "w_max": 0.8, "spectral_decay": 0.25, **group}
    made = ep.chain(ep.stages.apply(), ep.stages.spectral_cap(kind=kind, steps=steps), hyper=hyper)
    optimizer = ep.Optimizer([p], made)
    for _ in range(times):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    return p.detach().numpy()


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 6)])
@pytest.mark.parametrize("kind", ["hammer", "normalize", "decay", "clip", "stiefel"])
def test_caps_of_a_weight_equal_their_laws(kind, shape):
    w, size = stack(shape).numpy(), np.sqrt(shape[0] / shape[1])
    cap, got = 0.8 * size, capped(kind, torch.from_numpy(w), steps=2000)
    _, s, _ = np.linalg.svd(w)
    wanted = {
        "hammer": np.append(cap, s[1:]),
        "normalize": s * min(1.0, cap / s[0]),
        "decay": np.append(0.75 * s[0], s[1:]),
        "clip": np.minimum(s, cap),
        "stiefel": np.full_like(s, cap),
    }[kind]
    assert abs(got - oracle.by_svd(w, lambda _: wanted)).max() < (0.03 if kind == "stiefel" else 1e-9)


def test_a_kept_vector_makes_few_iterations_enough():
    """One product a step finds the largest singular value after many steps, though not after one."""
    w = torch.from_numpy(oracle.by_svd(stack((20, 30)).numpy(), lambda s: np.append(2.0, 0.05 * s[1:])))
    cap = 0.8 * np.sqrt(20 / 30)
    once = np.linalg.svd(capped("hammer", w, steps=1), compute_uv=False)
    often = np.linalg.svd(capped("hammer", w, steps=1, times=15), compute_uv=False)
    assert abs(once[0] - cap) > 1e-2
    assert often[0] == pytest.approx(cap, rel=1e-6)


@pytest.mark.parametrize("kind", ["hammer", "normalize", "clip", "stiefel", "soft", "hard"])
def test_a_weight_of_zeros_stays_one(kind):
    assert (capped(kind, torch.zeros(4, 6, dtype=torch.float64)) == 0).all()


@pytest.mark.parametrize("precision", ["parameter", "bf16"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("cap", ["soft", "clip", "normalize"])
def test_weights_never_leave_the_ball(cap, weight_decay, precision):
    p = nn.Parameter(torch.zeros(12, 8, dtype=torch.float64))
    bound = 0.8 * np.sqrt(12 / 8)
    p.data.copy_(stack((12, 8)))  # from far outside: the first step brings it in
    optimizer = LipschitzMuon([p], lr=0.1, weight_decay=weight_decay, cap=cap, w_max=0.8, precision=precision)
    room = 1e-2 if cap == "normalize" else 1e-9  # 16 products with the Gram matrix find the largest to this
    g = stack((12, 8))
    for k in range(30):
        p.grad = g + 0.3 * stack((12, 8), seed=k)
        optimizer.step()
        assert torch.linalg.matrix_norm(p.detach(), 2) <= bound * (1 + room)
    assert torch.linalg.matrix_norm(p.detach(), 2) > 0.8 * bound


def test_the_product_of_the_bounds_bounds_the_network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 16, bias=False), nn.ReLU(), nn.Linear(16, 4, bias=False)).double()
    for p in net.parameters():
        p.data.zero_()
    optimizer = LipschitzMuon(net.parameters(), lr=0.2, w_max=1.0, cap="soft")
    for k in range(15):
        for p in net.parameters():
            p.grad = stack(p.shape, seed=k)
        optimizer.step()
    x, y = stack((50, 10)), stack((50, 10), seed=1)
    apart, before = net(x) - net(y), x - y
    slope = (apart.square().mean(1) / before.square().mean(1)).sqrt()
    assert 0 < slope.max() <= 1.0


@pytest.mark.parametrize(
    ("values", "words"),
    [({"cap": "firm"}, "cap"), ({"w_max": 0.0}, "w_max"), ({"spectral_decay": -1.0}, "spectral_decay")],
)
def test_what_does_not_fit_is_refused(values, words):
    with pytest.raises(ArgumentError, match=words):
        LipschitzMuon(start([(3, 3)]), **values)
