"""The closed forms against the numbers of the derivation, and against seeded random walks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from equipoise._errors import ArgumentError
from equipoise.scaling.equilibrium import adam_l2, adamw, equilibrium, lion, lion_noise, sgdm
from equipoise.scaling.inversion import (
    decay_for_rotation,
    decay_for_timescale,
    eps_for_denominator,
    init_rms_without_transient,
)
from equipoise.scaling.norm_path import norm_path
from equipoise.scaling.timescale import timescale

N = 4000  # coordinates of a simulated weight


def test_adamw_numbers() -> None:
    found = adamw(lr=3e-4, weight_decay=0.1, beta1=0.9, numel=1)
    assert found.weight_norm == pytest.approx(0.03873, rel=5e-4)
    assert found.rotation == pytest.approx(1.7770e-3, rel=1e-4)
    assert found.relaxation_steps == pytest.approx(16_667, rel=1e-4)
    assert adamw(lr=1e-3, weight_decay=0.1, beta1=0.9, numel=1).rotation == pytest.approx(3.2444e-3, rel=1e-4)
    assert adamw(lr=1e-2, weight_decay=0.1, beta1=0.9, numel=20_000).weight_norm == pytest.approx(31.482, abs=1e-3)


def test_sgdm_numbers() -> None:
    found = sgdm(lr=0.1, weight_decay=5e-4, momentum=0.9, gradient_scale=1.0)
    assert found.rotation == pytest.approx(7.2548e-3, rel=1e-4)
    assert found.relaxation_steps == pytest.approx(500)


def test_lion_numbers() -> None:
    assert lion_noise(0.9, 0.99) == pytest.approx(0.0140704, rel=1e-5)
    found = lion(lr=1e-4, weight_decay=1.0, beta1=0.9, beta2=0.99, numel=1)
    # The simple forms are the limit of small lr * weight_decay.
    assert found.rotation == pytest.approx(2.10246e-3, rel=5e-3)
    simple = math.sqrt(1e-4 / (math.pi * lion_noise(0.9, 0.99)))
    assert simple == pytest.approx(0.047563, rel=1e-4)
    assert found.weight_norm == pytest.approx(simple, rel=5e-3)


def test_inversion_is_the_inverse() -> None:
    assert decay_for_rotation(rotation=1e-3, lr=3e-4, beta1=0.9) == pytest.approx(0.031667, rel=1e-4)
    decay = decay_for_rotation(rotation=2e-3, lr=0.1, momentum=0.9)
    assert sgdm(lr=0.1, weight_decay=decay, momentum=0.9, gradient_scale=1.0).rotation == pytest.approx(2e-3)
    assert decay_for_timescale(steps=300, lr=1e-3) == pytest.approx(10 / 3)
    settled = adamw(lr=1e-3, weight_decay=0.1, beta1=0.9, numel=1).weight_norm
    assert init_rms_without_transient(lr=1e-3, weight_decay=0.1) == pytest.approx(settled, rel=1e-3)
    assert eps_for_denominator(median_root=1e-6, eps=1e-8) == pytest.approx(1e-8)
    assert eps_for_denominator(median_root=1e-8, eps=1e-8) == pytest.approx(1e-10)


def test_timescale_numbers() -> None:
    found = timescale(lr=3e-4, weight_decay=0.1, total_steps=10_000, steps_per_epoch=1000)
    assert found.steps == pytest.approx(33_333, rel=1e-4)
    assert found.epochs == pytest.approx(33.333, rel=1e-4)
    assert found.survival == pytest.approx((1 - 3e-5) ** 10_000, rel=1e-4)
    cosine = timescale(lr=1e-3, weight_decay=0.1, total_steps=20_000, mean_lr_share=0.5)
    assert cosine.survival == pytest.approx(0.36786, rel=1e-4)
    assert timescale(lr=1e-3, weight_decay=0.0).steps == math.inf


@pytest.mark.parametrize(("name", "value"), [("method", "adamv"), ("lr", 0.0), ("weight_decay", -0.1), ("numel", 0)])
def test_wrong_arguments_are_named(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=name):
        equilibrium(**{name: value})  # pyright: ignore[reportArgumentType]


def test_a_decay_that_eats_the_weight_is_refused() -> None:
    with pytest.raises(ArgumentError, match="weight_decay"):
        timescale(lr=10.0, weight_decay=0.5)


def _angle(old: np.ndarray, new: np.ndarray) -> float:
    cos = old @ new / (np.linalg.norm(old) * np.linalg.norm(new))
    return float(np.arccos(np.clip(cos, -1, 1)))


def _walk(step, norm: float, steps: int, seed: int = 0) -> tuple[float, float]:
    """Random walk of a scale-invariant weight that starts at `norm`: mean norm and angle of its second half."""
    random = np.random.default_rng(seed)
    w = random.standard_normal(N)
    w *= norm / np.linalg.norm(w)
    norms, angles, state = [], [], {}
    for t in range(1, steps + 1):
        g = random.standard_normal(N)
        g -= w * (g @ w) / (w @ w)
        g *= 1 / (np.linalg.norm(g) * np.linalg.norm(w))  # |g| |w| = 1
        old = w
        w = step(w, g, state, t)
        if t > steps // 2:
            norms.append(np.linalg.norm(w))
            angles.append(_angle(old, w))
    return float(np.mean(norms)), float(np.mean(angles))


def _adam(decoupled: bool, lr: float, decay: float, beta1: float = 0.9, beta2: float = 0.99):
    def step(w, g, state, t):
        g = g if decoupled else g + decay * w
        state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * g
        state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g**2
        u = state["m"] / (1 - beta1**t) / np.sqrt(state["v"] / (1 - beta2**t) + 1e-30)
        return w * (1 - lr * decay if decoupled else 1) - lr * u

    return step


def test_random_walk_of_sgdm() -> None:
    lr, decay, alpha = 0.1, 0.02, 0.9
    told = sgdm(lr=lr, weight_decay=decay, momentum=alpha, gradient_scale=1.0)

    def step(w, g, state, _t):
        state["b"] = alpha * state.get("b", 0.0) + g + decay * w
        return w - lr * state["b"]

    norm, angle = _walk(step, told.weight_norm, 1500)
    assert norm == pytest.approx(told.weight_norm, rel=0.01)
    assert angle == pytest.approx(told.rotation, rel=0.02)


def test_random_walk_of_adamw() -> None:
    told = adamw(lr=1e-2, weight_decay=0.5, beta1=0.9, numel=N)
    norm, angle = _walk(_adam(True, 1e-2, 0.5), told.weight_norm, 1200)
    assert norm == pytest.approx(told.weight_norm, rel=0.02)
    assert angle == pytest.approx(told.rotation, rel=0.02)


def test_random_walk_of_adam_with_l2() -> None:
    decay = 1e-6
    told = adam_l2(lr=1e-2, weight_decay=decay, beta1=0.9, numel=N, gradient_scale=1.0)
    norm, angle = _walk(_adam(False, 1e-2, decay), told.weight_norm, 1200)
    assert norm == pytest.approx(told.weight_norm, rel=0.03)
    assert angle == pytest.approx(told.rotation, rel=0.03)


def test_random_walk_of_lion() -> None:
    lr, decay, beta1, beta2 = 1e-2, 0.5, 0.9, 0.99
    told = lion(lr=lr, weight_decay=decay, beta1=beta1, beta2=beta2, numel=N)

    def step(w, g, state, _t):
        m = state.get("m", np.zeros(N))
        state["m"] = beta2 * m + (1 - beta2) * g
        return w * (1 - lr * decay) - lr * np.sign(beta1 * m + (1 - beta1) * g)

    norm, angle = _walk(step, told.weight_norm, 1500)
    assert norm == pytest.approx(told.weight_norm, rel=0.03)
    assert angle == pytest.approx(told.rotation, rel=0.02)


def test_the_walk_tells_a_wrong_law() -> None:
    told = adamw(lr=1e-2, weight_decay=0.5, beta1=0.9, numel=N)
    norm, _ = _walk(_adam(True, 1e-2, 1.0), told.weight_norm, 800)
    assert norm != pytest.approx(told.weight_norm, rel=0.1)


def test_norm_path_without_decay_is_the_growth_law() -> None:
    steps, start = 2000, 1.5
    adam = norm_path(start=start, steps=steps, method="adamw", lr=1e-2, numel=N)
    assert adam[-1] == pytest.approx(math.sqrt(start**2 + 1e-4 * N * steps), rel=1e-9)
    sgd = norm_path(start=start, steps=steps, method="sgdm", lr=0.1, momentum=0.9, gradient_scale=2.0)
    assert sgd[-1] == pytest.approx((start**4 + 2 * 0.1**2 * 4 * steps / 0.01) ** 0.25, rel=5e-3)


@pytest.mark.parametrize("method", ["sgdm", "adamw", "adam_l2", "lion"])
def test_norm_path_ends_in_equilibrium(method: str) -> None:
    known = {"method": method, "lr": 1e-2, "weight_decay": 0.1, "numel": 100, "gradient_scale": 3.0}
    settled = equilibrium(**known).weight_norm  # pyright: ignore[reportArgumentType]
    path = norm_path(start=3 * settled, steps=20_000, **known)  # pyright: ignore[reportArgumentType]
    assert path[-1] == pytest.approx(settled, rel=0.01)
    assert path[0] == pytest.approx(3 * settled)


def test_norm_path_refuses_a_zero_weight() -> None:
    with pytest.raises(ArgumentError, match="start"):
        norm_path(start=0.0)
