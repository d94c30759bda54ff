"""The slow honest runner: one tensor at a time, eager, shapes as they are. Every other runner must equal it.

Reductions over one tensor are answered at once; at matrix stages, at reductions over all parameters and at whatever
other processes have a part in, it waits (see `lockstep`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise.core.chain import Chain
from equipoise.core.lockstep import Answer, Engine, Ready, Share, Wait
from equipoise.core.measure import dots
from equipoise.core.numerics import compute_dtype
from equipoise.core.stage import Extent, Partial
from equipoise.core.step import Reduced, Request, Step, advance, coefs_of, steps


@dataclass
class Job:
    """One parameter to step: tensors are real views, written in place when the step is done.

    `state` holds what kernels hold, in the order of `chain.kernel_keys()`; `free` the free state by flat key. `extent`
    tells the whole that `p` is a part of, and `apart` the levels that other processes have a part in.
    """

    chain: Chain
    p: Tensor
    g: Tensor
    state: Sequence[Tensor]
    row: Tensor
    member: int = 0
    view: str = "rows"
    free: Mapping[str, Tensor] = field(default_factory=dict)
    measured: bool = False
    extent: Extent | None = None
    apart: tuple[str, ...] = ()
    sums: list[float] = field(default_factory=list)

    def start(self) -> Step:
        """The step, not yet begun."""
        eta, coefs = coefs_of(self.row.to(self.p.device), compute_dtype(self.p.dtype))
        return steps(self.chain, self.p, self.g, self.state, coefs, eta, self.extent)


def run_reference(job: Job) -> Engine:
    """Step one tensor. It is written when all others have everything too, so an error before leaves it untouched."""
    step = job.start()
    outcome = advance(step, None, job.apart)
    while isinstance(outcome, Request):
        answer = yield _wait(job, outcome)
        assert answer is not None
        outcome = advance(step, _reduced(answer, job), job.apart)
    yield Ready()
    _store(job, *outcome)


def _wait(job: Job, request: Request) -> Wait:
    level, dtype = request.stage.reduction, compute_dtype(job.p.dtype)
    parts = {name: _share(partial, level) for name, partial in request.partials.items()}
    return Wait(
        job.chain, request.index, [job.member], parts, spread=level in job.apart, rows=job.row[None], views=[job.view],
        free=[job.free], dtype=dtype,
    )  # fmt: skip


def _share(partial: Partial, level: str) -> Share:
    if partial.kind == "top":
        return Share("top", again=[partial.value], share=[float(partial.share)])
    value = partial.value if partial.kind == "whole" else _reduce(partial, level)
    return Share(partial.kind, [value], by_row=partial.by_row)


def _reduce(partial: Partial, level: str) -> Tensor:
    """What this process knows of a sum or a maximum; nothing at all is 0, or minus infinity."""
    value = partial.value
    axes = list(range(1, value.ndim)) if level == "row" else list(range(value.ndim))
    if partial.kind == "sum":
        return value.sum(axes, keepdim=level == "row") if axes else value
    if any(value.shape[axis] == 0 for axis in axes):
        shape = [1 if axis in axes else extent for axis, extent in enumerate(value.shape)] if level == "row" else []
        return value.new_full(shape, -torch.inf)
    return value.amax(axes, keepdim=level == "row") if axes else value


def _reduced(answer: Answer, job: Job) -> Reduced:
    """The answer for this tensor, where and as it computes."""
    values = {
        name: value if isinstance(value, Tensor) and value.ndim == 0 else value[0] for name, value in answer.items()
    }
    return SimpleNamespace(**{name: v.to(job.p.device, compute_dtype(job.p.dtype)) for name, v in values.items()})


def _store(job: Job, p: Tensor, state: list[Tensor]) -> None:
    if job.measured:
        w = job.p.double().flatten()
        job.sums = dots(w, job.g.double().flatten(), p.to(job.p.dtype).double().flatten() - w).tolist()
    job.p.copy_(p)
    for old, new in zip(job.state, state, strict=True):
        if old is not new:
            old.copy_(new)
