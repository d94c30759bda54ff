"""Trace the step into a graph with symbolic lengths, which is compiled or run as it is.

A step with barriers becomes several graphs, its phases. Every phase starts from p, g and state; all but the last only
compute what the next barrier asks for, and write nothing but what `early` says. Sums over rows are taken once and
handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from equipoise.core.chain import Chain
from equipoise.core.handed_on import Rows
from equipoise.core.measure import sums
from equipoise.core.numerics import compute_dtype
from equipoise.core.stage import Extent, Partial, StateSpec
from equipoise.core.step import BARRIERS, Reduced, Request, coefs_of, run_until, steps, whole_sum

# What a compiler sizes its loops for: large ones are worth two threads, small ones are not. Unequal, so that no two
# extents share a symbol; odd, because an extent that equals the length of a vector register gets fixed to it.
_HINTS = {1: ((1 << 20) + 7,), 2: (1033, 1543)}
_SMALL_HINTS = {1: (517,), 2: (29, 37)}
_STRIDE = 16
# Rows are traced as apart in memory, by even numbers that no two tensors share: were they not, the compiler would make
# one long loop of rows and columns, which it cannot join with a loop that sums rows.
_APART = 1024
EXTENT, _HALF = 4, 1 << 24
# Not 0-D: AOTAutograd takes a float64 number on the CPU for a Python float, and would specialise on its value.
SCALAR_IN_LISTS = (1,)


@dataclass(frozen=True)
class Layout:
    """What a kernel is specialised on. Lengths of tensors are not part of it.

    `rank` is 1 for tensors flattened in memory order, 2 for [rows, rest] where the chain sums.
    `state_dtypes` are those of the state that kernels hold. `small` asks for loops that run on one thread,
    `measured` for sums of what the step did (see `measure`). `apart` are levels that other processes have a part in;
    with `spread` the table ends in four columns that tell the extent of each tensor (see `extent_row`).
    """

    chain: Chain
    rank: int
    p_dtype: torch.dtype
    g_dtype: torch.dtype
    state_dtypes: tuple[torch.dtype, ...]
    device: torch.device
    small: bool = False
    measured: bool = False
    apart: tuple[str, ...] = ()
    spread: bool = False

    @property
    def width(self) -> int:
        """Columns of a coefficient table: the learning rate, the coefficients, and the extent of what is spread."""
        return 1 + len(self.chain.coef_names()) + (EXTENT if self.spread else 0)

    @property
    def specs(self) -> list[StateSpec]:
        """The state that kernels hold."""
        return [spec for _, _, spec in self.chain.kernel_keys()]

    @property
    def barriers(self) -> int:
        """How many times a step must stop: phases are one more."""
        return sum(stage.reduction in (*BARRIERS, *self.apart) for stage in self.chain.stages)


def extent_row(count: int, per_row: int, first: int) -> list[float]:
    """The extent of one tensor, as columns that float32 holds; first in two parts, since it must be exact."""
    return [count, per_row, first // _HALF, first % _HALF]


def _extent(columns: Sequence[Tensor]) -> Extent:
    count, per_row, high, low = columns
    return Extent(count, per_row, high.to(torch.int64) * _HALF + low.to(torch.int64))


@dataclass(frozen=True)
class Known:
    """The answer to an earlier barrier, as a phase is given it: columns of the table ("global"), or tensors.

    `dtypes`: of tensors, as they come; the phase computes with them in the compute dtype. `rows`: stage and name of
    what the phase before that barrier found of every row, columns of one more tensor.
    """

    level: str
    names: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...] = ()
    rows: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Asked:
    """What a phase hands out: scalars as columns of its result, and tensors written to buffers of this dtype.

    `rows`: what it hands on of every row (see `Known`). `again`: whether it reads a tensor twice, because something of
    its size follows from a reduction.
    """

    index: int = -1
    scalars: tuple[tuple[str, str], ...] = ()
    tensors: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32
    rows: tuple[tuple[int, str], ...] = ()
    again: bool = False

    @property
    def thresholds(self) -> bool:
        """Whether the tensors are values of which a threshold is asked."""
        return any(kind == "top" for _, kind in self.scalars)


def scalar_kinds(asked: Asked, layout: Layout) -> list[str]:
    """How the scalars that a phase hands out are joined: "sum", or by the largest."""
    if asked.index < 0:
        return ["sum"] * 5 if layout.measured else []
    return [kind for _, kind in asked.scalars]


def answered(layout: Layout, asked: Asked) -> Known:
    """The answer to what a phase asks for, where that is numbers."""
    return Known(layout.chain.stages[asked.index].reduction, tuple(name for name, _ in asked.scalars), rows=asked.rows)


def _lerp(start: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """A moving average in two operations; torch's own form costs a comparison and a blend more per element."""
    return start + weight * (end - start)


