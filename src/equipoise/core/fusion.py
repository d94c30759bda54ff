"""Fewer operations for the same step: factors known on the host are carried along and folded into what uses them.

A traced step multiplies and divides by coefficients as often as its equations do; eagerly each of them is a pass over
memory. Here a value is kept as `scale * value`, and an unread product as `scale * (x * y)` or `scale * (x / y)`, until
an operation takes it up: addition as `alpha`, as addcmul or as addcdiv, a product in its own scale. What depends on
coefficients alone is arithmetic of Python floats (float64), once per step and not once per tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from equipoise.core.arithmetic import SCALARS
from equipoise.core.builder import Like, wider
from equipoise.core.choosing import COMPARED, Choosing
from equipoise.core.summing import REDUCED, Summing
from equipoise.core.terms import Factor, Fused, Mask, Number, Product, Tape, Term, Value


def fuse(
    graph: GraphModule, tensors: int, sizes: tuple[int, int], scalars: Sequence[int] = (), *, stacked: bool = False
) -> Fused:
    """Fuse a traced step.

    Args:
        graph: its first `tensors` placeholders are tensors, the others 0-D host numbers.
        tensors: how many placeholders are tensors.
        sizes: which of the numbers are the elements, and the elements of a row, of the whole tensor.
        scalars: those among them that are 0-D state: host numbers, given after all others.
        stacked: whether the rows of a slice are tensors of their own: then scalars are [rows, 1], and so is whatever
            follows from sums over a tensor.
    """
    return _Fuser(graph, tensors, sizes, () if stacked else scalars, stacked=stacked).run()


_FILLED = {"zeros_like": 0.0, "ones_like": 1.0}
_NOTHING_NEW = ("clone", "detach", "alias")
_SAME = {
    "_to_copy": 0,
    "lift_fresh_copy": 0,
    "scalar_tensor": 0,
    "full": 1,
    "full_like": 1,
    "new_full": 2,
}  # on the host: which argument it is
_SIZES = ("sym_size", "sym_numel")


class _Fuser(Choosing, Summing):
    """Walks the graph once. Every node becomes a Term, a host number, or a store."""

    def __init__(
        self, graph: GraphModule, tensors: int, sizes: tuple[int, int], scalars: Sequence[int], *, stacked: bool
    ) -> None:
        self.graph, self.nodes = graph, list(graph.graph.nodes)
        given = [node for node in self.nodes if node.op == "placeholder"]
        columns = {node: i for i, node in enumerate(given[:tensors])}
        numbers = [*given[tensors:], *(given[i] for i in scalars)]
        super().__init__(Fused([], Tape(len(numbers)), scalars=len(scalars)), stacked=stacked)
        self.sizes = (Number(sizes[0]), Number(sizes[1]))
        self.scalars = {Number(len(numbers) - len(scalars) + k): i for k, i in enumerate(scalars)}
        for node in given[:tensors]:
            self.fused.inputs.append(self.value(node))
        self.known |= {node: Term(1.0, self.fused.inputs[i]) for node, i in columns.items()}
        self.known |= {node: Number(i) for i, node in enumerate(numbers)}

    def run(self) -> Fused:
        for node in self.nodes:
            if node.op == "get_attr":
                self.known[node] = getattr(self.graph, str(node.target)).item()
            elif node.op == "call_function":
                self.known[node] = self._node(node)
            elif node.op == "output":
                self.fused.outputs = [self._output(given) for given in node.args[0]]  # type: ignore[union-attr]
        return self.fused

    def _output(self, given: Any) -> Any:
        known = self.known[given]
        return self.tensor(known) if isinstance(known, Term) else known

    def _node(self, node: Node) -> Any:
        args: list[Any] = [self.known[a] if isinstance(a, Node) else a for a in node.args]
        name = _name(node)
        if not isinstance(node.meta.get("val"), torch.Tensor):
            if name in _SIZES:
                return self.size(node, name, args)
            return self.fused.tape.put(node.target, *args)  # type: ignore[arg-type]  # arithmetic of sizes
        if name == "copy_":
            return self._store(node, args)
        if name == "arange":
            self.fused.index = self.fused.index or self.value(node)
            return Term(1.0, self.fused.index)
        if name in _FILLED and node.meta["val"].dtype.is_floating_point:
            return _FILLED[name]
        if name in _SAME and not isinstance(args[_SAME[name]], Term | Mask):
            return args[_SAME[name]]
        if name in REDUCED:
            return self.reduced(name, node, args)
        if all(isinstance(self.known[n], Number | bool | float | int) for n in node.all_input_nodes):
            return self._on_host(node, name, args)
        return self._on_tensors(node, name, args)

    def _store(self, node: Node, args: Sequence[Any]) -> None:
        target, value = args
        if isinstance(target, Term):
            self.fused.stores.append((target.of, self.tensor(value, node.args[1])))  # type: ignore[arg-type]
        else:
            self.fused.kept[self.scalars[target]] = value

    def _on_tensors(self, node: Node, name: str, args: list[Any]) -> Any:
        if name in COMPARED and _one_dtype(args):
            return self.compare(node, name, args)
        if name in _NOTHING_NEW:
            return args[0]
        if name == "_to_copy" and isinstance(args[0], Mask) and args[0].of.dtype == node.meta["val"].dtype:
            return Term(1.0, args[0].of)
        rule = getattr(self, f"_{name}", None)
        result = rule(args, **node.kwargs) if rule is not None and (name == "view" or _one_dtype(args)) else None
        result = self._as_it_is(node, name, args) if result is None else result
        if len(node.users) != 1 and isinstance(result, Term) and isinstance(result.of, Product):
            return Term(result.scale, self.bare(result))  # compute it once for all its users
        return result

    def _on_host(self, node: Node, name: str, args: Sequence[Any]) -> Any:
        """Arithmetic on the host. Operations that Python does not have run on 0-D float64 tensors."""
        if name in SCALARS and not node.kwargs:
            return self.fused.tape.put(SCALARS[name], *args)
        target, kwargs = node.target, {k: v for k, v in node.kwargs.items() if k in ("alpha", "rounding_mode")}

        def call(*values: Any) -> Any:
            boxed = [_boxed(v) if isinstance(a, Node) else v for v, a in zip(values, node.args, strict=True)]
            return target(*boxed, **kwargs).item()  # type: ignore[operator]

        return self.fused.tape.put(call, *args)

    def _as_it_is(self, node: Node, name: str, args: Sequence[Any]) -> Term:
        values = [self.tensor(a, n) if isinstance(n, Node) else a for a, n in zip(args, node.args, strict=True)]
        if any(isinstance(a, list) for a in values):
            raise NotImplementedError(f"{node.target} does not work by element; run this chain with runner='reference'")
        named = {k: self.tensor(self.known[v], v) if isinstance(v, Node) else v for k, v in node.kwargs.items()}
        kwargs = () if name == "_to_copy" else tuple(named.items())
        return Term(1.0, self.emit(name, values, kwargs, self._like(node, values), node.target))

    def _like(self, node: Node, values: Sequence[Any]) -> Like:
        """A result is as wide as the widest that it is made of, whatever the traced shape says."""
        tensors = [v for v in values if isinstance(v, Value)]
        return Like(node.meta["val"].dtype, wider(*tensors).extent)

    # ---- rules: args -> Term, or None for "as it is" ----------------------------------------------------------------

    def _mul(self, args: Sequence[Any]) -> Term | None:
        a, b = args
        if not isinstance(b, Term):
            return Term(self.by(a.scale, b), a.of)
        if not isinstance(a, Term):
            return Term(self.by(a, b.scale), b.of)
        if a.scale != 1.0 and b.scale != 1.0:  # the scales may be what keeps x * y in range
            a, b = Term(1.0, self.tensor(a)), Term(1.0, self.tensor(b))
        return Term(self.by(a.scale, b.scale), Product("mul", self.bare(a), self.bare(b)))

    def _div(self, args: Sequence[Any], rounding_mode: str | None = None) -> Term | None:
        a, b = args
        if rounding_mode is not None:
            return None
        if not isinstance(b, Term):
            return Term(self.over(a.scale, b), a.of)
        if not isinstance(a, Term):
            x = self.bare(b)
            return Term(self.over(a, b.scale), self.emit("reciprocal", [x], (), x))
        return Term(self.over(a.scale, b.scale), Product("div", self.bare(a), self.bare(b)))

    def _sqrt(self, args: Sequence[Any]) -> Term | None:
        """Twice 1/x, and once a root: torch.sqrt calls a library that takes 1.5 times as long, and far longer when
        other programs run."""
        x = self.tensor(args[0])
        root = self.emit("rsqrt", [x], (), x)
        return Term(1.0, self.emit("reciprocal", [root], (), x))

    def _neg(self, args: Sequence[Any]) -> Term | None:
        return Term(self.by(args[0].scale, -1.0), args[0].of)

    def _add(self, args: Sequence[Any], alpha: float = 1.0) -> Term | None:
        a, b = args
        if not isinstance(b, Term):
            return self._shifted(a, self.by(b, alpha))
        b = Term(self.by(b.scale, alpha), b.of)
        return self._sum(a, b) if isinstance(a, Term) else self._shifted(b, a)

    def _sub(self, args: Sequence[Any], alpha: float = 1.0) -> Term | None:
        return self._add(args, alpha=-alpha)

    def _rsub(self, args: Sequence[Any], alpha: float = 1.0) -> Term | None:
        x, other = args[:2]
        return self._add([other, x], alpha=-(args[2] if len(args) > 2 else alpha))

    def _lerp(self, args: Sequence[Any]) -> Term | None:
        a, b, weight = args
        if isinstance(weight, Term) or not (isinstance(a, Term) and isinstance(b, Term)):
            return None
        x, y = self.tensor(a), self.tensor(b)
        return Term(1.0, self.emit("lerp", [x, y, weight], (), wider(x, y)))

    def _sum(self, a: Term, b: Term) -> Term:
        """a + b: the one with a product, or with a scale, is added to the other."""
        if isinstance(b.of, Value) and (isinstance(a.of, Product) or (b.scale == 1.0 and a.scale != 1.0)):
            a, b = b, a
        x = self.tensor(a)
        if isinstance(b.of, Product) and b.of.mixed:  # three operands, one of them broadcast: slow
            b = Term(b.scale, self.bare(b))
        if isinstance(b.of, Product):
            name, (y, z) = f"addc{b.of.name}", (b.of.left, b.of.right)
            return Term(1.0, self.emit(name, [x, y, z], (("value", b.scale),), wider(x, b.of)))
        return Term(1.0, self.emit("add", [x, b.of], (("alpha", b.scale),), wider(x, b.of)))

    def _shifted(self, a: Term, number: Factor) -> Term:
        """a + number; a scale goes in as alpha, which adds the scaled tensor to the number."""
        x = self.bare(a)
        if a.scale == 1.0:
            return Term(1.0, self.emit("add", [x, number], (), x))
        return Term(1.0, self.emit("add", [self.box(number, x.dtype), x], (("alpha", a.scale),), x))

    def _bitwise_and(self, args: Sequence[Any]) -> Any:
        a, b = args
        return Mask(self.emit("mul", [a.of, b.of], (), wider(a.of, b.of))) if _masks(args) else None

    def _bitwise_or(self, args: Sequence[Any]) -> Any:
        a, b = args
        return Mask(self.emit("maximum", [a.of, b.of], (), wider(a.of, b.of))) if _masks(args) else None


def _masks(args: Sequence[Any]) -> bool:
    return all(isinstance(a, Mask) for a in args)


def _name(node: Node) -> str:
    """torch's name of an operator, or Python's."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.split("::")[1] if schema is not None else getattr(node.target, "__name__", "")


def _one_dtype(args: Sequence[Any]) -> bool:
    """Whether all tensors are floats of one dtype. Masks may take part: they are chosen by."""
    dtypes = {a.of.dtype for a in args if isinstance(a, Term | Mask)}
    return len(dtypes) == 1 and dtypes.pop().is_floating_point


def _boxed(value: Any) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
