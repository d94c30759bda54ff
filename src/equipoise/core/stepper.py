"""The stepper: state tensors, step counts and plans of one optimizer. Thrown away whenever groups or state change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import chain as joined
from itertools import repeat
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor

from equipoise._errors import ArgumentError, StateError
from equipoise.core.chain import Chain
from equipoise.core.entry import Entry, RunnerChoice
from equipoise.core.hyper import Group, numbers
from equipoise.core.plan import StepPlan
from equipoise.core.spread import Links, adapter
from equipoise.core.state import new_state, of_owner

_MAX_PLANS = 8
_GRAD, _LAYOUT, _IN_GRAPH = attrgetter("grad"), attrgetter("layout"), attrgetter("requires_grad")


class Stepper:
    """Steps the parameters that have gradients.

    The `step` tensors of all parameters are 0-D views of one buffer: counting is one operation, whatever their number.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        groups: Sequence[Group],
        state: MutableMapping[Tensor, Any],
        choice: RunnerChoice,
        state_dtype: torch.dtype | None,
        links: Links | None = None,
    ) -> None:
        self.links = links
        self.entries, self.groups, self.state, self.choice, self.state_dtype = (
            entries,
            groups,
            state,
            choice,
            state_dtype,
        )
        self.parameters = [entry.parameter for entry in entries]
        self.plain = all(e.piece is None for e in entries)
        known = [state[e.parameter] for e in entries if e.parameter in state]
        self.counts = [int(state[e.parameter].get("step", 0)) if e.parameter in state else 0 for e in entries]
        self.buffer = torch.tensor(self.counts, dtype=torch.float32)
        for i, entry in enumerate(entries):
            if known and entry.parameter in state:
                state[entry.parameter]["step"] = self.buffer[i]
        self.plans: dict[tuple[tuple[int, ...], bool], StepPlan] = {}
        self.last: StepPlan | None = None
        self.owned: tuple[list[Any], list[Any]] | None = None
        self.row_of: dict[int, int] = {}
        self.leaders: dict[Chain, list[int]] = {}
        self.failed = ""

    def intact(self, state: MutableMapping[Tensor, Any]) -> bool:
        """Whether the state last written is still the optimizer's: users reset it by clearing or replacing."""
        if state is not self.state or self.owned is None:
            return state is self.state
        owners, values = self.owned
        return _same(state.values(), owners) and _same(joined.from_iterable(map(dict.values, owners)), values)

    def step(self, *, measured: bool = False) -> dict[str, list[float]]:
        """One step of every parameter that has a gradient.

        Returns:
            By parameter name the sums of `measure`, when they are asked for.

        Raises:
            StateError: an earlier step failed half way.
        """
        self.check_whole(self.state)
        fresh = self.last is not None and self.last.fresh()  # first: it brings what the next lines need into cache
        given = _present([*map(_GRAD, self.parameters)])
        if not given:
            return {}
        active = tuple(given)
        grads = self._grads(given)
        if self.links is not None and self.last is None:
            self.links.begin(self._recipe(active))
        plan = self._plan(active, measured, fresh)
        self._count(active)
        tables = {chain: self._table(chain, leaders) for chain, leaders in self.leaders.items()}
        try:
            plan.run(grads, tables, self.row_of)
        except BaseException as error:
            self._count(active, -1)
            if plan.ahead:
                self.failed = f"{type(error).__name__} in step {max(self.counts[i] for i in active) + 1}"
            raise
        return {self.entries[i].name: plan.sums[i] for i in sorted(plan.sums)}

    def _grads(self, given: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        """What is held of each gradient, as kernels take it."""
        held = given
        if not self.plain:
            part, entries = adapter().grad, self.entries
            held = {i: g if (e := entries[i]).piece is None else part(e.parameter, e.name) for i, g in given.items()}
        if not any(group.get("maximize") for group in self.groups) and _as_they_are(held.values()):
            return held
        return {i: self._grad(i, grad) for i, grad in held.items()}

    def _grad(self, i: int, grad: Tensor) -> Tensor:
        entry = self.entries[i]
        if grad.layout is not torch.strided:
            cure = "Build the embedding with sparse=False, or step it with torch.optim.SparseAdam."
            raise ArgumentError(f"gradient of {entry.name}", f"layout {grad.layout}", "a dense gradient", cure)
        grad = grad.detach() if grad.requires_grad else grad
        return -grad if self.groups[entry.group].get("maximize") else grad

    def _plan(self, active: tuple[int, ...], measured: bool, fresh: bool) -> StepPlan:
        plan = self.plans.get((active, measured))
        if plan is None or not (fresh if plan is self.last else plan.fresh()):
            for i in active:
                self._allocate(i)
            if len(self.plans) >= _MAX_PLANS:
                self.plans.clear()
            states = {i: self.state[self.entries[i].parameter] for i in active}
            plan = StepPlan(self.entries, active, states, self.choice, measured=measured, links=self.links)
            self.plans[active, measured] = plan
        if plan is not self.last:  # while one plan repeats, its members count in step and its classes stay
            self._classify(active)
            owners = list(self.state.values())
            self.owned = owners, [value for own in owners for value in own.values()]
            self.last = plan
        return plan

    def _allocate(self, i: int) -> None:
        entry = self.entries[i]
        state, p = self.state[entry.parameter], entry.parameter
        state["step"] = self.buffer[i]
        for _, key, spec in entry.chain.state_keys():
            if key not in state:
                hyper = numbers(self.groups[entry.group], max(self.counts[i], 1))
                state[key] = new_state(
                    p, spec, name=entry.name, view=entry.view, hyper=hyper, dtype=self.state_dtype, piece=entry.piece
                )
            if spec.shape == "free" and self.links is not None and "matrix" in entry.apart:
                state[key] = of_owner(state[key], p, entry.view, self.links.owned(i))
            if state[key].device != p.device:
                state[key] = state[key].to(p.device)

    def _classify(self, active: Sequence[int]) -> None:
        """Group entries that share chain, group and count: they share one table row; the first one leads."""
        rows: dict[tuple[Chain, int, int], int] = {}
        self.leaders, self.row_of = {}, {}
        for i in active:
            entry = self.entries[i]
            key = (entry.chain, entry.group, self.counts[i])
            if key not in rows:
                leaders = self.leaders.setdefault(entry.chain, [])
                rows[key] = len(leaders)
                leaders.append(i)
            self.row_of[i] = rows[key]

    def check_whole(self, state: MutableMapping[Tensor, Any]) -> None:
        """Raise StateError after a step that failed half way: some averages had moved, not all parameters."""
        if self.failed and self.intact(state):
            cure = "Load the last checkpoint, or clear optimizer.state to begin its averages anew."
            raise StateError("optimizer state", f"half a step ({self.failed})", "that of whole steps", cure)

    def _count(self, active: tuple[int, ...], by: int = 1) -> None:
        for i in active:
            self.counts[i] += by
        if len(active) == len(self.counts) == self.counts.count(self.counts[0]):
            self.buffer.fill_(self.counts[0])  # a fill costs less than a sum
        else:
            self.buffer[list(active)] += by

    def _table(self, chain: Chain, leaders: Sequence[int]) -> Tensor:
        """Learning rate and coefficients of each leader at its step, float64 [leaders, width]."""
        rows = []
        for i in leaders:
            hyper = numbers(self.groups[self.entries[i].group], self.counts[i])
            rows.append([hyper.lr, *chain.coefs(hyper)])
        return torch.tensor(rows, dtype=torch.float64)

    def _recipe(self, active: Sequence[int]) -> dict[str, object]:
        """What all processes must be about to do, in words."""
        recipe: dict[str, object] = {"runner": self.choice.name, "state dtype": str(self.state_dtype)}
        for g, group in enumerate(self.groups):
            recipe |= {f"group {g}: {k}": str(v) for k, v in vars(numbers(group, 1)).items()}
        for i in active:
            entry = self.entries[i]
            words = (
                f"shape {tuple(entry.parameter.shape)}, {entry.parameter.dtype}, step {self.counts[i]}: {entry.chain}"
            )
            recipe[f"parameter {entry.name}"] = words
        return recipe


# Python per tensor is what a step waits for when tensors are small: these run in C.


def _same(some: Iterable[object], others: Sequence[object]) -> bool:
    """Whether these are the very same objects."""
    some = [*some]
    return len(some) == len(others) and all(map(is_, some, others))


def _present(grads: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Gradients by their place."""
    if any(map(is_, grads, repeat(None))):
        return {i: grad for i, grad in enumerate(grads) if grad is not None}
    return dict(enumerate(grads))  # type: ignore[arg-type]


def _as_they_are(grads: Iterable[Tensor]) -> bool:
    """Whether all gradients are dense and hang on no graph."""
    return set(map(_LAYOUT, grads)) <= {torch.strided} and not any(map(_IN_GRAPH, grads))
