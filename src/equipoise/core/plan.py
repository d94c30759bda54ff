"""The plan of a step: which runner takes which tensors, in which batches, with flattened views made once."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from equipoise.core.chain import Chain
from equipoise.core.entry import (
    Entry,
    RunnerChoice,
    State,
    asked_elsewhere,
    engine_of,
    layout_of,
    matrix_shape,
    rank_to_measure,
)
from equipoise.core.lockstep import run_together
from equipoise.core.matrices import view_shape
from equipoise.core.native import addresses
from equipoise.core.numerics import flat, real_view, rows
from equipoise.core.run_blocked import Slices
from equipoise.core.run_fused import Handed, Lists
from equipoise.core.run_reference import Job, run_reference
from equipoise.core.spread import Links, local
from equipoise.core.stacks import Scratch, Stacks, parted
from equipoise.core.trace import Layout, extent_row

Kind = tuple[str, Layout, "tuple[int, int] | None"]


@dataclass(eq=False)
class Batch:
    """Tensors of one layout that one engine steps together, as indices into the entries.

    `shapes` are those in which the engine takes their gradients, None where a view of them does not do; `views` tells
    whether a view must be made for it.
    """

    members: list[int]
    shapes: list[tuple[int, ...] | None]
    engine: Lists | Slices
    views: list[bool]

    def __post_init__(self) -> None:
        self.plain = all(self.shapes) and not any(self.views)  # contiguous gradients are taken as they are


class StepPlan:
    """All batches of one set of active parameters, made once and used while parameters stay where they are.

    Of parameters that are spread over processes it sees what this one holds; `links` reaches the others.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        active: Sequence[int],
        states: Mapping[int, State],
        choice: RunnerChoice,
        *,
        measured: bool = False,
        links: Links | None = None,
    ) -> None:
        self.links = links
        self.active, self.measured = list(active), measured
        self.sums: dict[int, list[float]] = {}
        self.entries = {i: entries[i] for i in active}
        self.parameters = {i: local(entries[i].parameter) for i in active}
        self.chains = {i: entries[i].chain for i in active}
        self.states = {i: {key: local(value) for key, value in own.items()} for i, own in states.items()}
        self.pieces = [entry.parameter for entry in self.entries.values() if entry.piece is not None]
        kept = [value for own in self.states.values() for key, value in own.items() if key != "step"]
        whole = [entry.parameter for entry in self.entries.values() if entry.piece is None]
        self.kept = [*whole, *(value for value in kept if isinstance(value, Tensor))]
        self.kept_at = self._where(array("q", map(Tensor.data_ptr, self.kept)))
        self.views = {i: entries[i].view for i in active}
        self.free = [value for i in active for value in self._free(i).values()]
        self.written = self._versions()  # before a step: matrix stages write their own state in place
        self.scratch = Scratch()
        kinds: dict[Kind, list[int]] = {}
        self.reference: list[int] = []
        for i in active:
            runner = engine_of(entries[i], choice)
            if runner != "reference":
                layout = layout_of(entries[i], self.states[i], runner)
                if measured:
                    layout = replace(layout, rank=rank_to_measure(entries[i], runner, layout.rank), measured=True)
                kinds.setdefault((runner, layout, matrix_shape(entries[i])), []).append(i)
            elif self.parameters[i].numel() > 0 or asked_elsewhere(entries[i]):
                self.reference.append(i)
        self.batches = [self._batch(members, kind, choice) for kind, members in self._parts(kinds)]

    def _parts(self, kinds: Mapping[Kind, list[int]]) -> list[tuple[Kind, list[int]]]:
        """What is stepped together: all tensors of a kind, or some at a time where matrices wait for nothing else."""
        sizes = {kind: [self.parameters[i].numel() for i in members] for kind, members in kinds.items()}
        largest = max((sum(own) for (_, _, shape), own in sizes.items() if shape is not None), default=0)
        found: list[tuple[Kind, list[int]]] = []
        for kind, members in kinds.items():
            runner, layout, shape = kind
            whole = runner != "fused" or shape is None or "matrix" in layout.apart or _waits(layout.chain)
            runs = [range(len(members))] if whole else parted(sizes[kind], largest)
            found += [(kind, [members[k] for k in run]) for run in runs]
        return found

    def _batch(self, members: list[int], kind: Kind, choice: RunnerChoice) -> Batch:
        shapes = self._shapes(members, kind[1].rank)
        engine = self._engine(*kind, members, choice)
        by_engine = isinstance(engine, Lists)  # it looks at memory, and makes a view where it needs one
        views = [
            not by_engine and shape != tuple(self.parameters[i].shape) for i, shape in zip(members, shapes, strict=True)
        ]
        return Batch(members, shapes, engine, views)

    def _shapes(self, members: Sequence[int], rank: int) -> list[tuple[int, ...] | None]:
        ps = [self.parameters[i].detach() for i in members]
        return [tuple(_shaped(p, rank).shape) if p.is_contiguous() and not p.is_complex() else None for p in ps]

    def _engine(
        self, runner: str, layout: Layout, shape: tuple[int, int] | None, members: list[int], choice: RunnerChoice
    ) -> Lists | Slices:
        ps = [_shaped(self.parameters[i].detach(), layout.rank) for i in members]
        keys = [key for _, key, _ in layout.chain.kernel_keys()]
        columns = [[_shaped(self.states[i][key], layout.rank) for i in members] for key in keys]
        pieces = [self.entries[i].piece for i in members]
        if runner == "fused":
            stacks = self._stacks(layout, shape, members) if shape is not None else None
            extents = [extent_row(p.count, p.rest, p.first or 0) for p in pieces if p is not None and layout.spread]
            built = choice if choice.name == "fused" else replace(choice, length=1, backend="eager")
            return Lists(
                layout, ps, columns, length=built.length, backend=built.backend, stacks=stacks,
                members=members, extents=extents, handed=self._handed(members) if "matrix" in layout.apart else None,
            )  # fmt: skip
        firsts = [(p.first or 0) if p is not None else 0 for p in pieces]
        per_row = [prod(self.parameters[i].shape[1:]) for i in members]
        return Slices(layout, ps, columns, firsts, members=members, per_row=per_row)

    def _handed(self, members: Sequence[int]) -> Handed:
        return Handed([self.views[i] for i in members], [self._free(i) for i in members])

    def _free(self, i: int) -> dict[str, Tensor]:
        return {key: self.states[i][key] for _, key, spec in self.chains[i].state_keys() if spec.shape == "free"}

    def _stacks(self, layout: Layout, shape: tuple[int, int], members: list[int]) -> Stacks:
        chain = layout.chain
        counts = [view_shape(self.parameters[i].shape, self.views[i])[0] for i in members]
        rows = [(part, key, spec.name) for part, key, spec in chain.state_keys() if spec.shape == "free"]
        free = {(part, name): [self.states[i][key] for i in members] for part, key, name in rows}
        # What waits for all parameters after it was handed out cannot share its memory with them.
        scratch = Scratch() if _waits(chain) else self.scratch
        return Stacks(chain, shape, counts, free, layout.p_dtype, scratch)

    def fresh(self) -> bool:
        """Whether parameters and state still live where they lived when the batches were made: kernels are called
        with addresses."""
        return self.kept_at == self._where(addresses(self.kept))

    def _where(self, kept: array[int]) -> array[int]:
        return kept + array("q", (local(p).data_ptr() for p in self.pieces))

    @property
    def ahead(self) -> bool:
        """Whether a step failed after it had written state and before it wrote all parameters."""
        early = any(isinstance(batch.engine, Lists) and batch.engine.ahead for batch in self.batches)
        return early or self.written != self._versions()

    def run(self, grads: Mapping[int, Tensor], tables: Mapping[Chain, Tensor], row_of: Mapping[int, int]) -> None:
        """Step everything.

        Args:
            grads: gradient of each active entry.
            tables: for each chain, float64 [rows, width] on the CPU: learning rate and coefficients.
            row_of: the table row of each active entry.
        """
        self.written = self._versions()
        engines = []
        for batch in self.batches:
            rows = _pick(tables[batch.engine.layout.chain], batch, row_of)
            engines.append(batch.engine.run(self._gradients(batch, grads), rows))
        jobs = [self._job(i, grads[i], tables[self.chains[i]][row_of[i]]) for i in self.reference]
        engines += [run_reference(job) for job in jobs]
        run_together(engines, self.links.answer if self.links is not None else None)
        if self.measured:
            self.sums = {i: five for b in self.batches for i, five in zip(b.members, b.engine.sums, strict=True)}
            self.sums |= {i: job.sums for i, job in zip(self.reference, jobs, strict=True)}
            self._complete_sums()

    def _versions(self) -> list[int]:
        return [value._version for value in self.free]

    def _complete_sums(self) -> None:
        """Sums of what the step did to tensors that other processes hold parts of."""
        cut = [i for i in self.active if (piece := self.entries[i].piece) is not None and piece.cut]
        if self.links is not None and cut:
            own = torch.tensor([self.sums.get(i, [0.0] * 5) for i in cut], dtype=torch.float64)
            self.sums |= dict(zip(cut, self.links.sums(cut, own).tolist(), strict=True))

    def _gradients(self, batch: Batch, grads: Mapping[int, Tensor]) -> list[Tensor]:
        own = [grads[i] for i in batch.members]
        if batch.plain and all(map(Tensor.is_contiguous, own)):
            return own
        return [
            (grad.view(shape) if view else grad)
            if grad.is_contiguous() and shape
            else self._given(i, grad, batch.engine.layout.rank)
            for i, grad, shape, view in zip(batch.members, own, batch.shapes, batch.views, strict=True)
        ]

    def _given(self, i: int, grad: Tensor, rank: int) -> Tensor:
        """A gradient as a kernel takes it, whatever its memory order."""
        return _shaped(_like(self.parameters[i], grad), rank)

    def _job(self, i: int, grad: Tensor, row: Tensor) -> Job:
        chain, own, entry = self.chains[i], self.states[i], self.entries[i]
        state = [real_view(own[key]) for _, key, _ in chain.kernel_keys()]
        extent = entry.piece.extent(grad.device) if entry.piece is not None and entry.spread else None
        return Job(
            chain, real_view(self.parameters[i].detach()), real_view(grad), state, row, member=i, view=self.views[i],
            free=self._free(i), measured=self.measured, extent=extent, apart=entry.apart,
        )  # fmt: skip


def _waits(chain: Chain) -> bool:
    """Whether something waits for all parameters after matrices were handed out."""
    levels = [stage.reduction for stage in chain.stages]
    return "global" in levels[levels.index("matrix") :]


def _pick(table: Tensor, batch: Batch, row_of: Mapping[int, int]) -> Tensor:
    if table.shape[0] > 1:
        return table[torch.tensor([row_of[i] for i in batch.members])]
    return table if isinstance(batch.engine, Lists) else table.expand(len(batch.members), -1)


def _shaped(tensor: Tensor, rank: int) -> Tensor:
    """A tensor as a kernel of that rank takes it; scalars stay scalars."""
    if tensor.ndim == 0:
        return tensor
    return rows(real_view(tensor)) if rank == 2 else flat(real_view(tensor))


def _like(p: Tensor, grad: Tensor) -> Tensor:
    """The gradient in the parameter's memory order; copied when its own order differs."""
    if grad.stride() == p.stride():
        return grad
    return torch.empty_like(p, dtype=grad.dtype, requires_grad=False).copy_(grad)
