"""Law: what a measured step says is what it did, whoever runs it, and measuring changes nothing."""

import math

import numpy as np
import pytest
import torch

import equipoise as ep
from equipoise.core import kernels, run_blocked
from equipoise.core.entry import RunnerChoice
from equipoise.core.measure import measured
from equipoise.core.optimizer import Optimizer
from laws.subjects import OPTIMS, as_numpy, chain_of, gradients, start, train

SHAPES = [(7, 5), (2,), (40, 9), (4, 3, 2, 2), (1, 1), (), (6, 8)]


def wanted(w, new, g):
    """The definitions, in NumPy."""
    d, size = new - w, np.linalg.norm
    w, d, g = w.ravel(), d.ravel(), g.ravel()
    with np.errstate(all="ignore"):
        cosine = w @ (w + d) / (size(w) * size(w + d))
        return {
            "weight_norm": size(w),
            "grad_norm": size(g),
            "step_norm": size(d),
            "step_ratio": size(d) / size(w),
            "cos_weight": -(w @ d) / (size(w) * size(d)),
            "cos_grad": -(g @ d) / (size(g) * size(d)),
            "angle": math.acos(max(-1.0, min(1.0, cosine))),
        }


def measured_step(name, runner, dtype=torch.float64):
    parameters = start(SHAPES, dtype=dtype)
    optimizer = Optimizer(parameters, chain_of(name), runner=runner)
    optimizer._choice = RunnerChoice(runner, "test", backend="aot_eager")
    train(optimizer, parameters, 2)
    before = as_numpy([p.detach().clone() for p in parameters])
    optimizer.measure()
    train(optimizer, parameters, 1, first=2)
    assert list(optimizer.measured) == [f"group0.{i}" for i in range(len(SHAPES))]
    rows = zip(before, as_numpy(parameters), as_numpy(gradients(parameters, 2)), strict=True)
    return parameters, optimizer, [wanted(*row) for row in rows]


def assert_measured(optimizer, expected):
    for ours, theirs in zip(optimizer.measured.values(), expected, strict=True):
        for key, value in theirs.items():
            if not math.isnan(value):
                assert getattr(ours, key) == pytest.approx(value, rel=1e-6, abs=2e-7), key


@pytest.mark.parametrize("runner", ["reference", "blocked"])
@pytest.mark.parametrize("name", OPTIMS)
def test_says_what_the_step_did_and_changes_nothing(name, runner, monkeypatch):
    monkeypatch.setattr(run_blocked, "BLOCK", 100)
    parameters, optimizer, expected = measured_step(name, runner)
    assert_measured(optimizer, expected)
    twins = start(SHAPES)
    twin = Optimizer(twins, chain_of(name), runner=runner)
    train(twin, twins, 3)
    assert all(torch.equal(a, b) for a, b in zip(parameters, twins, strict=True))
    assert twin.measured == {}


@pytest.mark.parametrize("name", ["adamw", "lamb", "adamp", "muon", "gsm"])
def test_compiled_steps_are_measured_by_kernels_of_their_own(name):
    parameters = start(SHAPES)
    plain = Optimizer(parameters, chain_of(name), runner="fused")
    plain._choice = RunnerChoice("fused", "test", backend="aot_eager")
    train(plain, parameters, 2)
    before = kernels.kernels()
    _, optimizer, expected = measured_step(name, "fused")
    assert_measured(optimizer, expected)
    new = [kernel for kernel in kernels.kernels() if kernel not in before]
    assert new
    assert all(kernel.layout.measured for kernel in new), "the kernels of other steps are the very same"


@pytest.mark.parametrize("runner", ["reference", "blocked"])
def test_of_16_bit_parameters_the_stored_step_is_measured(runner):
    _, optimizer, expected = measured_step("adamw", runner, torch.bfloat16)
    for ours, theirs in zip(optimizer.measured.values(), expected, strict=True):
        assert ours.step_norm == pytest.approx(theirs["step_norm"], rel=1e-5)


def test_one_step_is_measured():
    (p,) = start([(6, 4)])
    optimizer = ep.optim.SGD([p], lr=0.5)
    optimizer.measure()
    train(optimizer, [p], 1)
    first = optimizer.measured["group0.0"]
    assert first.cos_grad == pytest.approx(1.0)
    assert first.step_norm == pytest.approx(0.5 * first.grad_norm)
    train(optimizer, [p], 1)
    assert optimizer.measured["group0.0"] is first


def test_the_angle_of_a_tiny_turn_is_exact():
    """acos of a cosine would give 0 here."""
    turn = 1e-9
    assert measured([1.0, 1.0, turn**2, 0.0, 0.0]).angle == pytest.approx(turn)
    assert math.isnan(measured([0.0, 1.0, 1.0, 0.0, -1.0]).angle)
    assert math.isnan(measured([0.0, 1.0, 1.0, 0.0, -1.0]).cos_weight)