_CHEAPER = {torch.ops.aten.lerp.Tensor: _lerp, torch.ops.aten.lerp.Scalar: _lerp}


def trace_list(
    layout: Layout, length: int, known: Sequence[Known] = (), early: Sequence[int] = ()
) -> tuple[GraphModule, Asked]:
    """One phase over `length` tensors: `(p..., g..., state..., given..., out..., table) -> (scalars, rows...)`.

    `state...` is grouped by name, scalars as [1]; `given...` are tensors of earlier answers and `out...` buffers for
    what is asked, both grouped by name and shaped like p, but for what earlier phases found of rows; `table` is
    [length, width + known scalars] in the compute dtype. The last phase writes p and state in place, another one the
    state at the places `early`.

    Returns:
        The graph, and what it hands out: `scalars` is [length, len(asked.scalars)], or [length, 5] from the last phase
        when the step is measured; of each tensor [rows, len(asked.rows)]. What would have no columns is left out.
    """
    asked = asked_at(layout, known)
    shapes = [spec.shape for spec in layout.specs]
    width = layout.width + sum(len(answer.names) for answer in known if answer.level != "matrix")
    come = [own for answer in known for own in _come(answer, compute_dtype(layout.p_dtype))]
    given = len(come)
    groups = 2 + len(shapes) + given + len(asked.tensors)

    def step_list(*args: Tensor) -> tuple[Tensor, ...]:
        columns = [args[k * length : (k + 1) * length] for k in range(groups)]
        found = []
        for i, row in enumerate(args[-1].unbind(0)):
            row = row.view(width)  # in so many words: torch's cache takes graphs for one that differ in this alone
            p, g, *rest = [column[i] for column in columns]
            state, rest = rest[: len(shapes)], rest[len(shapes) :]
            state = [s.view(()) if shape == "scalar" else s for s, shape in zip(state, shapes, strict=True)]
            outs = rest[given:]
            found.append(_phase(layout, asked, known, early, p, g, state, rest[:given], outs, row))
        scalars = (torch.stack([torch.stack(own) for own, _ in found]),) if found[0][0] else ()
        return (*scalars, *[torch.cat(rows, 1) for _, rows in found if rows])

    more = come + [(0, asked.dtype)] * len(asked.tensors)
    columns = zip(*[_examples(layout, i, SCALAR_IN_LISTS, more) for i in range(length)], strict=True)
    table = torch.empty(length, width, dtype=compute_dtype(layout.p_dtype), device=layout.device)
    traced = make_fx(step_list, tracing_mode="symbolic", decomposition_table=_CHEAPER)
    return traced(*[t for column in columns for t in column], table), asked


def asked_at(layout: Layout, known: Sequence[Known]) -> Asked:
    """What the phase after `known` asks for, found by running it without numbers; nothing in the last phase."""
    meta = torch.device("meta")
    p, g, *state = [t.to(meta) for t in _examples(layout, 0, (), small=True)]
    dtype = compute_dtype(layout.p_dtype)
    scalar, like = torch.empty((), dtype=dtype, device=meta), torch.empty_like(p, dtype=dtype)
    extent = _extent([scalar] * EXTENT) if layout.spread else None
    coefs = [scalar] * len(layout.chain.coef_names())
    answers = [_answer(dict.fromkeys(answer.names, like if answer.level == "matrix" else scalar)) for answer in known]
    rows = Rows({key: like[..., :1] for answer in known for key in answer.rows})
    outcome = run_until(steps(layout.chain, p, g, state, coefs, scalar, extent), answers, layout.apart, rows)
    if not isinstance(outcome, Request):
        return Asked(again=layout.measured or rows.swept)
    handed = tuple(rows.found) if layout.rank == 2 else ()
    return replace(_asked(outcome, dtype), rows=handed, again=rows.swept and not rows.small(outcome))


def _asked(request: Request, dtype: torch.dtype) -> Asked:
    stage, partials = request.stage, request.partials
    if stage.reduction == "matrix":
        return Asked(request.index, (), tuple(partials), stage.solve_dtype or dtype)
    tops = tuple(name for name, partial in partials.items() if partial.kind == "top")
    return Asked(request.index, tuple((name, partial.kind) for name, partial in partials.items()), tops, dtype)


