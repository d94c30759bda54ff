"""Duality maps against the definition of each norm and of its dual; norms by role; masses."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.optim.dion import Dion
from equipoise.optim.steepest_descent import NORMS, SteepestDescent, steepest_descent
from equipoise.scaling.modular_norm import in_series, layer, target_norms
from oracles.optim import steepest_descent as oracle
from unit.optim.noise import as_numpy, gradients, start, train

EXACT = {"ns_coefficients": "cubic", "ns_steps": 40, "precision": "parameter"}


def norm_of(x, norm):
    """The norms themselves, by their definitions."""
    o, i = x.shape
    return {
        "max_entry": abs(x).max(),
        "spectral": np.linalg.norm(x, 2),
        "rms_to_rms": np.linalg.norm(x, 2) * np.sqrt(i / o),
        "row_rms": np.sqrt((x * x).mean(1)).max(),
        "rms_to_max": np.sqrt(i) * np.linalg.norm(x, axis=1).max(),
        "rms": np.sqrt((x * x).mean()),
        "column_rms": np.sqrt((x * x).mean(0)).max(),
    }[norm]


def dual_norm_of(g, norm):
    o, i = g.shape
    return {
        "max_entry": abs(g).sum(),
        "spectral": np.linalg.norm(g, "nuc"),
        "rms_to_rms": np.linalg.norm(g, "nuc") * np.sqrt(o / i),
        "row_rms": np.sqrt(i) * np.linalg.norm(g, axis=1).sum(),
        "rms_to_max": np.linalg.norm(g, axis=1).sum() / np.sqrt(i),
        "rms": np.sqrt(g.size) * np.linalg.norm(g),
        "column_rms": np.sqrt(o) * np.linalg.norm(g, axis=0).sum(),
    }[norm]


def first_step(shape, norm, seed=0, lr=0.1, **words):
    """Minus a first step over lr, and its gradient."""
    (p,) = start([shape], seed=seed)
    (g,) = start([shape], seed=seed + 1)
    before, p.grad = p.detach().clone(), g.detach().clone()
    SteepestDescent([p], lr=lr, norm=norm, **{**EXACT, **words}).step()
    return ((before - p.detach()) / lr).numpy(), g.detach().numpy()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5), (1, 3)])
def test_a_step_has_norm_one_and_no_other_such_step_goes_down_faster(norm, shape):
    t, g = first_step(shape, norm)
    assert norm_of(t, norm) == pytest.approx(1.0, abs=1e-9)
    assert (g * t).sum() == pytest.approx(dual_norm_of(g, norm), rel=1e-9)
    others = np.random.default_rng(0).standard_normal((50, *shape))
    assert all((g * x).sum() / norm_of(x, norm) < (g * t).sum() for x in others)


@pytest.mark.parametrize("norm", NORMS)
def test_with_its_dual_length_a_step_minimises_the_quadratic_bound(norm):
    t, g = first_step((4, 6), norm)
    d, _ = first_step((4, 6), norm, dual=True)
    assert abs(d - dual_norm_of(g, norm) * t).max() < 1e-9
    bound = {k: -k * (g * d).sum() + norm_of(k * d, norm) ** 2 / 2 for k in (0.9, 1.0, 1.1)}
    assert bound[1.0] == pytest.approx(-(dual_norm_of(g, norm) ** 2) / 2)
    assert bound[1.0] < min(bound[0.9], bound[1.1])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("most", [np.inf, 0.8])
def test_paths_equal_the_oracle(norm, most):
    values = {"lr": 0.05, "momentum": 0.7, "weight_decay": 0.1, "norm": norm, "mass": 0.5, "most": most, **EXACT}
    parameters = start([(4, 6), (6, 4), (3, 2, 2, 2), (5,), ()])
    grads = [as_numpy(gradients(parameters, k)) for k in range(6)]
    wanted = [oracle.run(p, [g[i] for g in grads], **values) for i, p in enumerate(as_numpy(parameters))]
    train(ep.Optimizer(parameters, steepest_descent(**values)), parameters, 6)
    for p, w in zip(as_numpy(parameters), wanted, strict=True):
        assert abs(p - w).max() < 1e-11


@settings(max_examples=20, deadline=None)
@given(norm=st.sampled_from(NORMS), scale=st.floats(1e-3, 1e3))
def test_the_scale_of_the_loss_does_not_show(norm, scale):
    ends = []
    for factor in (1.0, scale):
        (p,) = start([(4, 6)])
        optimizer = SteepestDescent([p], norm=norm, **EXACT)
        for k in range(3):
            p.grad = factor * gradients([p], k)[0]
            optimizer.step()
        ends.append(p.detach())
    assert torch.allclose(*ends, rtol=1e-9)


def test_simpler_methods_are_special_cases():
    """arXiv:2409.20325: sign descent is the largest entry's; Shampoo without accumulation the spectral norm's."""
    t, g = first_step((4, 6), "max_entry")
    assert np.array_equal(t.round(9), np.sign(g))
    t, g = first_step((4, 6), "spectral")
    left, right = (np.linalg.eigh(x) for x in (g @ g.T, g.T @ g))
    inverse = [(v * np.where(s > 1e-9, s, np.inf) ** -0.25) @ v.T for s, v in (left, right)]
    assert abs(inverse[0] @ g @ inverse[1] - t).max() < 1e-9


def test_rows_without_gradient_stay():
    p = torch.nn.Parameter(torch.zeros(3, 4))
    p.grad = torch.tensor([[0.0] * 4, [2.0] * 4, [1e-3] * 4])
    SteepestDescent([p], lr=1.0, norm="row_rms", most=10.0).step()
    assert torch.allclose(p.detach()[:, 0], torch.tensor([0.0, -1.0, -1e-2]))


def test_columns_are_those_of_the_matrices_that_the_view_has():
    """Of a convolution one per input of a window; of a split projection one per part."""
    t, g = first_step((4, 3, 2, 2), "column_rms")
    assert np.allclose((t * t).mean(0), 1.0)
    assert np.allclose(t * np.sqrt((g * g).mean(0)), g)
    t, _ = first_step((6, 4), "column_rms", matrix_view="split:2")
    assert np.allclose((t.reshape(2, 3, 4) ** 2).mean(1), 1.0)


def test_columns_without_gradient_stay_and_columns_are_rows_turned():
    p, q = torch.nn.Parameter(torch.zeros(4, 3)), torch.nn.Parameter(torch.zeros(3, 4))
    p.grad = torch.tensor([0.0, 2.0, 1e-3]).expand(4, 3).clone()
    q.grad = p.grad.T.clone()
    SteepestDescent([p], lr=1.0, norm="column_rms", most=10.0).step()
    SteepestDescent([q], lr=1.0, norm="row_rms", most=10.0).step()
    assert torch.allclose(p.detach()[0], torch.tensor([0.0, -1.0, -1e-2]))
    assert torch.allclose(p.detach().T, q.detach())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.hidden = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 7)


def norms_and_decays(optimizer):
    names = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return lambda p: (names[id(p)]["norm"], names[id(p)]["weight_decay"], names[id(p)]["mass"])


def test_a_model_gets_norms_by_role():
    net = Net()
    given = norms_and_decays(SteepestDescent(net, weight_decay=0.1, verbose=False))
    assert given(net.embed.weight) == given(net.head.weight) == ("row_rms", 0.1, 1.0)
    assert given(net.hidden.weight) == ("rms_to_rms", 0.1, 1.0)
    assert given(net.hidden.bias)[1] == given(net.norm.weight)[1] == 0.0


def test_a_rule_adds_to_what_the_role_gives():
    net = Net()
    masses = target_norms(in_series(layer("embed"), layer("hidden", mass=2.0), layer("head")))
    rules = {re.compile(f"^{name}"): {"mass": mass} for name, mass in masses.items()}
    given = norms_and_decays(SteepestDescent(net, weight_decay=0.1, rules=rules, verbose=False))
    assert given(net.embed.weight) == ("row_rms", 0.1, 0.25)
    assert given(net.hidden.weight) == ("rms_to_rms", 0.1, 0.5)
    assert given(net.hidden.bias) == ("rms_to_rms", 0.0, 0.5)
    with pytest.raises(Exception, match="no parameter matched"):
        SteepestDescent(net, rules={"conv": {"mass": 2.0}}, verbose=False)


def test_dion_gives_embeddings_and_heads_to_adamw():
    net = Net()
    optimizer = Dion(net, lr=0.1, adamw_lr=0.003, verbose=False)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert "right_factor" in optimizer.state[net.hidden.weight]
    for p in (net.embed.weight, net.head.weight, net.norm.weight):
        assert set(optimizer.state[p]) == {"step", "exp_avg", "exp_avg_sq"}
        group = next(g for g in optimizer.param_groups if any(p is q for q in g["params"]))
        assert group["lr"] == 0.003
    with pytest.raises(ArgumentError, match="rotation"):
        Dion(net, adamw_lr="rotation", verbose=False)


def test_what_it_refuses():
    with pytest.raises(ArgumentError, match="norm"):
        steepest_descent(norm="nuclear")
    with pytest.raises(ArgumentError, match="mass"):
        steepest_descent(mass=-1.0)
