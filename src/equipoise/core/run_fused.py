"""Lists of flattened tensors, compiled once per kind of chain, whatever the number and the lengths of the tensors.

What a kernel may assume is written in its Layout, and the planner only gives it lists that fit: 1-D tensors of 2 to
2^31 - 1 elements. On a CPU kernels are made for single tensors, and `driven` calls them for all.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from equipoise.core.again import Again, runs_of
from equipoise.core.driven import Driven, Phases, drivable
from equipoise.core.driver import Launch, Relay, launch
from equipoise.core.kernels import Kernel, kernel_for
from equipoise.core.lockstep import Engine, Ready, Share, Wait
from equipoise.core.numerics import compute_dtype
from equipoise.core.stacks import Stacks
from equipoise.core.table import Table
from equipoise.core.trace import SCALAR_IN_LISTS, Asked, Known, Layout, answered, asked_at

LENGTH = 8
LEAST_EXTENT = 2
MOST_NUMEL = 2**31 - 1


@dataclass(frozen=True)
class Handed:
    """Of each tensor of a batch whose matrices are solved elsewhere: how they lie in it, and its free state."""

    views: Sequence[str]
    free: Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Ran:
    """What a phase hands out: its scalars, of each tensor what it found of rows, and by name of what was asked the
    stacks of matrices, their parts for each tensor, and the values of thresholds. `totals`: the scalars of all tensors
    together, where they are known; `last`: whether it was the last phase."""

    scalars: Tensor
    rows: list[Tensor]
    stacks: Sequence[Tensor] = ()
    views: Sequence[list[Tensor]] = ()
    again: Mapping[str, Again] = field(default_factory=dict)
    totals: Sequence[float] = ()
    last: bool = False


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
        self.fill, self.dtype = self._pad((), layout.g_dtype), compute_dtype(layout.p_dtype)
        self.table = Table(layout, len(ps), len(columns[0]), extents)
        self.waits: dict[int, tuple[Tensor, Wait]] = {}
        self.kernels: dict[tuple[Known, ...], Kernel] = {}
        self.follows: dict[Kernel, Kernel] = {}
        self.phases, self.barriers = Phases(layout, columns), layout.barriers
        self.sums: list[list[float]] = []
        self.ahead = False  # whether state is ahead of parameters, as it stays when a step fails half way

    def _pad(self, tensors: Sequence[Tensor], dtype: torch.dtype, shape: str = "param") -> list[Tensor]:
        rank, least = self.layout.rank, LEAST_EXTENT
        extents = {"param": (least,) * rank, "row": (least, 1)[:rank], "scalar": SCALAR_IN_LISTS}[shape]
        fill = [torch.zeros(extents, dtype=dtype, device=self.layout.device) for _ in range(self.missing)]
        return [*tensors, *fill]

    def run(self, gs: Sequence[Tensor], rows: Tensor) -> Engine:
        """Step all tensors: `gs` shaped like the parameters given, `rows` [count or 1, width] float64 on the CPU."""
        table, given = self.table.begin(rows), []
        known: tuple[Known, ...] = ()
        self.phases.begin(gs)
        while True:
            kernel = self._kernel(known)
            asked = kernel.asked
            if kernel.early:
                self._go_ahead(kernel, known)
            ran = yield from self._ran(kernel, [*gs, *self.fill], given, table, known)
            if ran.last:
                self.sums = ran.scalars[: self.count].double().tolist() if self.layout.measured else []
                self.ahead = False
                return
            stage = self.layout.chain.stages[asked.index]
            if stage.reduction == "matrix":
                if "matrix" in self.layout.apart:
                    results = yield self._handed(asked, ran.views, rows)
                else:
                    results = self._solved(asked, ran.stacks, rows)
                assert results is not None
                given += [self._pad(list(values), values[0].dtype) for values in results.values()]
                dtypes = tuple(values[0].dtype for values in results.values())
                known = (*known, Known("matrix", tuple(results), dtypes, asked.rows))
            else:
                answer = yield self._wait(asked, ran)
                assert answer is not None
                values = [value for value in answer.values() if isinstance(value, Tensor)]
                table = self.table.answered(values, table.shape[1])
                known = self._after(kernel, known)
            given += [self._with_rows(ran.rows)] if asked.rows else []

    def _solved(self, asked: Asked, stacks: Sequence[Tensor], rows: Tensor) -> dict[str, Sequence[Tensor]]:
        """A matrix stage of tensors that are whole here: by name, what it makes of every tensor."""
        assert self.stacks is not None
        x = dict(zip(asked.tensors, stacks, strict=True))
        return {name: self._views(value) for name, value in self.stacks.solve(asked.index, x, self._each(rows)).items()}

    def _go_ahead(self, kernel: Kernel, known: tuple[Known, ...]) -> None:
        """Before a phase that writes state early: what can fail here should, before anything is written."""
        if kernel not in self.follows:
            self._after(kernel, known)
        self.ahead = True

    def _after(self, kernel: Kernel, known: tuple[Known, ...]) -> tuple[Known, ...]:
        """What is known with the answer to a phase. The next one is made, and noted if it may follow at once: if it is
        the last, and the answer are numbers that no other process has a part in."""
        known = (*known, answered(self.layout, kernel.asked))
        following, level = self._kernel(known), known[-1].level
        if len(known) == self.barriers and level == "global" and level not in self.layout.apart and following.phase:
            self.follows[kernel] = following
        return known

    def _wait(self, asked: Asked, ran: Ran) -> Wait:
        """What is asked of the others; the same object as long as kernels put their answers in the same place."""
        before, wait = self.waits.get(asked.index, (None, None))
        if wait is None or before is not ran.scalars:
            shares = _shares(asked, ran.scalars[: self.count], ran.again, ran.totals)
            spread = self.layout.chain.stages[asked.index].reduction in self.layout.apart
            wait = Wait(self.layout.chain, asked.index, self.members, shares, spread, dtype=self.dtype)
            if not ran.again:  # which holds memory
                self.waits[asked.index] = (ran.scalars, wait)
        return wait

    def _handed(self, asked: Asked, views: Sequence[Sequence[Tensor]], rows: Tensor) -> Wait:
        """What is to be solved together with parts that other processes hold."""
        assert self.handed is not None
        shares = {name: Share("whole", own) for name, own in zip(asked.tensors, views, strict=True)}
        return Wait(
            self.layout.chain, asked.index, self.members, shares, spread=True, rows=self._each(rows),
            views=self.handed.views, free=self.handed.free, dtype=self.dtype,
        )  # fmt: skip

    def _each(self, rows: Tensor) -> Tensor:
        return rows.expand(self.count, -1)

    def _kernel(self, known: tuple[Known, ...]) -> Kernel:
        if known not in self.kernels:
            # One at a time where a second loop finds in cache what the first has read.
            length = 1 if asked_at(self.layout, known).again and not self.layout.small else self.length
            self.kernels[known] = kernel_for(self.layout, length=length, backend=self.backend, known=known)
        return self.kernels[known]

    def _launch(
        self,
        kernel: Kernel,
        grads: Sequence[Tensor],
        more: Sequence[Sequence[Tensor]],
        table: Tensor,
        only: range | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a phase over all tensors, or over some: its scalars, and what it hands on of the rows of each."""
        if kernel.phase is not None:
            kernel.calls += 1
            driven, own = self.phases.prepared(kernel.phase, more, table, only)
            launch([own])
            return driven.found(table, only)
        grads = [g if g.shape == p.shape else g.view(p.shape) for g, p in zip(grads, self.columns[0], strict=True)]
        table = table.contiguous()
        columns = [self.columns[0], grads, *self.columns[1:], *more]
        scalars, rows, with_rows = [], [], len(kernel.asked.rows)
        for start in only[:: kernel.length] if only is not None else range(0, self.count, kernel.length):
            part = slice(start, start + kernel.length)
            handed = kernel(*[t for column in columns for t in column[part]], table[part])
            own = len(handed) - (kernel.length if with_rows else 0)
            scalars += handed[:own]
            rows += handed[own:]
        return torch.cat(scalars) if scalars else table, rows

    def _ran(
        self, kernel: Kernel, grads: list[Tensor], given: list[list[Tensor]], table: Tensor, known: tuple[Known, ...]
    ) -> Generator[Launch | Ready, object, Ran]:
        """A phase, run over all tensors, together with those of other batches but where stacks share memory with them;
        the last one waits until all may write, or follows on the one before it at once."""
        asked, last = kernel.asked, len(known) == self.barriers
        if asked.thresholds:
            return self._passes(kernel, grads, given, table)
        stacks, views = [], []
        for name in asked.tensors:
            stack, own = self._buffer(name, asked)
            stacks.append(stack)
            views.append(own)
        more = [*given, *(self._pad(own, asked.dtype) for own in views)]
        if kernel.phase is None or self.stacks is not None:
            if last and self.stacks is None:
                yield Ready()
            return Ran(*self._launch(kernel, grads, more, table), stacks, views, last=last)
        kernel.calls += 1
        driven, own = self.phases.prepared(kernel.phase, more, table)
        leg = self._leg(kernel, driven, given, table) if not last else None
        turn, then = Ready.turn if last else own.turn, leg[0] if leg else None
        if (yield Launch(own.calls, own.bases, turn=turn, then=then)) and leg:
            self.follows[kernel].calls += 1
            return Ran(*leg[1].found(table), last=True)
        return Ran(*driven.found(table), stacks, views, totals=driven.joined.totals, last=last)

    def _leg(
        self, kernel: Kernel, driven: Driven, given: list[list[Tensor]], table: Tensor
    ) -> tuple[Relay, Driven] | None:
        """What follows on a phase, where nothing is missing but the answer; None on the first step, which finds out."""
        following, asked = self.follows.get(kernel), kernel.asked
        told = self.table.ahead(table.shape[1], len(asked.scalars))
        if following is None or following.phase is None or told is None:
            return None
        more = [*given, driven.rows] if asked.rows else given
        last, own = self.phases.prepared(following.phase, more, told[0])
        return Relay(self.layout.chain.stages[asked.index], driven.joined.question, told[1], own), last

    def _passes(self, kernel: Kernel, grads: list[Tensor], given: list[list[Tensor]], table: Tensor) -> Ran:
        """A phase that asks for thresholds, a few tensors at a time."""
        numels = [p.numel() for p in self.columns[0][: self.count]]
        runs, asked = runs_of(numels, kernel.length), kernel.asked
        most = max(sum(numels[i] for i in run) for run in runs)
        views = {}
        for name in asked.tensors:
            flat = torch.empty(most, dtype=asked.dtype, device=self.layout.device)
            views[name] = [view for run in runs for view in self._views(flat, run)]
        more = [*given, *(self._pad(own, asked.dtype) for own in views.values())]
        compute = partial(self._launch, kernel, grads, more, table)
        found = [compute(run) for run in runs]
        again = {name: Again(compute, runs, own) for name, own in views.items()}
        return Ran(torch.cat([own for own, _ in found]), [row for _, rows in found for row in rows], again=again)

    def _with_rows(self, rows: list[Tensor]) -> list[Tensor]:
        """Rows of each tensor, and of those that fill the lists."""
        if not self.missing:
            return rows
        return [*rows, *[torch.zeros_like(rows[0][:LEAST_EXTENT])] * (len(self.columns[0]) - len(rows))]

    def _buffer(self, name: str, asked: Asked) -> tuple[Tensor, list[Tensor]]:
        """Memory for one tensor that is handed out: as one stack, and as views shaped like the parameters."""
        if self.stacks is not None and self.layout.chain.stages[asked.index].reduction == "matrix":
            stack = self.stacks.buffer(f"{name} of {asked.index}", asked.dtype, self.layout.device)
            return stack, self._views(stack)
        numel = sum(p.numel() for p in self.columns[0][: self.count])
        flat = torch.empty(numel, dtype=asked.dtype, device=self.layout.device)
        return flat, self._views(flat)

    def _views(self, stack: Tensor, only: range | None = None) -> list[Tensor]:
        """Parts of a stack, shaped like the tensors, or like some."""
        ps = self.columns[0][: self.count] if only is None else self.columns[0][only.start : only.stop]
        sizes = [p.numel() for p in ps]
        return [part.view(p.shape) for part, p in zip(stack.reshape(-1)[: sum(sizes)].split(sizes), ps, strict=True)]


def _shares(
    asked: Asked, scalars: Tensor, again: Mapping[str, Again], totals: Sequence[float]
) -> dict[str, Share]:  # fmt: skip
    return {
        name: Share(kind, again=again[name], share=own.tolist())
        if kind == "top"
        else Share(kind, own, total=partial(totals.__getitem__, k) if totals else None)
        for k, ((name, kind), own) in enumerate(zip(asked.scalars, scalars.unbind(1), strict=True))
    }