def _come(answer: Known, dtype: torch.dtype) -> list[tuple[int, torch.dtype]]:
    """Tensors of one answer: columns, 0 for those of the parameter's shape, and dtype."""
    handed = [(len(answer.rows), dtype)] if answer.rows else []
    return [(0, own) for own in answer.dtypes] + handed


def _answer(values: Mapping[str, Tensor]) -> Callable[[], Reduced]:
    return lambda: SimpleNamespace(**values)


def _phase(
    layout: Layout,
    asked: Asked,
    known: Sequence[Known],
    early: Sequence[int],
    p: Tensor,
    g: Tensor,
    state: Sequence[Tensor],
    given: Sequence[Tensor],
    out: Sequence[Tensor],
    row: Tensor,
) -> tuple[list[Tensor], list[Tensor]]:
    """Trace one tensor's part of a phase; returns its scalars, and what it hands on of its rows."""
    eta, all_coefs = coefs_of(row, compute_dtype(p.dtype))
    coefs, extra = all_coefs[: layout.width - 1], iter(all_coefs[layout.width - 1 :])
    extent = None
    if layout.spread:
        coefs, extent = coefs[:-EXTENT], _extent(coefs[-EXTENT:])
    tensors, answers, rows = iter([tensor.to(compute_dtype(p.dtype)) for tensor in given]), [], Rows({})
    for answer in known:
        answers.append(_answer({n: next(tensors if answer.level == "matrix" else extra) for n in answer.names}))
        if answer.rows:
            rows.given |= dict(zip(answer.rows, next(tensors).split([1] * len(answer.rows), 1), strict=True))
    outcome = run_until(steps(layout.chain, p, g, state, coefs, eta, extent), answers, layout.apart, rows)
    if not isinstance(outcome, Request):
        found = _sums(p, g, outcome[0]) if layout.measured else []
        write(layout, p, state, *outcome)
        return found, []
    for buffer, name in zip(out, asked.tensors, strict=True):
        buffer.copy_(outcome.partials[name].value)
    for k in early:
        if outcome.state[k] is not state[k]:
            state[k].copy_(outcome.state[k])
    scalars = [_scalar(outcome.partials[name], row) for name, _ in asked.scalars]
    return scalars, [rows.found[key] for key in asked.rows]


def _sums(p: Tensor, g: Tensor, new_p: Tensor) -> list[Tensor]:
    """What the step did to one tensor, as it will be stored."""
    w = p.to(new_p.dtype)
    return sums(w, g.to(w.dtype), new_p.to(p.dtype).to(w.dtype) - w, whole_sum)


def _scalar(partial: Partial, like: Tensor) -> Tensor:
    """One tensor's part of a global reduction; for "top" the share that is asked for."""
    if partial.kind == "top":
        share = partial.share
        return share if isinstance(share, Tensor) else torch.full((), share, dtype=torch.float32, device=like.device)
    return whole_sum(partial.value) if partial.kind == "sum" else partial.value.amax()


def write(layout: Layout, p: Tensor, state: Sequence[Tensor], new_p: Tensor, new_state: Sequence[Tensor]) -> None:
    """The end of a step: p, and state that is not frozen."""
    p.copy_(new_p)
    for spec, old, new in zip(layout.specs, state, new_state, strict=True):
        if not spec.frozen:
            old.copy_(new)


def _examples(
    layout: Layout,
    i: int,
    scalar_shape: tuple[int, ...],
    more: Sequence[tuple[int, torch.dtype]] = (),
    *,
    small: bool = False,
) -> list[Tensor]:
    """Parameter, gradient, state of the i-th tensor, and tensors like p, or with so many columns, of the dtypes in
    `more`; memory is reserved, never touched."""
    hints = (6, 4)[: layout.rank] if small else (_SMALL_HINTS if layout.small else _HINTS)[layout.rank]
    shape = tuple(hint + _STRIDE * i for hint in hints)
    shapes = {"param": shape, "scalar": scalar_shape, "row": (shape[0], 1)[: layout.rank]}
    wanted = [(shape, layout.p_dtype), (shape, layout.g_dtype)]
    wanted += [(shapes[spec.shape], dtype) for spec, dtype in zip(layout.specs, layout.state_dtypes, strict=True)]
    wanted += [((shape[0], columns) if columns else shape, dtype) for columns, dtype in more]
    lie = [
        own if small or own != shape else (*own[:-1], own[-1] + _APART * (k + 1)) for k, (own, _) in enumerate(wanted)
    ]
    made = [torch.empty(own, dtype=dtype, device=layout.device) for own, (_, dtype) in zip(lie, wanted, strict=True)]
    return [t[..., : own[-1]] if own else t for t, (own, _) in zip(made, wanted, strict=True)]
