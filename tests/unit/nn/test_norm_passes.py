"""Hand-written passes against the plain formulas: values, gradients and their gradients, and who gets the plain one."""

from __future__ import annotations

import copy

import pytest
import torch

import equipoise.nn as en
from equipoise.nn.norms import by_hand as switch
from equipoise.nn.norms.column_sums import column_sums
from equipoise.nn.norms.lengths import lengths
from equipoise.nn.norms.moments import moments
from equipoise.nn.norms.over_length import over_length, plain_over_length
from equipoise.nn.norms.rms_scaled import plain_rms_scaled, rms_scaled
from equipoise.nn.norms.tanh import tanh
from laws.norm_subjects import NORMS, filled, inputs_of, outputs

CONTROLLED = {"power_norm", "online_norm"}  # their backward pass moves state and cannot be differentiated


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [name for name in NORMS if name not in CONTROLLED])
def test_second_derivatives_are_those_of_the_plain_formulas(name, training, monkeypatch):
    layer, found = filled(name).train(training), []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(switch, "DEVICES", ())
        run, inputs = copy.deepcopy(layer), [x.requires_grad_() for x in inputs_of(name)]
        learned = [*inputs, *run.parameters()]
        y = torch.stack([(y.sin() * y).sum() for y in outputs(run, inputs) if y.is_floating_point()]).sum()
        grads = torch.autograd.grad(y, learned, create_graph=True, allow_unused=True)
        again = torch.stack([(g.square() * (g + 1.0)).sum() for g in grads if g is not None]).sum()
        found.append([g for g in (*grads, *torch.autograd.grad(again, learned, allow_unused=True)) if g is not None])
    assert len(found[0]) == len(found[1]) > 0
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("eps", "least"), [(0.0, 0.0), (0.1, 0.0), (0.0, 3.0)])
def test_over_length(eps, least):
    x = (numbers(5, 3, 7) * torch.tensor([0.3, 3.0, 1.0], dtype=torch.float64)[:, None]).requires_grad_()
    gain = numbers(5, 3, 1, seed=1).requires_grad_()
    run = lambda x, gain: over_length(x, gain, eps=eps, least=least)
    torch.testing.assert_close(run(x, gain), plain_over_length(x, gain, eps, least))
    assert torch.autograd.gradcheck(run, (x, gain))
    assert torch.autograd.gradgradcheck(run, (x, gain))
    small = [t.detach().float().requires_grad_() for t in (x, gain)]
    for got, wanted in zip(
        torch.autograd.grad(run(*small).sin().sum(), small),
        torch.autograd.grad(run(x, gain).sin().sum(), (x, gain)),
        strict=True,
    ):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_gain_with_more_axes_than_the_rows_broadcasts():
    x, gain = numbers(4, 7), numbers(3, 4, 1)
    torch.testing.assert_close(over_length(x, gain), gain * x / x.norm(dim=-1, keepdim=True))


def test_a_row_of_zeros_stays_and_has_a_finite_gradient():
    x = torch.zeros(2, 4, requires_grad=True)
    y = over_length(x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert not y.any()
    assert torch.isfinite(grad).all()


def test_rms_scaled():
    x, weight = numbers(5, 3, 7).requires_grad_(), numbers(7, seed=1).requires_grad_()
    run = lambda x, weight: rms_scaled(x, weight, 0.1)
    torch.testing.assert_close(run(x, weight), plain_rms_scaled(x, weight, 0.1))
    assert torch.autograd.gradcheck(run, (x, weight))
    assert torch.autograd.gradgradcheck(run, (x, weight))


@pytest.mark.parametrize("axes", [-1, 0, (0, 2)])
def test_moments_and_lengths(axes):
    x = numbers(4, 3, 5).requires_grad_()
    for a, b in zip(moments(x, axes), torch.var_mean(x, axes, correction=0, keepdim=True)[::-1], strict=True):
        torch.testing.assert_close(a, b)
    every = axes if isinstance(axes, tuple) else (axes,)
    for run in (lambda x: moments(x, axes), lambda x: lengths(x, every)):
        assert torch.autograd.gradcheck(run, x)
        assert torch.autograd.gradgradcheck(run, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_keeps_its_digits_at_both_ends(dtype):
    size = torch.logspace(-30, 2, 200, dtype=torch.float64).to(dtype)
    x = torch.cat([-size, torch.zeros(1, dtype=dtype), size, torch.full((1,), torch.inf, dtype=dtype)])
    wanted = torch.tanh(x.double()) if dtype == torch.float32 else torch.tanh(x)
    torch.testing.assert_close(tanh(x).double(), wanted.double(), rtol=4 * torch.finfo(dtype).eps, atol=0)
    assert torch.isnan(tanh(x.new_tensor([torch.nan]))).all()
    y = numbers(5).requires_grad_()
    assert torch.autograd.gradcheck(tanh, y)
    assert torch.autograd.gradgradcheck(tanh, y)


def test_equal_ghost_batches_are_batch_norms_one_after_the_other():
    ours, theirs, x = en.GhostBatchNorm(3, ghost=4).double(), torch.nn.BatchNorm2d(3).double(), numbers(8, 3, 2, 5)
    torch.testing.assert_close(ours(x), torch.cat([theirs(part) for part in x.split(4)]))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))


def test_column_sums():
    g, x, rows = numbers(6, 4), numbers(6, 4, seed=1), numbers(6, 1, seed=2)
    torch.testing.assert_close(column_sums(g, x, rows), (g * x * rows).sum(0))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # torch's own, on its first jvp
def test_transforms_and_compilers_get_the_plain_formula():
    layer, x = en.ScaleNorm(4).double(), numbers(3, 4)
    rows = torch.func.vmap(layer)(x)
    torch.testing.assert_close(rows, layer(x))
    moved = torch.func.jvp(layer, (x,), (x,))[1]
    torch.testing.assert_close(moved, torch.zeros_like(x), atol=1e-12, rtol=0)  # y(c x) = y(x)
    assert switch.by_hand(x)
    assert not switch.by_hand(x[:0])
    assert not switch.by_hand(x.to("meta"))


def test_the_rms_norm_is_torchs_layer():
    ours, theirs, x = en.rms_norm(8), torch.nn.RMSNorm(8, eps=1e-5), torch.randn(3, 8)
    assert isinstance(ours, torch.nn.RMSNorm)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    with pytest.raises(RuntimeError, match="normalized_shape"):
        ours(torch.randn(3, 7))
