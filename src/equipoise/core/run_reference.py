"""The slow honest runner: one tensor at a time, eager, shapes as they are. Every other runner must equal it.

Reductions over one tensor are answered at once. A global reduction is a barrier: all parameters run up to it, their
partials are reduced together, and all go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise.core.chain import Chain
from equipoise.core.numerics import compute_dtype
from equipoise.core.stage import Partial, Stage
from equipoise.core.step import Reduced, Step, coefs_of, reduce_here, steps


@dataclass
class Job:
    """One parameter to step: tensors are real views, written in place when the step is done."""

    chain: Chain
    p: Tensor
    g: Tensor
    state: Sequence[Tensor]
    row: Tensor


def run_reference(jobs: Sequence[Job]) -> None:
    """Step every job. State and parameters are written after all reads, so an error leaves them untouched."""
    running = [_start(job) for job in jobs]
    done: list[tuple[Tensor, list[Tensor]] | None] = [None] * len(jobs)
    waiting: dict[int, tuple[Stage, dict[str, Partial]]] = {}
    replies: dict[int, Reduced | None] = dict.fromkeys(range(len(jobs)))
    while replies:
        for i, reply in replies.items():
            outcome = _until_global(running[i], reply)
            if outcome[0] is None:
                done[i] = outcome[1]  # type: ignore[assignment]
            else:
                waiting[i] = outcome  # type: ignore[assignment]
        replies, waiting = _reduce_globally(waiting), {}
    for job, result in zip(jobs, done, strict=True):
        assert result is not None
        _store(job, *result)


def _start(job: Job) -> Step:
    eta, coefs = coefs_of(job.row.to(job.p.device), compute_dtype(job.p.dtype))
    return steps(job.chain, job.p, job.g, job.state, coefs, eta)


def _until_global(step: Step, reply: Reduced | None) -> tuple[Stage | None, object]:
    while True:
        try:
            stage, partials = step.send(reply)  # type: ignore[arg-type]
        except StopIteration as stop:
            return None, stop.value
        if stage.reduction == "global":
            return stage, partials
        reply = reduce_here(stage, partials)


def _reduce_globally(waiting: dict[int, tuple[Stage, dict[str, Partial]]]) -> dict[int, Reduced | None]:
    """Answer everyone who waits; jobs that wait at the same stage share one sum."""
    together: dict[object, list[dict[str, Partial]]] = {}
    for stage, partials in waiting.values():
        together.setdefault(stage.key, []).append(partials)
    answers = {key: _combine(parts) for key, parts in together.items()}
    return {
        i: _on_device(answers[stage.key], next(iter(partials.values())).value)
        for i, (stage, partials) in waiting.items()
    }


def _combine(parts: list[dict[str, Partial]]) -> dict[str, Tensor]:
    reduced = {}
    for name, first in parts[0].items():
        values = [part[name].value for part in parts]
        if first.kind == "sum":
            reduced[name] = torch.stack([v.sum().double().cpu() for v in values]).sum()
        else:
            reduced[name] = torch.stack([v.amax().double().cpu() for v in values]).amax()
    return reduced


def _on_device(values: dict[str, Tensor], like: Tensor) -> Reduced:
    return SimpleNamespace(**{name: value.to(like) for name, value in values.items()})


def _store(job: Job, p: Tensor, state: list[Tensor]) -> None:
    job.p.copy_(p)
    for old, new in zip(job.state, state, strict=True):
        if old is not new:
            old.copy_(new)
