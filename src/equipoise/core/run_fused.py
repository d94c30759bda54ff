"""Lists of flattened tensors, compiled once per kind of chain, whatever the number and the lengths of the tensors.

What a kernel may assume is written in its Layout, and the planner only gives it lists that fit: 1-D tensors of 2 to
2^31 - 1 elements. On a CPU kernels are made for single tensors, and `driven` calls them for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.core.driven import Phases, drivable
from equipoise.core.kernels import Kernel, kernel_for
from equipoise.core.lockstep import Answer, Engine, Ready, Share, Wait
from equipoise.core.numerics import compute_dtype
from equipoise.core.stacks import Stacks
from equipoise.core.trace import EXTENT, SCALAR_IN_LISTS, Asked, Known, Layout, answered, asked_at

LENGTH = 8
LEAST_EXTENT = 2
MOST_NUMEL = 2**31 - 1


@dataclass(frozen=True)
class Handed:
    """Of each tensor of a batch whose matrices are solved elsewhere: how they lie in it, and its free state."""

    views: Sequence[str]
    free: Sequence[Mapping[str, Tensor]]


class Lists:
    """The tensors of one layout, padded to whole lists; gradients are given anew each step.

    A step runs phase by phase. `stacks` say how matrices lie in the tensors, for chains that solve; where tensors are
    parts of parameters, their matrices are solved elsewhere, `handed` says what goes along, and `extents` are the rows
    of `trace.extent_row`.
    """

    def __init__(
        self,
        layout: Layout,
        ps: Sequence[Tensor],
        states: Sequence[Sequence[Tensor]],
        *,
        length: int,
        backend: str,
        stacks: Stacks | None = None,
        members: Sequence[int] = (),
        extents: Sequence[Sequence[float]] = (),
        handed: Handed | None = None,
    ) -> None:
        length = 1 if drivable(layout, backend) else length  # the driver needs no lists
        self.layout, self.count, self.length, self.backend, self.stacks = layout, len(ps), length, backend, stacks
        self.members, self.handed = members, handed
        self.missing = -len(ps) % length
        shapes = [spec.shape for spec in layout.specs]
        columns = [self._pad(ps, layout.p_dtype)]
        for column, dtype, shape in zip(states, layout.state_dtypes, shapes, strict=True):
            own = [t.view(SCALAR_IN_LISTS) for t in column] if shape == "scalar" else column
            columns.append(self._pad(own, dtype, shape))
        self.columns = columns
        self.fill = self._pad((), layout.g_dtype)
        self.rows = torch.zeros(len(ps) + self.missing, layout.width, dtype=torch.float64)
        width = layout.width - (EXTENT if layout.spread else 0)
        self.own = self.rows[: len(ps), :width]
        if layout.spread:
            self.rows[: len(ps), width:] = torch.tensor(extents, dtype=torch.float64)
        self.kernels: dict[tuple[Known, ...], Kernel] = {}
        self.phases, self.barriers = Phases(layout, columns), layout.barriers
        self.sums: list[list[float]] = []
        self.ahead = False  # whether state is ahead of parameters, as it stays when a step fails half way

    def _pad(self, tensors: Sequence[Tensor], dtype: torch.dtype, shape: str = "param") -> list[Tensor]:
        rank, least = self.layout.rank, LEAST_EXTENT
        extents = {"param": (least,) * rank, "row": (least, 1)[:rank], "scalar": SCALAR_IN_LISTS}[shape]
        fill = [torch.zeros(extents, dtype=dtype, device=self.layout.device) for _ in range(self.missing)]
        return [*tensors, *fill]

    def run(self, gs: Sequence[Tensor], rows: Tensor) -> Engine:
        """Step all tensors: `gs` shaped like the parameters given, `rows` [count, width] float64 on the CPU."""
        self.own.copy_(rows)
        if self.missing:
            self.rows[self.count :] = self.rows[self.count - 1]
        table, given = self.rows.to(self.layout.device, compute_dtype(self.layout.p_dtype)), []
        known: tuple[Known, ...] = ()
        self.phases.begin(gs)
        while True:
            kernel = self._kernel(known)
            asked = kernel.asked
            buffers = [self._buffer(name, asked) for name in asked.tensors]
            outs = [self._pad(views, asked.dtype) for _, views in buffers]
            if kernel.early:
                self._go_ahead(asked)
            elif len(known) == self.barriers and self.stacks is None:  # memory of stacks is shared with other batches
                yield Ready()
            scalars, handed = self._launch(kernel, [*gs, *self.fill], [*given, *outs], table)
            if len(known) == self.barriers:
                self.sums = scalars[: self.count].double().tolist() if self.layout.measured else []
                self.ahead = False
                return
            stage = self.layout.chain.stages[asked.index]
            if stage.reduction == "matrix":
                if "matrix" in self.layout.apart:
                    results = yield self._handed(asked, [views for _, views in buffers])
                else:
                    results = self._solved(asked, [stack for stack, _ in buffers])
                assert results is not None
                given += [self._pad(list(values), values[0].dtype) for values in results.values()]
                dtypes = tuple(values[0].dtype for values in results.values())
                known = (*known, Known("matrix", tuple(results), dtypes, asked.rows))
            else:
                shares = _shares(asked, scalars[: self.count], [views for _, views in buffers])
                spread = stage.reduction in self.layout.apart
                answer = yield Wait(self.layout.chain, asked.index, self.members, shares, spread)
                assert answer is not None
                table = torch.cat([table, self._columns(answer, table)], 1)
                known = (*known, answered(self.layout, asked))
            given += [handed] if asked.rows else []

    def _solved(self, asked: Asked, stacks: Sequence[Tensor]) -> dict[str, Sequence[Tensor]]:
        """A matrix stage of tensors that are whole here: by name, what it makes of every tensor."""
        assert self.stacks is not None
        x = dict(zip(asked.tensors, stacks, strict=True))
        return {
            name: self._views(value)
            for name, value in self.stacks.solve(asked.index, x, self.rows[: self.count]).items()
        }

    def _go_ahead(self, asked: Asked) -> None:
        """Before a phase that writes state early: what can fail here should, before anything is written."""
        self._kernel((answered(self.layout, asked),))
        self.ahead = True

    def _columns(self, answer: Answer, table: Tensor) -> Tensor:
        """Answers as columns of the table: one number for all tensors, or one for each."""
        values = [value for value in answer.values() if isinstance(value, Tensor)]
        columns = torch.stack(values, -1).to(table).expand(self.count, -1)
        return torch.cat([columns, columns.new_zeros(self.missing, len(values))]) if self.missing else columns

    def _handed(self, asked: Asked, views: Sequence[Sequence[Tensor]]) -> Wait:
        """What is to be solved together with parts that other processes hold."""
        assert self.handed is not None
        shares = {name: Share("whole", own) for name, own in zip(asked.tensors, views, strict=True)}
        return Wait(
            self.layout.chain, asked.index, self.members, shares, spread=True, rows=self.rows[: self.count],
            views=self.handed.views, free=self.handed.free, dtype=compute_dtype(self.layout.p_dtype),
        )  # fmt: skip

    def _kernel(self, known: tuple[Known, ...]) -> Kernel:
        if known not in self.kernels:
            # One at a time where a second loop finds in cache what the first has read.
            length = 1 if asked_at(self.layout, known).again and not self.layout.small else self.length
            self.kernels[known] = kernel_for(self.layout, length=length, backend=self.backend, known=known)
        return self.kernels[known]

    def _launch(
        self, kernel: Kernel, grads: Sequence[Tensor], more: Sequence[Sequence[Tensor]], table: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a phase over all tensors: its scalars, and what it hands on of the rows of each."""
        if kernel.phase is not None:
            kernel.calls += 1
            return self.phases.run(kernel.phase, more, table)
        grads = [g if g.shape == p.shape else g.view(p.shape) for g, p in zip(grads, self.columns[0], strict=True)]
        columns = [self.columns[0], grads, *self.columns[1:], *more]
        scalars, rows, with_rows = [], [], len(kernel.asked.rows)
        for start in range(0, self.count, kernel.length):
            part = slice(start, start + kernel.length)
            handed = kernel(*[t for column in columns for t in column[part]], table[part])
            own = len(handed) - (kernel.length if with_rows else 0)
            scalars += handed[:own]
            rows += handed[own:]
        least = [rows[0].new_zeros(LEAST_EXTENT, with_rows)] * (len(grads) - len(rows)) if rows else []
        return torch.cat(scalars) if scalars else table, [*rows, *least]

    def _buffer(self, name: str, asked: Asked) -> tuple[Tensor, list[Tensor]]:
        """Memory for one tensor that is handed out: as one stack, and as views shaped like the parameters."""
        if self.stacks is not None and self.layout.chain.stages[asked.index].reduction == "matrix":
            stack = self.stacks.buffer(f"{name} of {asked.index}", asked.dtype, self.layout.device)
            return stack, self._views(stack)
        numel = sum(p.numel() for p in self.columns[0][: self.count])
        flat = torch.empty(numel, dtype=asked.dtype, device=self.layout.device)
        return flat, self._views(flat)

    def _views(self, stack: Tensor) -> list[Tensor]:
        ps = self.columns[0][: self.count]
        parts = stack.reshape(-1).split([p.numel() for p in ps])
        return [part.view(p.shape) for part, p in zip(parts, ps, strict=True)]


def _shares(asked: Asked, scalars: Tensor, values: Sequence[Sequence[Tensor]]) -> dict[str, Share]:
    tensors = dict(zip(asked.tensors, values, strict=True))
    return {
        name: Share(kind, tensors[name], scalars[:, k].tolist()) if kind == "top" else Share(kind, scalars[:, k])
        for k, (name, kind) in enumerate(asked.scalars)
    }
