"""Joined: what a phase writes and sums is written in the loop that sums it, not in a loop of its own after it.

A compiler takes a value that is written over one that a sum reads for something to do afterwards. Kept in memory first
it is not; and memory that only its own loop uses, the compiler leaves out again.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from equipoise.core.graphs import behind, output, written

_SUMS = (torch.ops.aten.sum.default, torch.ops.aten.sum.dim_IntList)


def join_writes(traced: GraphModule) -> None:
    """Keep, in place, every value that is written and that a sum follows from which is only handed out."""
    keep = torch.ops.prims.inductor_force_stride_order.default  # Inductor, by now imported, has defined it
    values = [*written(traced).values()]
    inward = behind(values)
    outward = behind(node for node in behind([output(traced)]) if node.target in _SUMS and node not in inward)
    for value in values:
        if value.op == "call_function" and value in outward:
            with traced.graph.inserting_after(value):
                kept = traced.graph.call_function(keep, (value, [2, 1][-value.meta["val"].ndim :]))
            kept.meta["val"] = value.meta["val"]
            value.replace_all_uses_with(kept, delete_user_cb=lambda user, kept=kept: user is not kept)
    traced.graph.lint()
    traced.recompile()
