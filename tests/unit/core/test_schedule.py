"""Schedules: end points, agreement with torch's, ownership of their key, and resume."""

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.core.hyper import peak_lr
from equipoise.core.schedule import constant, cosine, one_cycle, warmup, wsd


def test_end_points():
    ramp = warmup(2.0, steps=4)
    assert [ramp(t) for t in (1, 4, 9)] == [0.5, 2.0, 2.0]
    half = cosine(1.0, total_steps=10, warmup_steps=2, final=0.1)
    assert half(2) == half.peak == 1.0
    assert half(10) == pytest.approx(0.1)
    flat = wsd(1.0, total_steps=10, warmup_steps=2, decay_steps=4)
    assert [flat(t) for t in (1, 2, 6, 8, 10)] == [0.5, 1.0, 1.0, 0.5, 0.0]
    assert constant(3.0)(7) == 3.0


def test_one_cycle_is_torchs():
    p = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=40, cycle_momentum=False)
    ours = one_cycle(0.5, total_steps=40)
    for step in range(1, 41):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        if step < 40:
            p.grad = torch.zeros(1)
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize(
    ("make", "named"),
    [(lambda: warmup(1.0, steps=0), "steps"), (lambda: cosine(1.0, total_steps=2.5), "total_steps"),
     (lambda: wsd(1.0, total_steps=5, warmup_steps=3, decay_steps=3), "warmup_steps")],
)  # fmt: skip
def test_bad_lengths_are_named(make, named):
    with pytest.raises(ArgumentError, match=named):
        make()


def step(optimizer, p):
    p.grad = torch.zeros_like(p)
    optimizer.step()
    return optimizer.param_groups[0]


def test_a_schedule_writes_its_key_each_step_and_refuses_other_writers():
    p = nn.Parameter(torch.ones(2))
    optimizer = ep.optim.AdamW([p], lr=cosine(1.0, total_steps=4, warmup_steps=2), weight_decay=warmup(0.4, steps=4))
    seen = [(g["lr"], g["weight_decay"]) for g in (step(optimizer, p).copy() for _ in range(3))]
    assert seen == [(0.5, pytest.approx(0.1)), (1.0, pytest.approx(0.2)), (0.5, pytest.approx(0.3))]
    optimizer.param_groups[0]["lr"] = 0.7
    with pytest.raises(ArgumentError, match=r"'lr'.*0\.7.*cosine.*Remove the torch scheduler"):
        step(optimizer, p)


def test_a_decay_schedule_survives_a_resume():
    def make(p):
        return ep.optim.AdamW([p], lr=0.0, weight_decay=warmup(0.8, steps=8))

    p = nn.Parameter(torch.ones(2))
    optimizer = make(p)
    for _ in range(3):
        step(optimizer, p)
    fresh = make(p)
    fresh.load_state_dict(optimizer.state_dict())
    assert step(fresh, p)["weight_decay"] == pytest.approx(0.4)


def test_peak_lr_is_never_read_off_a_step():
    p = nn.Parameter(torch.ones(2))
    optimizer = ep.optim.AdamW([p], lr=0.3, law="independent")
    torch.optim.lr_scheduler.LinearLR(optimizer, 0.1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.03)
    assert peak_lr(optimizer.param_groups[0]) == 0.3
    optimizer = ep.optim.AdamW([p], lr=0.3, law="independent")
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    assert peak_lr(optimizer.param_groups[0]) == 0.5
    assert peak_lr(ep.optim.AdamW([p], lr=0.3, peak_lr=0.9).param_groups[0]) == 0.9
    with pytest.raises(ArgumentError, match="peak_lr"):
        ep.optim.AdamW([p], lr=0.0, law="independent")


def test_one_cycle_cycles_our_momentum():
    p = nn.Parameter(torch.ones(2))
    for optimizer, read in (
        (ep.optim.AdamW([p], lr=0.1), lambda g: g["betas"][0]),
        (ep.optim.SGD([p], lr=0.1, momentum=0.9), lambda g: g["momentum"]),
    ):
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
        assert read(optimizer.param_groups[0]) == 0.95
