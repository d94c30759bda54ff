"""Trace the step for the sliced runner: one phase for every time that all tensors must wait for each other.

A phase starts from p, g and state. What one tensor can answer is asked for once: sums over its rows within each slice,
sums over the whole tensor as numbers that are handed on to the phases after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from equipoise.core.fusion import fuse
from equipoise.core.numerics import compute_dtype
from equipoise.core.stage import Extent, Partial
from equipoise.core.step import Reduced, Request, reduce_here, run_until, steps
from equipoise.core.terms import Fused
from equipoise.core.trace import Asked, Known, Layout, asked_at, write

Key = tuple[int, str]  # a stage's place in its chain, and a name among its partials
_SHAPES = {1: (1009,), 2: (37, 53)}  # unequal, so that no two extents share a symbol


@dataclass(frozen=True)
class Traced:
    """A phase as a fused step.

    Its numbers: the learning rate and coefficients, elements and elements of a row of the tensor, what earlier phases
    found of it (`given`), the answers that all tensors waited for, 0-D state. Its outputs: parts of what is `asked`,
    then what it `found` of each tensor.
    """

    fused: Fused
    asked: Asked
    given: tuple[Key, ...]
    found: tuple[Key, ...]
    sizes: tuple[int, int]


def trace_phase(layout: Layout, known: Sequence[Known], given: Sequence[Key], *, stacked: bool) -> Traced:
    """One phase of a layout.

    Args:
        layout: of the tensors.
        known: which answers it is given.
        given: what earlier phases found of each tensor.
        stacked: whether a slice is a stack of tensors, one in each row; they find their own sums anew.
    """
    asked = asked_at(layout, known)
    sizes = layout.width, layout.width + 1
    tensors, names = 2 + len(layout.specs), [name for answer in known for name in answer.names]
    found: dict[Key, Tensor] = {}

    def phase(*args: Tensor) -> tuple[Tensor, ...]:
        (p, g, *state), (eta, *rest) = args[:tensors], args[tensors:]
        coefs, (count, per_row), rest = rest[: sizes[0] - 1], rest[sizes[0] - 1 : sizes[1]], rest[sizes[1] :]
        here = _Here(layout.rank, dict(zip(given, rest, strict=False)))
        answers, values = [], iter(rest[len(given) :])
        for answer in known:
            reduced = SimpleNamespace(**{name: next(values) for name in answer.names})
            answers.append(lambda reduced=reduced: reduced)
        indexed = any(stage.indexed for stage in layout.chain.stages)
        extent = None if indexed else Extent(count, per_row)
        outcome = run_until(steps(layout.chain, p, g, state, coefs, eta, extent), answers, (), here)
        if isinstance(outcome, Request):
            found.update({} if stacked else here.found)
            outputs = [_whole(partial) for partial in outcome.partials.values()]
            return (*outputs, *found.values())
        write(layout, p, state, *outcome)
        return ()

    scalar = torch.empty((), dtype=compute_dtype(layout.p_dtype), device=layout.device)
    numbers = [scalar.clone() for _ in range(sizes[1] + 1 + len(given) + len(names))]
    graph = make_fx(phase, tracing_mode="symbolic")(*_examples(layout), *numbers)
    graph.graph.eliminate_dead_code()
    scalars = [2 + i for i, spec in enumerate(layout.specs) if spec.shape == "scalar"]
    fused = fuse(graph, tensors, sizes, scalars, stacked=stacked)
    return Traced(fused, asked, tuple(given), tuple(found), sizes)


class _Here:
    """Answers what a tensor can answer by itself; notes what it found of the whole tensor."""

    def __init__(self, rank: int, given: dict[Key, Tensor]) -> None:
        self.rank, self.given, self.found = rank, given, dict[Key, Tensor]()

    def __call__(self, request: Request) -> Reduced:
        if request.stage.reduction == "row":
            return reduce_here(request)
        keys = {name: (request.index, name) for name in request.partials}
        for name, key in keys.items():
            if key not in self.given and key not in self.found:
                self.found[key] = _whole(request.partials[name])
        return SimpleNamespace(**{name: (self.given | self.found)[key] for name, key in keys.items()})


def _whole(partial: Partial) -> Tensor:
    """Over all that there is: slices are joined on the host."""
    return partial.value.sum() if partial.kind == "sum" else partial.value.amax()


def _examples(layout: Layout) -> list[Tensor]:
    """Parameter, gradient and state of a slice."""
    shape = _SHAPES[layout.rank]
    shapes = {"param": shape, "scalar": (), "row": (shape[0], 1)[: layout.rank]}
    wanted = [(shape, layout.p_dtype), (shape, layout.g_dtype)]
    wanted += [(shapes[spec.shape], dtype) for spec, dtype in zip(layout.specs, layout.state_dtypes, strict=True)]
    return [torch.empty(own, dtype=dtype, device=layout.device) for own, dtype in wanted]
