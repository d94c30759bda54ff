"""Hoist: a factor that is one number for each row is taken out of the sum over that row.

The sum then no longer waits for the factor, so that sums of one tensor that would follow from each other are taken in
one loop: of a clipped gradient's mean, say, and of the length that it is clipped by.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

_SUM, _MUL = torch.ops.aten.sum.dim_IntList, torch.ops.aten.mul.Tensor


def hoist(traced: GraphModule) -> None:
    """Rewrite, in place, every sum over the rows of a product with one number for each row."""
    graph = traced.graph
    for node in list(graph.nodes):
        factors = _factors(node)
        if factors is None:
            continue
        large, factor = factors
        with graph.inserting_before(node):
            total = _noted(graph.call_function(_SUM, (large, [1], True)), factor)
            product = _noted(graph.call_function(_MUL, (total, factor)), factor)
            if node.meta["val"].ndim == 1:
                product = graph.call_function(torch.ops.aten.squeeze.dim, (product, 1))
                product.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(product)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    graph.lint()
    traced.recompile()


def _factors(node: Node) -> tuple[Node, Node] | None:
    """What is summed over rows, without the factor, and the factor."""
    if node.target is not _SUM or node.args[1] != [1]:
        return None
    product = node.args[0]
    if not isinstance(product, Node) or product.target is not _MUL:
        return None
    for large, factor in (product.args, product.args[::-1]):
        if _columns(factor) == 1 and _columns(large) not in (None, 1):
            return large, factor  # type: ignore[return-value]
    return None


def _columns(node: object) -> object:
    """Columns of a matrix."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value.shape[1] if isinstance(value, Tensor) and value.ndim == 2 else None


def _noted(node: Node, like: Node) -> Node:
    node.meta["val"] = like.meta["val"]
    return node
