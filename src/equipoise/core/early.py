"""Early: state that the phase before a barrier writes, so that the phase after it reads what it would compute anew.

Everything before a barrier is computed twice, once for what is asked and once for what is written. Moving averages need
not be: written in the first phase they serve the second, which then has no use for the gradient. A step that fails in
between leaves that state one step ahead of the parameters; the stepper notices and refuses to go on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

from torch import Tensor
from torch.fx import GraphModule, Node

from equipoise.core.graphs import behind, copies, inputs, output, written
from equipoise.core.numerics import compute_dtype
from equipoise.core.trace import Layout, answered, asked_at, trace_list

_STATE = 2  # inputs of a phase before its state: p and g


@cache
def early_state(layout: Layout) -> tuple[int, ...]:
    """The state, by its place among that of kernels, that the first of two phases writes; () where nothing is gained.

    Only state that is kept as it is computed: what is rounded when it is kept is not what the step would compute with.
    """
    chain, dtype = layout.chain, compute_dtype(layout.p_dtype)
    if layout.barriers != 1 or chain.solves or asked_at(layout, ()).thresholds:
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
    """Which inputs the first phase had better write: the last one then reads fewer tensors. () where it would not.

    Of an input that is chosen the first phase computes the new value anyway, and the last one needs the old value for
    nothing else.

    Args:
        first, last: the two phases, inputs in one order; both write all state that they have a new value of.
        candidates: places of state among their inputs.
    """
    theirs, new, asked = inputs(first), written(first), behind([output(first)])
    chosen = [k for k in candidates if new.get(theirs[k]) in asked]
    ours, values = inputs(last), written(last)
    while True:
        early = [ours[k] for k in chosen]
        old = behind(_roots(last, early), [values[place] for place in early])
        able = [k for k in chosen if ours[k] not in old]
        if able == chosen:
            break
        chosen = able
    known = {place for place in early if values[place] in old}  # read in the place of what they would follow from
    spared = _large(behind(_roots(last, ())), ours[0]) - _large(old | known, ours[0])
    return tuple(chosen) if spared > 0 else ()


def reread(graph: GraphModule, chosen: Sequence[int]) -> None:
    """Let the last phase read the values of the inputs at `chosen` instead of computing and writing them."""
    places = [inputs(graph)[k] for k in chosen]
    for node in copies(graph):
        place, value, *_ = node.args
        if place in places:
            graph.graph.erase_node(node)
            value.replace_all_uses_with(place)  # type: ignore[union-attr, arg-type]
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()


def _roots(graph: GraphModule, early: Collection[Node]) -> list[Node]:
    """What a phase is for: what it hands out, and what it writes besides what was written early."""
    return [output(graph), *[value for place, value in written(graph).items() if place not in early]]


def _large(nodes: Collection[Node], p: Node) -> int:
    """How many of the nodes are inputs of the parameter's shape."""
    return sum(node.op == "placeholder" and _shape(node) == _shape(p) for node in nodes)


def _shape(node: Node) -> object:
    value = node.meta.get("val")
    return value.shape if isinstance(value, Tensor) else None
