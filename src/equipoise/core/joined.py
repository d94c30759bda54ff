"""Joined: what a phase writes and sums is written in the loop that sums it, not in a loop of its own after it.

A compiler takes a value that is written over one that a sum reads for something to do afterwards. Kept in memory first
it is not; and memory that only its own loop uses, the compiler leaves out again.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

_COPY = torch.ops.aten.copy_.default
_SUMS = (torch.ops.aten.sum.default, torch.ops.aten.sum.dim_IntList)


def join_writes(traced: GraphModule) -> None:
    """Keep, in place, every value that is written and that a sum follows from which is only handed out."""
    keep = torch.ops.prims.inductor_force_stride_order.default  # Inductor, by now imported, has defined it
    copies = [node.args for node in traced.graph.nodes if node.target is _COPY]
    inward = _behind([value for _, value, *_ in copies])  # type: ignore[list-item]
    output = next(node for node in traced.graph.nodes if node.op == "output")
    outward = _behind([node for node in _behind([output]) if node.target in _SUMS and node not in inward])
    for place, value, *_ in copies:
        if isinstance(value, Node) and value.op == "call_function" and value in outward and place is not value:
            with traced.graph.inserting_after(value):
                kept = traced.graph.call_function(keep, (value, [2, 1][-value.meta["val"].ndim :]))
            kept.meta["val"] = value.meta["val"]
            value.replace_all_uses_with(kept, delete_user_cb=lambda user, kept=kept: user is not kept)
    traced.graph.lint()
    traced.recompile()


def _behind(nodes: list[Node]) -> set[Node]:
    """These and all that they follow from."""
    found, todo = set[Node](), list(nodes)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += node.all_input_nodes
    return found
