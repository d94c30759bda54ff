"""The step of one parameter as a function: load registers, run the stages, hand back what changes.

All runners run this same code: eagerly per tensor, traced and replayed in slices, or traced and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise._errors import ChainError
from equipoise.core.chain import Chain
from equipoise.core.numerics import compute_dtype
from equipoise.core.stage import Extent, Partial, Registers, Stage

Reduced = SimpleNamespace
BARRIERS = ("global", "matrix")  # levels that one tensor cannot answer by itself


@dataclass(frozen=True)
class Request:
    """What a stage asks of the engine: its partials reduced, or, at level "matrix", solved.

    `state` is that of kernels so far: new values of the stages before this one, old ones of the others.
    """

    index: int
    stage: Stage
    partials: dict[str, Partial]
    state: Sequence[Tensor] = ()


Step = Generator[Request, Reduced, "tuple[Tensor, list[Tensor]]"]
Here = Callable[[Request], Reduced]


def steps(
    chain: Chain,
    p: Tensor,
    g: Tensor,
    state: Sequence[Tensor],
    coefs: Sequence[Tensor],
    eta: Tensor,
    extent: Extent | None = None,
) -> Step:
    """Run a chain on one parameter; stop at each reduction, yield a Request and wait for the reduced values.

    Args:
        chain: a complete chain.
        p, g: parameter and gradient, one shape, real.
        state: tensors in the order of `chain.kernel_keys()`; shaped like p, one per row, or 0-D.
        coefs: 0-D, in the order of `chain.coef_names()`, in the compute dtype.
        eta: learning rate, 0-D, in the compute dtype.
        extent: of the whole parameter, where p is a part of it.

    Returns:
        The new p and the new state, in the compute dtype.

    Raises:
        ChainError: a stage returned other state than it declares.
    """
    dtype = compute_dtype(p.dtype)
    r = Registers(p.to(dtype), g.to(dtype), eta, p.dtype, extent)
    keys = chain.kernel_keys()
    new = {key: tensor.to(dtype) for (_, key, _), tensor in zip(keys, state, strict=True)}
    given = {"p": r.p, **new}
    for index, (stage, own, c) in enumerate(stage_inputs(chain, coefs)):
        s = SimpleNamespace(**{name: new[key] for name, key in own.items()})
        extra = ()
        if stage.partials is not None:
            extra = ((yield Request(index, stage, stage.partials(r, s, c), [new[key] for _, key, _ in keys])),)
        registers, written = stage.update(r, s, c, *extra)
        _check_written(stage, own, written)
        r.write(registers)
        new.update({own[name]: value for name, value in written.items()})
        if stage.rounds is not None:
            dtypes = {key: tensor.dtype for (_, key, _), tensor in zip(keys, state, strict=True)}
            new.update(_rounded(stage.rounds, chain, new, dtypes, r.index, c))
    return r.p, [_own(key, new[key], given) for _, key, _ in keys]


def _rounded(
    rounds: Callable[..., Tensor],
    chain: Chain,
    new: dict[str, Tensor],
    dtypes: dict[str, torch.dtype],
    index: Tensor,
    c: SimpleNamespace,
) -> dict[str, Tensor]:
    """State shaped like the parameter that is kept in a shorter dtype than it is computed in."""
    keys = [key for _, key, spec in chain.kernel_keys() if spec.shape == "param" and not spec.frozen]
    short = [key for key in keys if dtypes[key] != new[key].dtype]
    return {key: rounds(new[key], dtypes[key], index, c, place + 1) for place, key in enumerate(short)}


def _own(key: str, value: Tensor, given: dict[str, Tensor]) -> Tensor:
    """The new value of a state tensor; a copy where it is the old value of another one, which gets written."""
    return value.clone() if any(value is tensor for name, tensor in given.items() if name != key) else value


def _check_written(stage: Stage, own: dict[str, str], written: dict[str, Tensor]) -> None:
    must = {spec.name for spec in stage.state if spec.name in own and not spec.frozen}
    if not must <= set(written) <= set(own):
        raise ChainError(f"state that stage {stage.name} returned", sorted(written), f"{sorted(must)}")


def stage_inputs(chain: Chain, coefs: Sequence[Tensor]) -> list[tuple[Stage, dict[str, str], SimpleNamespace]]:
    """For each stage: itself, names -> flat keys of the state that kernels hold, and its coefficients."""
    named: list[dict[str, Tensor]] = [{} for _ in chain.stages]
    for (index, name), value in zip(chain.coef_names(), coefs, strict=True):
        named[index][name] = value
    keys = iter(chain.kernel_keys())
    rows = []
    for stage, values in zip(chain.stages, named, strict=True):
        own = {spec.name: next(keys)[1] for spec in stage.state if spec.shape != "free"}
        rows.append((stage, own, SimpleNamespace(**values)))
    return rows


def reduce_here(request: Request) -> Reduced:
    """Reduce partials of level row or tensor within one tensor. Rows keep their axes, so results broadcast."""
    level = request.stage.reduction
    return SimpleNamespace(**{name: _reduce(part, level) for name, part in request.partials.items()})


def _reduce(partial: Partial, level: str) -> Tensor:
    value = partial.value
    if level == "row" and value.ndim > 1:
        axes = list(range(1, value.ndim))
        return value.sum(axes, keepdim=True) if partial.kind == "sum" else value.amax(axes, keepdim=True)
    if level == "row":
        return value
    return whole_sum(value) if partial.kind == "sum" else value.amax()


def whole_sum(value: Tensor) -> Tensor:
    """The sum of a tensor; of rows first, so that kernels need no compensated sums for it."""
    return value.sum(1).sum() if value.ndim == 2 else value.sum()


def advance(
    step: Step, reply: Reduced | None, apart: Sequence[str] = (), here: Here = reduce_here
) -> Request | tuple[Tensor, list[Tensor]]:
    """Drive a step, answering what its own tensor can answer (`here`), to its next barrier or to its end.

    `apart`: levels whose answer lies partly with other processes.
    """
    while True:
        try:
            request = step.send(reply)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value
        if request.stage.reduction in BARRIERS or request.stage.reduction in apart:
            return request
        reply = here(request)


def run_until(
    step: Step, answers: Sequence[Callable[[], Reduced]], apart: Sequence[str] = (), here: Here = reduce_here
) -> Request | tuple[Tensor, list[Tensor]]:
    """Drive a step past as many barriers as there are answers, to the next barrier or to its end."""
    outcome = advance(step, None, apart, here)
    for answer in answers:
        outcome = advance(step, answer(), apart, here)
    return outcome


def coefs_of(row: Tensor, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """One row of a coefficient table (float64, first entry the learning rate) as eta and coefficients in `dtype`."""
    eta, *coefs = row.to(dtype).unbind(0)
    return eta, coefs
