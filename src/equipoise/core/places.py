"""Where every result of a fused step lives, and in which of its segments it is computed.

A segment ends where something follows from a sum over the whole tensor: then all slices must be seen first. Results
live in the tensor that they are stored to as soon as nobody reads the old value, else in scratch, which is free again
when its value is dead. What a later segment reads is kept for the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equipoise.core.terms import SCALAR, Fused, Number, Operation, Sum, Value

Kind = tuple[torch.dtype, int]  # of a value: its dtype and its extent


def kind_of(value: Value) -> Kind:
    """What memory a value needs."""
    return value.dtype, value.extent


def empty(kind: Kind, numel: int, device: torch.device) -> Tensor:
    """Scratch of a kind for so many elements."""
    dtype, extent = kind
    return torch.empty((numel,) if extent else (), dtype=dtype, device=device)


class Segments:
    """The operations of a fused step in the order in which they run, and the segment of each operation and number."""

    def __init__(self, fused: Fused) -> None:
        self.fused = fused
        self.numbers = [0] * fused.tape.given
        self.values: dict[Value, int] = {}
        self.sums: dict[Value, str] = {step.out: step.kind for step in fused.tape.steps if isinstance(step, Sum)}
        waiting = iter(list(fused.operations))
        for step in fused.tape.steps:
            if isinstance(step, Sum):
                self._until(step.out, waiting)
                self.numbers.append(self.values[step.out] + 1)
            else:
                self.numbers.append(max((self.of(a) for a in step[1]), default=0))
        self._until(None, waiting)
        self._sink()
        self.operations = sorted(fused.operations, key=lambda operation: self.values[operation.out])
        self.count = 1 + max([*self.values.values(), *(self.of(a) for _, a in fused.stores)], default=0)

    def _until(self, last: Value | None, waiting: object) -> None:
        """Place operations up to the one that gives `last`."""
        for operation in waiting:  # type: ignore[attr-defined]
            arguments = [*operation.args, *(value for _, value in operation.kwargs)]
            reads = [self.of(a) for a in (*arguments, *operation.reads())]
            self.values[operation.out] = max(reads, default=0)
            if operation.out == last:
                return

    def _sink(self) -> None:
        """What follows from inputs alone waits for its first reader: it would only be kept, or memory read twice."""
        made = {operation.out: operation for operation in self.fused.operations}
        readers: dict[Value, list[Operation]] = {}
        for operation in self.fused.operations:
            for value in set(operation.reads()):
                readers.setdefault(value, []).append(operation)
        light: dict[Value, bool] = {}  # follows from inputs, along values that nobody else reads
        for out, operation in made.items():
            light[out] = all(v not in made or (light[v] and len(readers[v]) == 1) for v in operation.reads())
        last = max(self.values.values(), default=0)
        for out in reversed(made):
            if light[out] and out not in self.sums:
                own = [self.values[reader.out] for reader in readers.get(out, ())]
                self.values[out] = min(own, default=last)

    def of(self, argument: object) -> int:
        """The segment from which on a number or value is known."""
        if isinstance(argument, Number):
            return self.numbers[argument.index]
        if isinstance(argument, Value) and argument in self.fused.boxes:
            return self.of(self.fused.boxes[argument][0])
        return self.values.get(argument, 0) if isinstance(argument, Value) else 0


class Places:
    """Operations may run in place: they are by element, and what they reduce to is of another kind.

    `of` gives the input that a result lives in, or the number of a scratch slot; slots in `kept` are for whole tensors.
    """

    def __init__(self, segments: Segments) -> None:
        self.segments, self.fused = segments, segments.fused
        self.operations, self.stores = _with_copies(segments)
        self.at = {operation.out: segments.values[operation.out] for operation in self.operations}
        self.last: dict[Value, int] = {}
        for i, operation in enumerate(self.operations):
            self.last.update(dict.fromkeys(operation.reads(), i))
        self.last.update({source: len(self.operations) for _, source in self.stores})
        self.last.update({v: len(self.operations) for v in self.fused.outputs if isinstance(v, Value)})
        self.wish = self._wishes()
        self.of: dict[Value, Value | int] = {}
        self.scratch: list[Kind] = []
        self.kept: set[int] = set()
        self.free: dict[tuple[Kind, bool], list[int]] = {}
        self.holds: dict[Value, Value] = {v: v for v in self.fused.inputs}
        for i, operation in enumerate(self.operations):
            self._place(i, operation)

    def _wishes(self) -> dict[Value, Value]:
        """The stored tensor that a result would best be computed in: its own, or that of the result made from it."""
        wish = {source: target for target, source in reversed(self.stores) if kind_of(source) == kind_of(target)}
        for i, operation in reversed(list(enumerate(self.operations))):
            if operation.out in wish:
                dying = [a for a in operation.reads() if self.last[a] == i and a not in wish]
                alike = [a for a in dying if kind_of(a) == kind_of(operation.out) and a not in self.fused.inputs]
                wish.update({a: wish[operation.out] for a in alike[:1] if a not in self.fused.boxes})
        return wish

    def _place(self, i: int, operation: Operation) -> None:
        for value in {a for a in operation.reads() if self.last[a] == i}:
            place = self.of.get(value)
            if isinstance(place, int):
                self.free.setdefault((kind_of(value), place in self.kept), []).append(place)
        target, out = self.wish.get(operation.out), operation.out
        if out in self.segments.sums:
            return
        if target is not None and self.last.get(self.holds[target], -1) <= i:
            self.of[out], self.holds[target] = target, out
        else:
            self.of[out] = self._take(kind_of(out), self._crosses(out))

    def _crosses(self, value: Value) -> bool:
        """Whether another segment reads it."""
        last = self.last.get(value, -1)
        read_in = self.at[self.operations[last].out] if last < len(self.operations) else self.segments.count - 1
        return last >= 0 and value.extent != SCALAR and read_in != self.at[value]

    def _take(self, kind: Kind, kept: bool) -> int:
        if self.free.get((kind, kept)):
            return self.free[kind, kept].pop()
        self.scratch.append(kind)
        self.kept |= {len(self.scratch) - 1} if kept else set()
        return len(self.scratch) - 1


def _with_copies(segments: Segments) -> tuple[list[Operation], Sequence[tuple[Value, Value]]]:
    """The operations and stores, with a copy for what cannot be computed where it is stored: an input (or host number)
    that is stored elsewhere, whose own tensor may be written first, and results of another kind, as soon as nobody
    reads the old value."""
    fused, operations, stores = segments.fused, list(segments.operations), []
    count = 1 + max(v.index for v in (*fused.inputs, *fused.boxes, *(o.out for o in operations)))
    for target, source in fused.stores:
        if source != target and (source in fused.inputs or kind_of(source) != kind_of(target)):
            copy = Value(count, target.dtype, target.extent)
            where = [i for i, o in enumerate(operations) if target in o.reads() or o.out == source]
            place = 1 + max(where, default=-1)
            segment = max(segments.of(source), *(segments.values[operations[i].out] for i in where), 0)
            operations.insert(place, Operation("copy", None, (source,), (), copy))
            segments.values[copy] = segment
            source, count = copy, count + 1
        stores.append((target, source))
    return operations, stores
