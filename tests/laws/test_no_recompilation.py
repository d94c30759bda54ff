"""Law: after its second step an optimizer compiles nothing, whatever schedules, resets and counts of steps do."""

from typing import Any

import pytest
import torch

import equipoise as ep
from equipoise.core import kernels
from equipoise.core.entry import RunnerChoice
from equipoise.core.optimizer import Optimizer
from laws.subjects import OPTIMS, VALUES, chain_of, start, train

SHAPES = [(7, 5), (6, 4), (7,), (9,)]
STEPS = 7
# What changes in mid-run in each: schedules alone, peak learning rate, rectification, resets, the switch to a sphere,
# refreshed bases, slow weights, a step size that is found, a renewed pattern, a bound that sets in, a cap's strength.
KINDS = ["adamw", "sgdw", "radam", "stable_spam", "lawn", "soap", "ranger21", "prodigy", "cast", "adam_cpr"]
KINDS += ["lipschitz_muon", "schedule_free_adamw"]


def scheduled(name):
    """The method with every number that may hold a schedule moving at every step."""
    made = OPTIMS[name].factory
    assert made is not None
    values = {**{k: v for k, v in chain_of(name).hyper.items() if isinstance(v, float)}, **VALUES[name]}
    peak, decay = float(values["lr"]), float(values.get("weight_decay", 0.0))
    chain = chain_of(name)
    moving = {
        "lr": ep.schedules.cosine(peak, total_steps=STEPS + 2, warmup_steps=3),
        "weight_decay": ep.schedules.linear(decay + 0.01, total_steps=STEPS + 2),
        "momentum": ep.schedules.one_cycle_momentum(0.9, total_steps=STEPS + 2, least=0.8),
    }
    known: dict[str, Any] = {key: value for key, value in moving.items() if key in chain.hyper}
    if "betas" in chain.hyper:
        low = ep.schedules.one_cycle_momentum(0.9, total_steps=STEPS + 2, least=0.8)
        known["betas"] = (low, chain.hyper["betas"][1])
    return ep.chain(chain, hyper=known, otherwise=chain.otherwise)


def compiled_after(optimizer, parameters, monkeypatch, change=lambda optimizer, step: None):
    """Graphs compiled up to the end of each step."""
    count = []
    real = kernels.BACKENDS["aot_eager"]
    monkeypatch.setattr(kernels, "_KERNELS", {})
    monkeypatch.setitem(kernels.BACKENDS, "aot_eager", lambda *a: count.append(1) or real(*a))
    optimizer._choice = RunnerChoice("fused", "test", length=2, backend="aot_eager")
    after = []
    for step in range(STEPS):
        change(optimizer, step)
        train(optimizer, parameters, 1, first=step)
        after.append(len(count))
    return after


def check(name, monkeypatch):
    parameters = start(SHAPES)
    optimizer = Optimizer(parameters, scheduled(name), runner="fused")
    rates = []
    after = compiled_after(optimizer, parameters, monkeypatch, lambda o, _: rates.append(o.param_groups[0]["lr"]))
    assert after[1] > 0
    assert after[1:] == [after[1]] * (STEPS - 1)
    assert len(set(rates)) >= STEPS - 2  # the schedule moved


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_compiled_after_the_second_step(name, monkeypatch):
    check(name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPTIMS if name not in KINDS])
def test_nor_by_any_other_method(name, monkeypatch):
    check(name, monkeypatch)


def test_a_reset_and_a_torch_scheduler_compile_nothing(monkeypatch):
    parameters = start(SHAPES)
    optimizer = ep.optim.AdamW(parameters, lr=0.1, runner="fused")
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    ep.optim.reset_momentum(optimizer, every=3)
    after = compiled_after(optimizer, parameters, monkeypatch, lambda o, step: scheduler.step() if step else None)
    assert after[0] > 0
    assert set(after) == {after[0]}


def test_the_law_can_fail(monkeypatch):
    """Another kind of step in mid-run is compiled, and counted."""
    parameters = start(SHAPES)
    optimizer = ep.optim.AdamW(parameters, lr=0.1, runner="fused")

    def change(optimizer, step):
        if step == 4:
            optimizer.param_groups[0]["mask"] = "cautious"

    after = compiled_after(optimizer, parameters, monkeypatch, change)
    assert after[3] < after[4]
