"""Torch's hooks and names around a step, as for any of torch's optimizers."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile

import equipoise as ep


@pytest.fixture
def optimizer():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    return ep.optim.AdamW([p], lr=0.1)


def test_a_profiler_sees_the_step_by_torchs_name(optimizer):
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        optimizer.step()
    assert "Optimizer.step#AdamW.step" in {event.name for event in seen.events()}


def test_hooks_of_the_optimizer_and_of_all_run_around_the_step_and_can_be_removed(optimizer):
    told, weight = [], optimizer.param_groups[0]["params"][0]
    note = lambda word: lambda *_: told.append((word, weight[0].item() < 1.0))
    handles = [
        register_optimizer_step_pre_hook(note("all, before")),
        optimizer.register_step_pre_hook(note("own, before")),
        optimizer.register_step_post_hook(note("own, after")),
        register_optimizer_step_post_hook(note("all, after")),
    ]
    optimizer.step()
    assert told == [("all, before", False), ("own, before", False), ("own, after", True), ("all, after", True)]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(told) == 4


def test_a_pre_hook_may_give_the_step_other_arguments(optimizer):
    optimizer.register_step_pre_hook(lambda own, args, words: ((own, lambda: torch.tensor(7.0)), {}))
    assert optimizer.step().item() == 7.0
