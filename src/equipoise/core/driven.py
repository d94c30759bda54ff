"""Driven: one compiled phase over all tensors of a layout, as one call of the driver.

Where nothing that is summed within the kernel crosses rows, tensors are cut into blocks that stay in a core's cache
while the kernel's loops go over them; blocks and small tensors are shared among the threads. Sums of blocks are added
in float64, in one order whatever the number of threads.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from equipoise.core.blocks import BLOCK, ONCE, blocks, cuttable
from equipoise.core.driver import SCRATCH, Calls, Launch
from equipoise.core.native import MOST_ARGUMENTS, Joined, addresses
from equipoise.core.numerics import compute_dtype
from equipoise.core.recorded import Argument, Record, Wrapper, wrapper_of
from equipoise.core.trace import Asked, Layout, scalar_kinds

_FIXED, _TABLE, _FREE = 0, 1, 2  # references to bases: none, the table, the first of what changes from step to step


def drivable(layout: Layout, backend: str) -> bool:
    """Whether kernels of this layout are C++ functions that the driver can call."""
    return backend == "inductor" and layout.device.type == "cpu"


@dataclass(frozen=True, eq=False)
class Phase:
    """A compiled phase that the driver can run.

    `cut`: tensors may be cut into blocks; `alone`: its kernels use all threads by themselves.
    """

    wrapper: Wrapper
    asked: Asked
    cut: bool
    alone: bool


def compiled_for_driver(
    compiler: Callable[[GraphModule, list[Tensor], bool], Callable[..., Any]],
    graph: GraphModule,
    examples: list[Tensor],
    layout: Layout,
    asked: Asked,
) -> Callable[..., Any] | Phase:
    """A compiled phase as the driver runs it, or as it is where it does more than call kernels."""
    cut = cuttable(layout.chain, graph)
    serial = cut or layout.small
    compiled = compiler(graph, examples, serial)
    wrapper = wrapper_of(compiled, [torch.empty([2] * e.ndim, dtype=e.dtype) for e in examples])
    if wrapper is None:
        return compiler(graph, examples, False) if serial else compiled
    return Phase(wrapper, asked, cut, not serial)


class Phases:
    """The driven phases of all tensors of a layout. `columns`: parameters, then state by name."""

    def __init__(self, layout: Layout, columns: Sequence[Sequence[Tensor]]) -> None:
        self.layout, self.columns = layout, columns
        self.made: dict[Phase, Driven] = {}
        self.grads = array("q")

    def begin(self, grads: Sequence[Tensor]) -> None:
        """Note where the gradients of a step are: contiguous, or in the order of their parameter's memory."""
        self.grads = addresses(grads)

    def prepared(
        self, phase: Phase, more: Sequence[Sequence[Tensor]], table: Tensor, only: range | None = None
    ) -> tuple[Driven, Launch]:
        """One of them and what is to be launched for it; `more` are columns of earlier answers and of buffers."""
        if any(own.pitch != table.stride(0) for own in self.made.values()):
            self.made.clear()
        if phase not in self.made:
            ps = self.columns[0]
            grads = [torch.empty_like(p, dtype=self.layout.g_dtype, device="meta") for p in ps]
            kept = [own.rows for own in self.made.values()]  # lie where they lay
            new = [not any(column is rows for rows in kept) for column in more]
            changing = [False, True, *[False] * (len(self.columns) - 1), *new]
            given = [_described(column) if free else column for column, free in zip(more, new, strict=True)]
            columns = [ps, grads, *self.columns[1:], *given]
            later = self.layout.barriers - len(self.made)
            self.made[phase] = Driven(phase, self.layout, columns, changing, table, later=later)
        return self.made[phase], self.made[phase].launch(table, self.grads, more, only)


_Input = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


