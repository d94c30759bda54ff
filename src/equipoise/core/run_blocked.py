"""Eager in cache-sized slices with scratch allocated once: for machines without a compiler, and for small models.

The step is traced like the compiled one, fused by hand (see `fusion`) and replayed as out= operations, slice by slice.
Temporaries live in a few scratch slices that stay in cache; a result that only goes to a parameter or state tensor is
written there directly. What follows from a sum over a tensor runs when all its slices were seen; where all parameters
must wait for each other, the step begins anew with the answer, so that nothing is written before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equipoise.core.lockstep import Engine, Ready, Share, Wait
from equipoise.core.program import Program, Segment, program_for
from equipoise.core.slicing import Key
from equipoise.core.terms import FULL, Number, Value
from equipoise.core.trace import Known, Layout
from equipoise.core.units import Cut, Memory, Meter, Unit, cut

BLOCK = 1 << 18  # elements; measured best on 2 cores with 1 MB of cache each
SMALL = 1 << 14  # elements; tensors from here up are stepped where they are


class Slices:
    """The tensors of one layout, stepped slice by slice.

    Args:
        layout: of all of them; no level of theirs needs other processes.
        ps, states: flattened or as rows, state grouped by name.
        firsts: where each tensor begins in the parameter that it is a part of.
        members: entries of the optimizer.
        per_row: elements of a row of each parameter.
    """

    def __init__(
        self,
        layout: Layout,
        ps: Sequence[Tensor],
        states: Sequence[Sequence[Tensor]],
        firsts: Sequence[int] = (),
        *,
        members: Sequence[int] = (),
        per_row: Sequence[int] = (),
    ) -> None:
        self.layout, self.members = layout, members or range(len(ps))
        self.firsts, self.per_row = firsts or [0] * len(ps), per_row or [1] * len(ps)
        self.columns = [list(ps), *map(list, states)]
        self.shapes = ["param", *(spec.shape for spec in layout.specs)]
        self.indexed = any(stage.indexed for stage in layout.chain.stages)
        self.memory = Memory(layout.device)
        self.kinds: list[int] = []
        self.units: list[Unit] = []
        self.cuts: dict[tuple[Unit, Program], Cut] = {}
        self.steady: dict[tuple[bool, int], tuple[list[Any], list[list[Any]]]] = {}
        self.meter = Meter(layout) if layout.measured else None
        self.sums: list[list[float]] = []

    def run(self, gs: Sequence[Tensor], rows: Tensor) -> Engine:
        """Step all tensors: `gs` shaped like the parameters given, `rows` [count, width] float64 on the CPU."""
        distinct, kinds = _distinct(rows)
        if kinds != self.kinds:
            self._arrange(kinds)
        known: tuple[Known, ...] = ()
        given: tuple[Key, ...] = ()
        values: list[float] = []
        while True:
            programs = {stacked: self._program(known, given, stacked) for stacked in {u.stacked for u in self.units}}
            asked = next(iter(programs.values())).asked
            if asked.index < 0:
                yield Ready()
            parts = self._phase(programs, gs, distinct, values)
            if asked.index < 0:
                break
            shares = {name: Share(kind, parts[:, k]) for k, (name, kind) in enumerate(asked.scalars)}
            answer = yield Wait(self.layout.chain, asked.index, self.members, shares)
            assert answer is not None
            known = (*known, Known("global", tuple(answer)))
            values += [float(value) for value in answer.values()]  # type: ignore[arg-type]
            given = (*given, *(key for program in programs.values() for key in program.found))
        if self.meter is not None:
            self.sums = self.meter.read(len(gs))

    def _program(self, known: tuple[Known, ...], given: tuple[Key, ...], stacked: bool) -> Program:
        return program_for(self.layout, known, () if stacked else given, stacked=stacked)

    def _phase(
        self, programs: dict[bool, Program], gs: Sequence[Tensor], distinct: list[list[float]], answers: list[float]
    ) -> Tensor:
        """Run one phase over all units; what it asks for, [tensors, parts]."""
        asked = len(next(iter(programs.values())).asked.scalars)
        parts = torch.zeros(len(gs), asked, dtype=torch.float64)
        pairs = {(unit.stacked, self.kinds[unit.members[0]]) for unit in self.units}
        self.steady = {(s, kind): self._steady(programs[s], distinct[kind], answers) for s, kind in pairs}
        for unit in self.units:
            unit.found = unit.found if answers else []
            outputs = self._run(unit, programs[unit.stacked], [gs[i] for i in unit.members])
            if asked:
                parts[unit.members] = torch.stack(outputs[:asked], 1)
            unit.found += [output[0].item() for output in outputs[asked:]]
        return parts

    def _steady(
        self, program: Program, numbers: list[float], answers: list[float]
    ) -> tuple[list[Any], list[list[Any]]]:
        """The numbers of one kind of tensors, those that each has for itself left open; and what segments are told."""
        tape, found = program.tape, [None] * len(program.given)
        values: list[Any] = [*numbers, None, None, *found, *answers]
        values += [None] * (tape.given - len(values) + len(tape.steps))
        tape.play(values, program.first)
        device = self.layout.device
        return values, [segment.numbers(values, device) if segment.steady else [] for segment in program.segments]

    def _run(self, unit: Unit, program: Program, gs: Sequence[Tensor]) -> list[Tensor]:
        """One phase of one unit; its outputs, [tensors] each."""
        g, own = unit.gather(gs), self._cut(unit, program)
        values, told = self.steady[unit.stacked, self.kinds[unit.members[0]]]
        if program.own:
            values = values.copy()
            self._fill(unit, program, values)
        old = self.meter.before(unit) if self.meter is not None and program.asked.index < 0 else None
        for k, segment in enumerate(program.segments):
            program.tape.play(values, segment.before)
            numbers = told[k] if segment.steady else segment.numbers(values, self.layout.device)
            self._slices(unit, own, k, program, g, numbers)
            _learn(segment, own.sums[k], values)
        program.tape.play(values, program.after)
        for k, value in program.scalars:
            unit.scalars[k].fill_(_worth(value, values))
        unit.scatter(program.written)
        if old is not None and self.meter is not None:
            self.meter.after(unit, old, g, BLOCK)
        rows = iter(own.results.squeeze(2).double().cpu()) if program.rows else iter(())
        return [next(rows) if isinstance(value, Value) else torch.full((len(unit.members),), _worth(value, values),
                dtype=torch.float64) for value in program.outputs]  # fmt: skip

    def _fill(self, unit: Unit, program: Program, values: list[Any]) -> None:
        """The numbers that a tensor has for itself."""
        own = self.layout.width
        values[own : own + 2] = unit.sizes
        values[own + 2 : own + 2 + len(program.given)] = unit.found[: len(program.given)]
        scalars = [t.item() for t in unit.scalars.values()]
        values[program.tape.given - len(scalars) : program.tape.given] = scalars

    def _slices(self, unit: Unit, own: Cut, k: int, program: Program, g: Tensor, numbers: list[Any]) -> None:
        """Run one segment over all slices."""
        run, last = program.segments[k].run, k == len(program.segments) - 1
        for part, g_part in zip(own.slices, g.split(own.step), strict=True):
            index = [self._index(self.firsts[unit.members[0]] + part.start, len(g_part))] if program.indexed else []
            results = part.results if last else []
            run(part.p, g_part, *part.state, *numbers, *part.scratch, *part.sums[k], *results, *index)

    def _index(self, start: int, length: int) -> Tensor:
        out = self.memory.of((torch.int64, FULL), "index", (length,))
        return torch.arange(start, start + length, device=self.layout.device, out=out)

    # ---- made once --------------------------------------------------------------------------------------------------

    def _cut(self, unit: Unit, program: Program) -> Cut:
        if (unit, program) not in self.cuts:
            block = BLOCK if unit.g is None else unit.columns[0].numel()
            self.cuts[unit, program] = cut(unit, program, self.layout, self.memory, block)
        return self.cuts[unit, program]

    def _arrange(self, kinds: list[int]) -> None:
        """Who is packed with whom: small tensors with the same coefficients."""
        self.kinds, self.cuts = kinds, {}
        groups = sorted(self._packable(), key=lambda members: -sum(self.columns[0][i].numel() for i in members))
        packed = {i for members in groups for i in members}
        self.units = [self._pack(members) for members in groups]
        self.units += [self._single(i) for i in range(len(kinds)) if i not in packed]
        self.units.sort(key=lambda unit: -unit.columns[0].numel())  # memory is made for the largest first

    @property
    def _alone(self) -> bool:
        """Whether a sum over a tensor, or state of one number, forbids laying tensors end to end."""
        summed = any(stage.reduction in ("tensor", "global") for stage in self.layout.chain.stages)
        return summed or "scalar" in self.shapes

    def _packable(self) -> list[list[int]]:
        """Groups of two or more tensors that fill at most one slice."""
        if self.indexed or (self._alone and self.layout.rank == 2):
            return []
        groups: list[list[int]] = []
        current: dict[object, tuple[list[int], int]] = {}
        for i, p in enumerate(self.columns[0]):
            if p.numel() < min(SMALL, BLOCK):
                alike = self._alike(i, p)
                members, filled = current.get(alike, ([], BLOCK))
                if filled + p.numel() > BLOCK:
                    members, filled = [], 0
                    groups.append(members)
                members.append(i)
                current[alike] = (members, filled + p.numel())
        return [members for members in groups if len(members) > 1]

    def _alike(self, i: int, p: Tensor) -> object:
        """Tensors with the same can be packed together."""
        if self._alone:
            return self.kinds[i], p.numel(), self.per_row[i]
        sizes = (p.numel(), self.per_row[i]) if program_for(self.layout).sized else ()
        return self.kinds[i], p.shape[1:], sizes

    def _pack(self, members: list[int]) -> Unit:
        real = [[column[i].view(-1) for i in members] for column in self.columns]
        ps, count = [self.columns[0][i] for i in members], len(members)
        shape = (count, ps[0].numel()) if self._alone else (sum(map(len, ps)), *ps[0].shape[1:])
        shapes = {"param": shape, "scalar": (count, 1), "row": shape if self.layout.rank == 1 else (shape[0], 1)}
        dtypes = (self.layout.p_dtype, *self.layout.state_dtypes, self.layout.g_dtype)
        *columns, g = [
            self.memory.of((dtype, FULL), ("pack", k), shapes[own])
            for k, (dtype, own) in enumerate(zip(dtypes, [*self.shapes, "param"], strict=True))
        ]
        parts = [list(c.view(-1).split([t.numel() for t in own])) for c, own in zip(columns, real, strict=True)]
        sizes = (ps[0].numel(), self.per_row[members[0]])
        return Unit(members, columns, sizes, g, list(zip(real, parts, strict=True)), stacked=self._alone)

    def _single(self, i: int) -> Unit:
        p = self.columns[0][i]
        own = [column[i] for column in self.columns]
        scalars = {2 + k: t for k, t in enumerate(own[1:]) if self.shapes[1 + k] == "scalar"}
        return Unit([i], own, (p.numel(), self.per_row[i]), scalars=scalars)


def _learn(segment: Segment, sums: Tensor, values: list[Any]) -> None:
    """Put the parts of all slices together."""
    if segment.sums:
        for (place, kind), column in zip(segment.sums, zip(*sums.tolist(), strict=True), strict=True):
            values[place] = sum(column) if kind == "sum" else max(column)


def _worth(value: Any, values: list[Any]) -> float:
    return values[value.index] if isinstance(value, Number) else value


def _distinct(rows: Tensor) -> tuple[list[list[float]], list[int]]:
    """The different rows of a table, and which of them each tensor has."""
    if rows.stride(0) == 0 or len(rows) == 1:
        return [rows[0].tolist()], [0] * len(rows)
    seen: dict[tuple[float, ...], int] = {}
    kinds = [seen.setdefault(tuple(row), len(seen)) for row in rows.tolist()]
    return [list(row) for row in seen], kinds
