"""Early: state that the phase before a barrier writes, so that the phase after it reads what it would compute anew.

Everything before a barrier is computed twice, once for what is asked and once for what is written. Moving averages need
not be: written in the first phase they serve the second, which then has no use for the gradient. A step that fails in
between leaves that state one step ahead of the parameters; the stepper notices and refuses to go on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from equipoise.core.numerics import compute_dtype
from equipoise.core.trace import Layout, answered, trace_list

_STATE = 2  # inputs of a phase before its state: p and g
_COPY = torch.ops.aten.copy_.default


@cache
def early_state(layout: Layout) -> tuple[int, ...]:
    """The state, by its place among that of kernels, that the first of two phases writes; () where nothing is gained.

    Only state that is kept as it is computed: what is rounded when it is kept is not what the step would compute with.
    """
    chain, dtype = layout.chain, compute_dtype(layout.p_dtype)
    import os

    if os.environ.get("EQ") == "0" or layout.barriers != 1 or chain.solves:
        return ()
    kept = zip(layout.specs, layout.state_dtypes, strict=True)
    able = [k for k, (spec, own) in enumerate(kept) if spec.shape == "param" and not spec.frozen and own == dtype]
    first, asked = trace_list(layout, 1, (), able)
    last, _ = trace_list(layout, 1, (answered(layout, asked),))
    return tuple(k - _STATE for k in worthwhile(first, last, [k + _STATE for k in able]))


def reread_state(graph: GraphModule, early: Sequence[int], length: int) -> None:
    """Let the last phase over `length` tensors read what the first has written."""
    reread(graph, [(k + _STATE) * length + i for k in early for i in range(length)])


def worthwhile(first: GraphModule, last: GraphModule, candidates: Sequence[int]) -> tuple[int, ...]:
    """Which inputs the first phase had better write: the last one then reads fewer tensors. None if it does not.

    Of an input that is chosen the first phase computes the new value anyway, and the last one needs the old value for
    nothing else.

    Args:
        first, last: the two phases, inputs in one order; both write all state that they have a new value of.
        candidates: places of state among their inputs.
    """
    inputs, written, asked = _inputs(first), _written(first), _needed([_output(first)])
    chosen = [k for k in candidates if k in range(len(inputs)) and written.get(inputs[k]) in asked]
    inputs = _inputs(last)
    while chosen:
        places = [inputs[k] for k in chosen]
        old = _needed(_roots(last, places), [_written(last)[place] for place in places])
        able = [k for k in chosen if inputs[k] not in old]
        if able == chosen:
            break
        chosen = able
    spared = _large(_needed(_roots(last, [])), inputs[0]) - _large(_reads(last, [inputs[k] for k in chosen]), inputs[0])
    return tuple(chosen) if spared > 0 else ()


def reread(graph: GraphModule, chosen: Sequence[int]) -> None:
    """Let the last phase read the values of the inputs at `chosen` instead of computing and writing them."""
    inputs = _inputs(graph)
    places = {inputs[k] for k in chosen}
    for node in list(graph.graph.nodes):
        if node.target is _COPY and node.args[0] in places:
            place, value, *_ = node.args
            graph.graph.erase_node(node)
            value.replace_all_uses_with(place)
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()


def _reads(graph: GraphModule, early: Collection[Node]) -> set[Node]:
    """What a phase reads when the new values of these inputs are at hand."""
    values = {_written(graph)[place]: place for place in early}
    needed = _needed(_roots(graph, early), values)
    return needed | {place for value, place in values.items() if value in needed}


def _large(nodes: Iterable[Node], p: Node) -> int:
    """How many of the nodes are inputs of the parameter's shape."""
    return sum(node.op == "placeholder" and _shape(node) == _shape(p) for node in nodes)


def _shape(node: Node) -> object:
    value = node.meta.get("val")
    return value.shape if isinstance(value, Tensor) else None


def _needed(roots: Iterable[Node], known: Collection[Node] = ()) -> set[Node]:
    """All that the roots follow from, not looking behind what is known."""
    found: set[Node] = set()
    todo = list(roots)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += [] if node in known else node.all_input_nodes
    return found


def _roots(graph: GraphModule, early: Collection[Node]) -> list[Node]:
    """What a phase is for: what it hands out, and what it writes besides what was written early."""
    return [_output(graph), *[value for place, value in _written(graph).items() if place not in early]]


def _inputs(graph: GraphModule) -> list[Node]:
    return [node for node in graph.graph.nodes if node.op == "placeholder"]


def _output(graph: GraphModule) -> Node:
    return next(node for node in graph.graph.nodes if node.op == "output")


def _written(graph: GraphModule) -> dict[Node, Node]:
    """Inputs that a phase writes -> what it writes to them."""
    copies = [node.args for node in graph.graph.nodes if node.target is _COPY]
    return {place: value for place, value, *_ in copies if isinstance(place, Node) and isinstance(value, Node)}  # type: ignore[misc]