class Driven:
    """One phase over all tensors of a layout.

    Args:
        phase, layout: what runs on which kind of tensors.
        columns: its inputs as `trace.trace_list` groups them, for each tensor, without the table.
        changing: which columns lie elsewhere at every step.
        table: like those that it will be given; what counts is its width and how far its rows are apart.
        later: how many phases come after it.
    """

    def __init__(
        self,
        phase: Phase,
        layout: Layout,
        columns: Sequence[Sequence[Tensor]],
        changing: Sequence[bool],
        table: Tensor,
        *,
        later: int = 0,
    ) -> None:
        self.columns, self.changing = columns, changing
        self.width, self.pitch = table.shape[1], table.stride(0)
        self.dtype = compute_dtype(layout.p_dtype)
        asked, ps = phase.asked, columns[0]
        self.kinds = scalar_kinds(asked, layout)
        cuts = [[*blocks(p, BLOCK if asked.again else ONCE)] if phase.cut else [(0, p.shape[0])] for p in ps]
        self.items = [(i, start, end) for i, own in enumerate(cuts) for start, end in own]
        self.scalars = torch.empty(len(self.items), len(self.kinds), dtype=self.dtype)
        # The share of a "top" is the same in all blocks.
        self.joined = Joined(self.scalars, [len(own) for own in cuts], [kind != "sum" for kind in self.kinds])
        self.rows = [torch.empty(p.shape[0], len(asked.rows), dtype=self.dtype) for p in ps] if asked.rows else []
        self.calls = self._calls(phase, self._order(later) if not asked.thresholds else None)

    def launch(
        self, table: Tensor, grads: array[int], more: Sequence[Sequence[Tensor]], only: range | None = None
    ) -> Launch:
        """What runs the phase, told where gradients are; `more` are the other columns, of which some changed."""
        changing = self.changing[len(self.changing) - len(more) :]
        changed = [t for column, new in zip(more, changing, strict=True) if new for t in column]
        bases = array("q", (0, table.data_ptr())) + grads
        if changed:
            bases += addresses(changed)
        return Launch(self.calls, bases, self._places(only) if only is not None else None)

    def found(self, table: Tensor, only: range | None = None) -> tuple[Tensor, list[Tensor]]:
        """What it found when it was launched: its scalars [tensors, ...], and what it hands on of the rows of each, in
        memory that the next run uses again; of `only` some tensors, if so told."""
        scalars = self.joined() if self.kinds else table
        return (
            (scalars, self.rows)
            if only is None
            else (scalars[only.start : only.stop], self.rows[only.start : only.stop])
        )

    def _places(self, only: range) -> range:
        """Where the items of these tensors are among the calls."""
        start, stop = (bisect_left(self.items, (i,)) for i in (only.start, only.stop))
        return range(start, stop)

    def _order(self, later: int) -> Tensor:
        """The last phase takes the largest items first, so that threads end together; each phase begins with what the
        one before it has left in cache."""
        sizes = [(end - start) * self.columns[0][i][0].numel() for i, start, end in self.items]
        order = torch.argsort(torch.tensor(sizes), descending=True, stable=True)
        return order.flip(0) if later % 2 else order

    # ---- what the driver is given -----------------------------------------------------------------------------------

    def _calls(self, phase: Phase, order: Tensor | None) -> Calls:
        wrapper = phase.wrapper
        records: dict[tuple[_Input, ...], Record] = {}
        places: dict[tuple[_Input, ...], list[int]] = {}
        for place, (i, start, end) in enumerate(self.items):
            key = self._inputs(i, end - start)
            if key not in records:
                records[key] = wrapper.record(key)
            places.setdefault(key, []).append(place)
        one = next(iter(records.values()))
        counts = [len(own) for _, own in one.calls]
        assert max(counts) <= MOST_ARGUMENTS
        args = torch.empty(len(self.items), sum(counts), dtype=torch.int64)
        refs = torch.empty(len(self.items), sum(counts), dtype=torch.int32)
        for key, own in places.items():
            assert [name for name, _ in records[key].calls] == [name for name, _ in one.calls]
            self._fill(args, refs, records[key], torch.tensor(own))
        memory = max(record.memory for record in records.values())
        functions = [wrapper.address(name) for name, _ in one.calls]
        if order is not None:
            args, refs = args[order], refs[order]
        return Calls(functions, counts, args, refs, memory, alone=phase.alone)

    def _inputs(self, i: int, length: int) -> tuple[_Input, ...]:
        """Size, stride and dtype of what the kernel takes for a block of so many rows of one tensor."""
        whole = self.columns[0][i].shape[0]
        own = [column[i] for column in self.columns]
        sizes = [(length, *t.shape[1:]) if t.shape[0] == whole else tuple(t.shape) for t in own]
        found = [(size, t.stride(), t.dtype) for size, t in zip(sizes, own, strict=True)]
        return (*found, ((1, self.width), (self.width, 1), self.dtype))

    def _fill(self, args: Tensor, refs: Tensor, record: Record, places: Tensor) -> None:
        """Write the arguments of all items that one record is of."""
        items = torch.tensor([self.items[place] for place in places.tolist()])
        for k, argument in enumerate(a for _, own in record.calls for a in own):
            number, ref = self._resolved(argument, record, places, items)
            args[places, k], refs[places, k] = number, torch.as_tensor(ref, dtype=torch.int32)

    def _resolved(
        self, argument: Argument, record: Record, places: Tensor, items: Tensor
    ) -> tuple[Tensor | int, Tensor | int]:
        """One argument of each item's call as a number, and the base that it is added to."""
        of, number = argument.of, argument.number
        which, start = items[:, 0], items[:, 1]
        if of is None:
            return number, _FIXED
        if of < 0:
            return self._own(number, record, places, items)
        if of == len(self.columns):
            return number + which * (self.pitch * self.dtype.itemsize), _TABLE
        column, first = self.columns[of], int(which[0])
        if column[first].shape[0] == self.columns[0][first].shape[0]:
            number = number + start * _row_bytes(column[first])
        if self.changing[of]:
            return number, _FREE + sum(self.changing[:of]) * len(column) + which
        return number + torch.tensor([column[i].data_ptr() for i in which.tolist()]), _FIXED

    def _own(self, number: int, record: Record, places: Tensor, items: Tensor) -> tuple[Tensor | int, Tensor | int]:
        """Memory that the graph made: of what it returns, or the thread's own."""
        which, start, end = items.unbind(1)
        out: list[tuple[Tensor, int]] = []  # where results go, and how long each is
        if self.kinds:
            row = _row_bytes(self.scalars)
            out.append((self.scalars.data_ptr() + places * row, row))
        if self.rows:
            row = _row_bytes(self.rows[0])
            where = torch.tensor([self.rows[i].data_ptr() for i in which.tolist()])
            out.append((where + start * row, int(end[0] - start[0]) * row))
        for result, (where, length) in zip(record.results, out, strict=True):
            assert result.of == -1
            if result.number <= number < result.number + length:
                return where + (number - result.number), _FIXED
        return number, SCRATCH


def _described(column: Sequence[Tensor]) -> list[Tensor]:
    """Tensors that say how those of a column lie, and hold no memory."""
    return [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta") for t in column]


def _row_bytes(tensor: Tensor) -> int:
    return tensor.stride(0) * tensor.element_size()
