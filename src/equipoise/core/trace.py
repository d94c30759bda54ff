"""Trace the step into a graph with symbolic lengths, for the runners that replay or compile it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from equipoise.core.chain import Chain
from equipoise.core.numerics import compute_dtype
from equipoise.core.step import coefs_of, run_alone, steps

# Large, so that a compiler sizes its loops for real work; unequal, so that no two extents share a symbol.
_HINTS = {1: (1 << 20,), 2: (1 << 10, 3 << 9)}
_STRIDE = 16
# Not 0-D: AOTAutograd takes a float64 number on the CPU for a Python float, and would specialise on its value.
SCALAR_IN_LISTS = (1,)


@dataclass(frozen=True)
class Layout:
    """What a kernel is specialised on. Lengths of tensors are not part of it.

    `rank` is 1 for tensors flattened in memory order, 2 for [rows, rest] where the chain reduces over rows.
    """

    chain: Chain
    rank: int
    p_dtype: torch.dtype
    g_dtype: torch.dtype
    state_dtypes: tuple[torch.dtype, ...]
    device: torch.device

    @property
    def width(self) -> int:
        """Columns of a coefficient table: the learning rate and the coefficients."""
        return 1 + len(self.chain.coef_names())


def trace_list(layout: Layout, length: int) -> GraphModule:
    """A graph `(p..., g..., state..., table) -> ()` over `length` tensors that writes p and state in place.

    `state...` is grouped by name, scalars as [1]; `table` is [length, width] float64.
    """
    scalar = _scalars(layout)

    def step_list(*args: Tensor) -> tuple[()]:
        columns = [args[k * length : (k + 1) * length] for k in range(2 + len(layout.state_dtypes))]
        for i, row in enumerate(args[-1].unbind(0)):
            p, g, *state = [column[i] for column in columns]
            state = [s.view(()) if is_scalar else s for s, is_scalar in zip(state, scalar, strict=True)]
            eta, coefs = coefs_of(row, compute_dtype(p.dtype))
            _step(layout.chain, p, g, state, coefs, eta)
        return ()

    columns = zip(*[_examples(layout, i, SCALAR_IN_LISTS) for i in range(length)], strict=True)
    table = torch.empty(length, layout.width, dtype=torch.float64, device=layout.device)
    return make_fx(step_list, tracing_mode="symbolic")(*[t for column in columns for t in column], table)


def trace_one(layout: Layout) -> GraphModule:
    """A graph `(p, g, *state, eta, *coefs) -> ()` over one tensor; coefficients are 0-D, in the compute dtype."""

    def step_one(p: Tensor, g: Tensor, *rest: Tensor) -> tuple[()]:
        state, (eta, *coefs) = rest[: len(layout.state_dtypes)], rest[len(layout.state_dtypes) :]
        _step(layout.chain, p, g, state, coefs, eta)
        return ()

    scalar = torch.empty((), dtype=compute_dtype(layout.p_dtype), device=layout.device)
    return make_fx(step_one, tracing_mode="symbolic")(
        *_examples(layout, 0, ()), *[scalar.clone() for _ in range(layout.width)]
    )


def _step(chain: Chain, p: Tensor, g: Tensor, state: Sequence[Tensor], coefs: Sequence[Tensor], eta: Tensor) -> None:
    new_p, new_state = run_alone(steps(chain, p, g, state, coefs, eta))
    p.copy_(new_p)
    for (_, _, spec), old, new in zip(chain.state_keys(), state, new_state, strict=True):
        if spec.init != "param":  # a frozen copy is only read
            old.copy_(new)


def _scalars(layout: Layout) -> list[bool]:
    return [spec.init == "scalar" for _, _, spec in layout.chain.state_keys()]


def _examples(layout: Layout, i: int, scalar_shape: tuple[int, ...]) -> list[Tensor]:
    """Parameter, gradient and state of the i-th tensor; memory is reserved, never touched."""
    shape = tuple(hint + _STRIDE * i for hint in _HINTS[layout.rank])
    dtypes = [layout.p_dtype, layout.g_dtype, *layout.state_dtypes]
    shapes = [scalar_shape if scalar else shape for scalar in (False, False, *_scalars(layout))]
    return [torch.empty(shape, dtype=dtype, device=layout.device) for shape, dtype in zip(shapes, dtypes, strict=True)]
