"""A phase of the step as straight lines of out= operations, one for each segment, and the code that runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from equipoise.core.choosing import chosen
from equipoise.core.places import Kind, Places, Segments
from equipoise.core.slicing import Key, Traced, trace_phase
from equipoise.core.summing import row_length
from equipoise.core.terms import INTEGERS, Bits, Factor, Fused, Number, Operation, Tape, Value
from equipoise.core.trace import Asked, Known, Layout


@dataclass(frozen=True, eq=False)
class Segment:
    """`run(*tensors, *numbers, *scratch, *sums)`: p, g, state...; what `numbers` returns; scratch; where sums go.

    `sums` are (place on the tape, kind) of what it finds in each slice; `before` the places that are worked out first,
    for each tensor. A `steady` one is told the same for all tensors with the same coefficients.
    """

    run: Callable[..., object]
    boxes: tuple[tuple[Factor | bool, torch.dtype], ...]
    used: tuple[int, ...]
    sums: tuple[tuple[int, str], ...]
    before: tuple[int, ...]
    steady: bool

    def numbers(self, values: Sequence[Any], device: torch.device) -> list[Any]:
        """What its operations need to know, from the numbers known."""
        boxes = [values[b.index] if isinstance(b, Number) else b for b, _ in self.boxes]
        tensors = [torch.tensor(b, dtype=d, device=device) for b, (_, d) in zip(boxes, self.boxes, strict=True)]
        return [*tensors, *(values[i] for i in self.used)]


@dataclass(frozen=True, eq=False)
class Program:
    """One phase. `scratch` are kinds of memory, those in `kept` for a whole tensor, the others for a slice.

    `first`: places on the tape that are the same for all tensors with the same coefficients; `after`: those that are
    worked out at the end, for `outputs` and for `scalars`, state that is a number. An `indexed` one takes each
    element's place in its tensor last, int64. `rows`: how many outputs are one for each row. `sized`: whether it asks
    for sizes of a tensor; `own`: for anything that each tensor has for itself.
    """

    segments: tuple[Segment, ...]
    tape: Tape
    scratch: tuple[Kind, ...]
    kept: frozenset[int]
    written: tuple[int, ...]
    first: tuple[int, ...]
    after: tuple[int, ...]
    outputs: tuple[Any, ...]
    scalars: tuple[tuple[int, Any], ...]
    indexed: bool
    rows: int
    sized: bool
    own: bool
    asked: Asked
    given: tuple[Key, ...]
    found: tuple[Key, ...]


_PROGRAMS: dict[tuple[object, ...], Program] = {}


def program_for(
    layout: Layout, known: tuple[Known, ...] = (), given: tuple[Key, ...] = (), *, stacked: bool = False
) -> Program:
    """The program of a phase of a layout, built on first use."""
    key = (layout, known, given, stacked)
    if key not in _PROGRAMS:
        with torch.no_grad():
            _PROGRAMS[key] = write(trace_phase(layout, known, given, stacked=stacked))
    return _PROGRAMS[key]


def write(traced: Traced) -> Program:
    """Place every result and write the code."""
    fused = _live(traced.fused)
    segments = Segments(fused)
    places = Places(segments)
    own = _Own(fused, traced.sizes, len(traced.given))
    steps = _steps(fused.tape, segments, own)
    made = tuple(_Writer(fused, segments, places, k).segment(steps[k], own) for k in range(segments.count))
    written = tuple(i for i, v in enumerate(fused.inputs) if any(target == v for target, _ in fused.stores))
    first = tuple(k for k, _ in enumerate(fused.tape.steps, fused.tape.given) if k not in own.numbers)
    rows = sum(isinstance(output, Value) for output in fused.outputs)
    return Program(
        made, fused.tape, tuple(places.scratch), frozenset(places.kept), written, first, steps[-1],
        tuple(fused.outputs), tuple(fused.kept.items()), fused.index is not None, rows, own.sized, own.read,
        traced.asked,
        traced.given, traced.found,
    )  # fmt: skip


class _Own:
    """The numbers that each tensor has for itself: its sizes, what was found of it, its state, and what follows."""

    def __init__(self, fused: Fused, sizes: tuple[int, int], given: int) -> None:
        tape = fused.tape
        found = range(sizes[1] + 1, sizes[1] + 1 + given)
        state = range(tape.given - fused.scalars, tape.given)
        self.numbers = {*sizes, *found, *state}
        sized = set(sizes)
        for k, step in enumerate(tape.steps, tape.given):
            arguments = {a.index for a in step[1] if isinstance(a, Number)} if isinstance(step, tuple) else set()
            self.numbers |= {k} if arguments & self.numbers or not arguments else set()
            sized |= {k} if arguments & sized else set()
        read = {n.index for o in fused.operations for n in o.numbers()}
        read |= {n.index for n, _ in fused.boxes.values() if isinstance(n, Number)}
        read |= {n.index for n in (*fused.outputs, *fused.kept.values()) if isinstance(n, Number)}
        self.sized, self.read = bool(read & sized), bool(read & self.numbers) or fused.scalars > 0


def _live(fused: Fused) -> Fused:
    """Without operations that nobody reads."""
    wanted = {source for _, source in fused.stores} | {v for v in fused.outputs if isinstance(v, Value)}
    wanted |= {step.out for step in fused.tape.steps if not isinstance(step, tuple)}
    found = []
    for operation in reversed(fused.operations):
        if operation.out in wanted:
            found.append(operation)
            wanted |= set(operation.reads())
    fused.operations[:] = reversed(found)
    return fused


def _steps(tape: Tape, segments: Segments, own: _Own) -> list[tuple[int, ...]]:
    """Places on the tape to work out for each tensor, before each segment and at the end."""
    levels: list[list[int]] = [[] for _ in range(segments.count + 1)]
    for k, step in enumerate(tape.steps, tape.given):
        if isinstance(step, tuple) and k in own.numbers:
            levels[min(segments.numbers[k], segments.count)].append(k)
    return [tuple(level) for level in levels]


class _Writer:
    """Writes the code of one segment."""

    def __init__(self, fused: Fused, segments: Segments, places: Places, k: int) -> None:
        self.fused, self.segments, self.places = fused, segments, places
        self.last = k == segments.count - 1
        self.operations = [o for o in places.operations if segments.values[o.out] == k]
        read = {a for o in self.operations for a in o.reads()}
        stored = {source for _, source in places.stores} | set(fused.outputs) if self.last else set()
        self.boxes = [v for v in fused.boxes if v in read or v in stored]
        self.used = sorted({a.index for o in self.operations for a in o.numbers()})
        self.sums = [(i, step.out) for i, step in enumerate(fused.tape.steps, fused.tape.given)
                     if not isinstance(step, tuple) and segments.values[step.out] == k]  # fmt: skip
        self.graph = fx.Graph()
        self.slot: dict[Any, fx.Node] = {}

    def segment(self, before: tuple[int, ...], own: _Own) -> Segment:
        """The code, and what it needs."""
        outputs = [v for v in self.fused.outputs if isinstance(v, Value)] if self.last else []
        results = self._placeholders(len(outputs))
        for operation in self.operations:
            self._write_one(operation)
        if self.last:
            for target, source in self.places.stores:
                if self.slot[source] is not self.slot[target]:
                    self.graph.call_method("copy_", (self.slot[target], self.slot[source]))
        for result, value in zip(results, outputs, strict=True):
            self.graph.call_method("copy_", (result, self.slot[value]))
        self.graph.output(())
        run = fx.GraphModule(nn.Module(), self.graph).forward
        boxes = tuple(self.fused.boxes[v] for v in self.boxes)
        sums = tuple((i, self.segments.sums[out]) for i, out in self.sums)
        told = {*self.used, *(number.index for number, _ in boxes if isinstance(number, Number))}
        return Segment(run, boxes, tuple(self.used), sums, before, not told & own.numbers)

    def _placeholders(self, outputs: int) -> list[fx.Node]:
        fused, graph, slot = self.fused, self.graph, self.slot
        for v in fused.inputs:
            slot[v] = graph.placeholder(f"t{v.index}")
        for v in self.boxes:
            slot[v] = graph.placeholder(f"b{v.index}")
        for i in self.used:
            slot[Number(i)] = graph.placeholder(f"n{i}")
        scratch = [graph.placeholder(f"s{i}") for i in range(len(self.places.scratch))]
        for i, out in self.sums:
            slot[out] = graph.placeholder(f"r{i}")
        results = [graph.placeholder(f"o{i}") for i in range(outputs)]
        if fused.index is not None:
            slot[fused.index] = graph.placeholder("index")
        for value, place in self.places.of.items():
            slot[value] = slot[place] if isinstance(place, Value) else scratch[place]
        return results

    def _write_one(self, operation: Operation) -> None:
        graph, slot = self.graph, self.slot

        def argument(a: Any) -> Any:
            if isinstance(a, Bits):
                return graph.call_method("view", (slot[a.of], INTEGERS[a.of.dtype]))
            return slot[a] if isinstance(a, Value | Number) else a

        args = tuple(argument(a) for a in operation.args)
        out = argument(Bits(operation.out) if operation.bits else operation.out)
        if operation.name in ("_to_copy", "copy"):
            graph.call_method("copy_", (out, args[0]))
            return
        if operation.name in ("dot", "sum", "amax") and operation.out in self.segments.sums:
            args = tuple(graph.call_method("view", (a, -1)) for a in args)
            args = args if operation.name == "dot" else (*args, 0)
        kwargs = {key: argument(value) for key, value in operation.kwargs}
        graph.call_function(_out_form(operation), args, {**kwargs, "out": out})


def _out_form(operation: Operation) -> Callable[..., object]:
    """The function that takes out=: torch's own, which is quick to call, else the operator's overload."""
    if operation.target in (chosen, row_length):
        return operation.target
    if hasattr(torch, operation.name):
        return getattr(torch, operation.name)
    for name in (f"{operation.target._overloadname}_out", "out"):
        if name in operation.target.overloadpacket.overloads():
            return getattr(operation.target.overloadpacket, name)
    raise NotImplementedError(f"{operation.target} has no out= form; run this chain with runner='reference'")
