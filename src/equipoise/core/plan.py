"""The plan of a step: which runner takes which tensors, in which batches, with flattened views made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.core.chain import Chain
from equipoise.core.numerics import flat, is_dense, real_view, rows
from equipoise.core.run_blocked import Slices
from equipoise.core.run_fused import LEAST_EXTENT, LENGTH, MOST_NUMEL, Lists
from equipoise.core.run_reference import Job, run_reference
from equipoise.core.trace import Layout

State = Mapping[str, Tensor]


@dataclass(eq=False)
class Entry:
    """One parameter: its name, the index of its group, its role word, and the chain that steps it."""

    name: str
    parameter: Tensor
    group: int
    role: str
    chain: Chain


@dataclass(frozen=True)
class RunnerChoice:
    """The runner of an optimizer and why, with the settings that kernels are built with."""

    name: str
    why: str
    length: int = LENGTH
    backend: str = "inductor"


def runner_of(entry: Entry, choice: RunnerChoice) -> str:
    """The runner of one tensor: the chosen one, or "reference" where that one cannot do it."""
    p = entry.parameter.detach()
    able = _levels(entry.chain) <= ({"row", "tensor"} if choice.name == "fused" else set())
    fits = LEAST_EXTENT <= real_view(p).numel() <= MOST_NUMEL and is_dense(p)
    if fits and _rank(entry) == 2:
        fits = p.is_contiguous() and p.shape[0] >= LEAST_EXTENT and p.numel() >= LEAST_EXTENT * p.shape[0]
    return choice.name if able and fits else "reference"


def _levels(chain: Chain) -> set[str]:
    return {stage.reduction for stage in chain.stages} - {"none"}


def _rank(entry: Entry) -> int:
    """2 where rows must stay apart, else 1."""
    return 2 if entry.parameter.ndim > 1 and "row" in _levels(entry.chain) else 1


@dataclass(eq=False)
class Batch:
    """Tensors of one layout that one engine steps together, as indices into the entries."""

    members: list[int]
    engine: Lists | Slices


class StepPlan:
    """All batches of one set of active parameters, made once and used while parameters stay where they are."""

    def __init__(
        self, entries: Sequence[Entry], active: Sequence[int], states: Mapping[int, State], choice: RunnerChoice
    ) -> None:
        self.active = list(active)
        self.parameters = {i: entries[i].parameter for i in active}
        self.pointers = [p.data_ptr() for p in self.parameters.values()]
        self.chains = {i: entries[i].chain for i in active}
        self.states = states
        kinds: dict[tuple[str, Layout], list[int]] = {}
        self.reference: list[int] = []
        for i in active:
            runner = runner_of(entries[i], choice)
            if runner != "reference":
                kinds.setdefault((runner, _layout(entries[i], states[i])), []).append(i)
            elif entries[i].parameter.numel() > 0:
                self.reference.append(i)
        self.batches = [Batch(members, self._engine(*kind, members, choice)) for kind, members in kinds.items()]

    def _engine(self, runner: str, layout: Layout, members: list[int], choice: RunnerChoice) -> Lists | Slices:
        ps = [_shaped(self.parameters[i].detach(), layout.rank) for i in members]
        keys = [key for _, key, _ in layout.chain.state_keys()]
        columns = [[_shaped(self.states[i][key], layout.rank) for i in members] for key in keys]
        if runner == "fused":
            return Lists(layout, ps, columns, length=choice.length, backend=choice.backend)
        return Slices(layout, ps, columns)

    def fresh(self) -> bool:
        """Whether parameters still live where they lived when the batches were made."""
        return self.pointers == [p.data_ptr() for p in self.parameters.values()]

    def run(self, grads: Mapping[int, Tensor], tables: Mapping[Chain, Tensor], row_of: Mapping[int, int]) -> None:
        """Step everything.

        Args:
            grads: gradient of each active entry.
            tables: for each chain, float64 [rows, width] on the CPU: learning rate and coefficients.
            row_of: the table row of each active entry.
        """
        for batch in self.batches:
            layout = batch.engine.layout
            gs = [_shaped(_like(self.parameters[i], grads[i]), layout.rank) for i in batch.members]
            batch.engine.run(gs, _pick(tables[layout.chain], batch.members, row_of))
        if self.reference:
            run_reference([self._job(i, grads[i], tables[self.chains[i]][row_of[i]]) for i in self.reference])

    def _job(self, i: int, grad: Tensor, row: Tensor) -> Job:
        state = [real_view(self.states[i][key]) for _, key, _ in self.chains[i].state_keys()]
        return Job(self.chains[i], real_view(self.parameters[i].detach()), real_view(grad), state, row)


def _pick(table: Tensor, members: Sequence[int], row_of: Mapping[int, int]) -> Tensor:
    if len(table) == 1:
        return table.expand(len(members), -1)
    return table[torch.tensor([row_of[i] for i in members])]


def _layout(entry: Entry, state: State) -> Layout:
    p = entry.parameter.detach()
    dtypes = tuple(real_view(state[key]).dtype for _, key, _ in entry.chain.state_keys())
    grad = entry.parameter.grad
    g_dtype = real_view(grad.detach()).dtype if grad is not None else real_view(p).dtype
    return Layout(entry.chain, _rank(entry), real_view(p).dtype, g_dtype, dtypes, p.device)


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
