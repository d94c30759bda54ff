"""The step of one parameter as a function: load registers, run the stages, hand back what changes.

All runners run this same code: eagerly per tensor, traced and replayed in slices, or traced and compiled.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise.core.chain import Chain
from equipoise.core.numerics import compute_dtype
from equipoise.core.stage import Partial, Registers, Stage

Reduced = SimpleNamespace
Step = Generator[tuple[Stage, dict[str, Partial]], Reduced, "tuple[Tensor, list[Tensor]]"]


def steps(chain: Chain, p: Tensor, g: Tensor, state: Sequence[Tensor], coefs: Sequence[Tensor], eta: Tensor) -> Step:
    """Run a chain on one parameter; stop at each reduction, yield its partials and wait for the reduced values.

    Args:
        chain: a complete chain.
        p, g: parameter and gradient, one shape, real.
        state: tensors in the order of `chain.state_keys()`; shaped like p, or 0-D.
        coefs: 0-D, in the order of `chain.coef_names()`, in the compute dtype.
        eta: learning rate, 0-D, in the compute dtype.

    Returns:
        The new p and the new state, in the compute dtype.
    """
    dtype = compute_dtype(p.dtype)
    r = Registers(p.to(dtype), g.to(dtype), eta)
    old = {key: tensor.to(dtype) for (_, key, _), tensor in zip(chain.state_keys(), state, strict=True)}
    new: dict[str, Tensor] = {}
    for stage, keys, c in stage_inputs(chain, coefs):
        s = SimpleNamespace(**{name: old[key] for name, key in keys.items()})
        extra = ()
        if stage.partials is not None:
            extra = ((yield stage, stage.partials(r, s, c)),)
        registers, written = stage.update(r, s, c, *extra)
        r.write(registers)
        new.update({keys[name]: value for name, value in written.items()})
    return r.p, [new[key] for _, key, _ in chain.state_keys()]


def stage_inputs(chain: Chain, coefs: Sequence[Tensor]) -> list[tuple[Stage, dict[str, str], SimpleNamespace]]:
    """For each stage: itself, its state names -> flat keys, and its coefficients."""
    named: list[dict[str, Tensor]] = [{} for _ in chain.stages]
    for (index, name), value in zip(chain.coef_names(), coefs, strict=True):
        named[index][name] = value
    keys = iter(chain.state_keys())
    rows = []
    for stage, values in zip(chain.stages, named, strict=True):
        own = {spec.name: next(keys)[1] for spec in stage.state}
        rows.append((stage, own, SimpleNamespace(**values)))
    return rows


def reduce_here(stage: Stage, partials: dict[str, Partial]) -> Reduced:
    """Reduce partials of level row or tensor within one tensor. Rows keep their axes, so results broadcast."""
    return SimpleNamespace(**{name: _reduce(part, stage.reduction) for name, part in partials.items()})


def _reduce(partial: Partial, level: str) -> Tensor:
    value = partial.value
    if level == "row" and value.ndim > 1:
        axes = list(range(1, value.ndim))
        return value.sum(axes, keepdim=True) if partial.kind == "sum" else value.amax(axes, keepdim=True)
    if level == "row":
        return value
    return value.sum() if partial.kind == "sum" else value.amax()


def run_alone(step: Step) -> tuple[Tensor, list[Tensor]]:
    """Drive a step whose reductions are all within its own tensor."""
    reduced: Reduced | None = None
    while True:
        try:
            stage, partials = step.send(reduced)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value
        reduced = reduce_here(stage, partials)


def coefs_of(row: Tensor, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """One row of a coefficient table (float64, first entry the learning rate) as eta and coefficients in `dtype`."""
    eta, *coefs = row.to(dtype).unbind(0)
    return eta, coefs
