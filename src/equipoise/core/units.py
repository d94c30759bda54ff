"""Units: what the sliced runner steps at a time. A large tensor, cut into slices, or many small ones, copied together.

Small tensors that share their coefficients are packed: calling an operation costs as much as a few thousand elements.
Where nothing is summed over a tensor they are laid end to end, or rows beneath rows; else those of one size are
stacked, one in each row, so that sums over a tensor are sums over a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equipoise.core.measure import dots
from equipoise.core.numerics import compute_dtype
from equipoise.core.places import Kind, empty
from equipoise.core.program import Program
from equipoise.core.terms import FULL, ROW
from equipoise.core.trace import Layout


@dataclass(eq=False)
class Unit:
    """Tensors stepped as one: `columns` are those that programs see, p first, then state; `g` is where packed
    gradients go. `scalars` is state of one number, by its place among a program's inputs."""

    members: list[int]
    columns: list[Tensor]
    sizes: tuple[float, float]
    g: Tensor | None = None
    real: list[tuple[list[Tensor], list[Tensor]]] = field(
        default_factory=list
    )  # of each packed column: flat, its parts
    scalars: dict[int, Tensor] = field(default_factory=dict)
    stacked: bool = False
    found: list[float] = field(default_factory=list)  # of the tensor, in the phases so far

    @property
    def rows(self) -> int:
        """Extent of the first axis."""
        return len(self.columns[0])

    def gather(self, gs: Sequence[Tensor]) -> Tensor:
        """Copy small tensors together; returns the gradient as programs see it."""
        if self.g is None:
            return gs[0]
        for (tensors, _), packed in zip(self.real, self.columns, strict=True):
            torch.cat(tensors, out=packed.view(-1))
        torch.cat([g.view(-1) for g in gs] if gs[0].ndim > 1 else [*gs], out=self.g.view(-1))
        return self.g

    def scatter(self, written: Sequence[int]) -> None:
        """Copy what was written back to where it belongs. `written` are inputs of a program: p, g, state..."""
        for k in written if self.g is not None else ():
            torch._foreach_copy_(*self.real[max(k - 1, 0)])  # pyright: ignore[reportPrivateImportUsage]


class Memory:
    """Scratch that is used again for every slice, and packed tensors: one slot for each kind and place."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.slots: dict[tuple[object, ...], Tensor] = {}

    def of(self, kind: Kind, place: object, shape: tuple[int, ...]) -> Tensor:
        """Memory of that shape; slots grow to the largest that was asked for."""
        dtype, extent = kind
        numel = 1
        for length in shape:
            numel *= length
        slot = self.slots.get((kind, place))
        if slot is None or slot.numel() < numel:
            slot = self.slots[kind, place] = empty((dtype, extent), numel, self.device)
        return slot[:numel].view(shape)


@dataclass(frozen=True)
class Slice:
    """One slice of a unit for one program: p and state, scratch, where each segment's sums go, what rows give."""

    start: int
    p: Tensor
    state: list[Tensor]
    scratch: list[Tensor]
    sums: list[list[Tensor]]
    results: list[Tensor]


@dataclass(frozen=True)
class Cut:
    """A unit cut for a program: `step` rows to a slice; `sums` [slices, sums of a segment]; `results` [rows, ...]."""

    step: int
    slices: list[Slice]
    sums: list[Tensor]
    results: Tensor


def cut(unit: Unit, program: Program, layout: Layout, memory: Memory, block: int) -> Cut:
    """Cut a unit into slices of about `block` elements."""
    p, dtype = unit.columns[0], compute_dtype(layout.p_dtype)
    step = max(1, block // (p.numel() // len(p)))
    starts = range(0, len(p), step)
    sums = [torch.empty(len(starts), len(s.sums), dtype=dtype, device=layout.device) for s in program.segments]
    results = torch.empty(program.rows, len(p), 1, dtype=dtype, device=layout.device)
    whole = {k: memory.of(kind, k, _shape(kind, p)) for k, kind in enumerate(program.scratch) if k in program.kept}
    slices = []
    for j, start in enumerate(starts):
        rows = slice(start, min(start + step, len(p)))
        scratch = [
            whole[k][rows] if k in whole else memory.of(kind, k, _shape(kind, p[rows]))
            for k, kind in enumerate(program.scratch)
        ]
        state = [t[rows] if t.ndim else t for t in unit.columns[1:]]
        own = [list(found[j].unbind()) for found in sums]
        slices.append(Slice(start, p[rows], state, scratch, own, list(results[:, rows].unbind())))
    return Cut(step, slices, sums, results)


def _shape(kind: Kind, p: Tensor) -> tuple[int, ...]:
    if kind[1] == FULL:
        return tuple(p.shape)
    return (len(p), 1) if kind[1] == ROW else ()


class Meter:
    """Sums of what a step did, slice by slice; the step itself runs as ever. Keeps the old p of a unit meanwhile."""

    def __init__(self, layout: Layout) -> None:
        self.dtype, self.memory = compute_dtype(layout.p_dtype), Memory(layout.device)
        self.found: list[tuple[int, Tensor]] = []

    def before(self, unit: Unit) -> Tensor:
        """Keep the old p."""
        p = unit.columns[0]
        return self.memory.of((self.dtype, FULL), "old", (p.numel(),)).copy_(p.view(-1))

    def after(self, unit: Unit, old: Tensor, g: Tensor, block: int) -> None:
        """Take the sums of each tensor."""
        p, g, members = unit.columns[0].view(-1), g.view(-1), unit.members
        lengths = [t.numel() for t in unit.real[0][0]] if unit.real else [len(p)]
        for i, *own in zip(members, p.split(lengths), old.split(lengths), g.split(lengths), strict=True):
            for p_part, w, g_part in zip(*(t.split(block) for t in own), strict=True):
                d = torch.sub(p_part, w, out=self.memory.of((self.dtype, FULL), "d", (len(w),)))
                g_part = g_part if g_part.dtype == w.dtype else g_part.to(w.dtype)
                self.found.append((i, dots(w, g_part, d)))

    def read(self, count: int) -> list[list[float]]:
        """The sums of each tensor; starts anew."""
        total = torch.zeros(count, 5, dtype=torch.float64)
        where, values = zip(*self.found, strict=True)
        total.index_add_(0, torch.tensor(where), torch.stack(values).cpu().double())
        self.found = []
        return total.tolist()
