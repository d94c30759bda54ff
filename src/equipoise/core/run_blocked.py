"""Eager in cache-sized slices with scratch allocated once: for machines without a compiler, and for small models.

The step is traced like the fused one, then replayed as a list of out= operations, slice by slice. Temporaries live in a
few scratch slices that stay in cache; a result that only goes to a parameter or state tensor is written there directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from equipoise.core.numerics import compute_dtype
from equipoise.core.trace import Layout, trace_one

BLOCK = 1 << 18  # elements; measured best on 2 cores with 1 MB of cache each
Kind = tuple[torch.dtype, int]  # of a value: its dtype, and 0 for a scalar or 1 for a slice
_COPY = torch.ops.aten.copy_.default
_CAST = torch.ops.aten._to_copy.default


@dataclass(frozen=True)
class Op:
    """One operation: arguments are slot numbers wrapped in Slot, or constants; the result goes to slot `out`."""

    call: Callable[..., object]
    args: tuple[object, ...]
    out: int
    in_place: bool


@dataclass(frozen=True)
class Slot:
    """The value in a numbered slot, as an argument."""

    index: int


@dataclass(frozen=True)
class Program:
    """A straight line of operations. Slots: p, g, state..., eta, coefs..., then scratch of the given kinds."""

    ops: tuple[Op, ...]
    num_inputs: int
    scratch: tuple[Kind, ...]


_PROGRAMS: dict[Layout, Program] = {}


def program_for(layout: Layout) -> Program:
    """The program of a layout, built on first use."""
    if layout not in _PROGRAMS:
        with torch.no_grad():
            _PROGRAMS[layout] = _Builder(layout).build()
    return _PROGRAMS[layout]


class _Builder:
    """Turns a traced graph into a Program; a scratch slot is reused as soon as its value is dead."""

    def __init__(self, layout: Layout) -> None:
        self.nodes: list[Node] = list(trace_one(layout).graph.nodes)
        self.at = {node: i for i, node in enumerate(self.nodes)}
        self.last = {used: i for i, node in enumerate(self.nodes) for used in node.all_input_nodes}
        inputs = [node for node in self.nodes if node.op == "placeholder"]
        self.slot = {node: i for i, node in enumerate(inputs)}
        self.num_inputs = len(inputs)
        self.scratch: list[Kind] = []
        self.free: dict[Kind, list[int]] = {}
        self.ops: list[Op] = []

    def build(self) -> Program:
        for i, node in enumerate(self.nodes):
            if node.op == "call_function":
                self._emit(node)
                for used in {u for u in node.all_input_nodes if self.last[u] == i}:
                    self._release(used)
        return Program(tuple(self.ops), self.num_inputs, tuple(self.scratch))

    def _emit(self, node: Node) -> None:
        if node.target is _COPY:
            target, source = node.args[:2]
            if self.slot[source] != self.slot[target]:  # type: ignore[index]
                self._add(torch.Tensor.copy_, (source,), self.slot[target], in_place=True)  # type: ignore[index]
            return
        out = self._destination(node)
        if node.target is _CAST:
            self._add(torch.Tensor.copy_, node.args, out, in_place=True)
        else:
            self._add(_out_form(node), node.args, out, in_place=False)
        self.slot[node] = out

    def _destination(self, node: Node) -> int:
        """The tensor that the result is copied to if nobody reads its old value after now, else a scratch slot."""
        for user in node.users:
            target = user.args[0]
            if user.target is _COPY and user.args[1] is node and isinstance(target, Node):
                later = [r for r in target.users if r is not user and self.at[r] > self.at[node]]
                if not later and target.meta["val"].dtype == node.meta["val"].dtype:
                    return self.slot[target]
        value = node.meta["val"]
        return self._take((value.dtype, value.ndim))

    def _take(self, kind: Kind) -> int:
        if self.free.get(kind):
            return self.free[kind].pop()
        self.scratch.append(kind)
        return self.num_inputs + len(self.scratch) - 1

    def _release(self, node: Node) -> None:
        index = self.slot.get(node, -1) - self.num_inputs
        if index >= 0:
            self.free.setdefault(self.scratch[index], []).append(self.slot[node])

    def _add(self, call: Callable[..., object], args: Sequence[object], out: int, *, in_place: bool) -> None:
        values = tuple(Slot(self.slot[a]) if isinstance(a, Node) else a for a in args)
        self.ops.append(Op(call, values, out, in_place))


def _out_form(node: Node) -> Callable[..., object]:
    """The out= overload of an operation: `mul.Tensor` -> `mul.out`, `ge.Scalar` -> `ge.Scalar_out`."""
    target = node.target
    packet = target.overloadpacket  # type: ignore[union-attr]
    for name in (f"{target._overloadname}_out", "out"):  # type: ignore[union-attr]
        if name in packet.overloads():
            return getattr(packet, name)
    raise NotImplementedError(f"{target} has no out= form; run this chain with runner='reference'")


def _empty(kind: Kind, numel: int, device: torch.device) -> Tensor:
    dtype, ndim = kind
    return torch.empty((numel,) * ndim, dtype=dtype, device=device)


class Slices:
    """The tensors of one layout, stepped one after the other, slice by slice."""

    def __init__(self, layout: Layout, ps: Sequence[Tensor], states: Sequence[Sequence[Tensor]]) -> None:
        self.program = program_for(layout)
        self.tensors = [(p, [column[i] for column in states]) for i, p in enumerate(ps)]
        numel = min(BLOCK, max((p.numel() for p in ps), default=0))
        self.scratch = [_empty(kind, numel, layout.device) for kind in self.program.scratch]
        self.layout = layout

    def run(self, gs: Sequence[Tensor], rows: Tensor) -> None:
        """Step all tensors: `gs` flattened gradients, `rows` [count, width] float64 on the CPU."""
        table = rows.to(self.layout.device, compute_dtype(self.layout.p_dtype))
        for (p, state), g, row in zip(self.tensors, gs, table, strict=True):
            self._run_one((p, g, *state), row.unbind(0))

    def _run_one(self, tensors: tuple[Tensor, ...], coefs: tuple[Tensor, ...]) -> None:
        numel = tensors[0].numel()
        for start in range(0, numel, BLOCK):
            stop = min(start + BLOCK, numel)
            part = [_slice(t, start, stop, numel) for t in tensors] if stop - start < numel else list(tensors)
            scratch = [t[: stop - start] if t.ndim else t for t in self.scratch]
            _replay(self.program.ops, [*part, *coefs, *scratch])


def _slice(tensor: Tensor, start: int, stop: int, numel: int) -> Tensor:
    """A slice of a tensor; of a scalar a copy until the last slice, so that every slice reads the old value."""
    if tensor.ndim:
        return tensor[start:stop]
    return tensor if stop == numel else tensor.clone()


def _replay(ops: tuple[Op, ...], slots: list[Tensor]) -> None:
    for op in ops:
        args = [slots[a.index] if isinstance(a, Slot) else a for a in op.args]
        if op.in_place:
            op.call(slots[op.out], *args)
        else:
            op.call(*args, out=slots[op.out])
