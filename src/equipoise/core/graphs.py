"""What a traced phase takes, hands out and writes, and what that follows from."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch.fx import GraphModule, Node

COPY = torch.ops.aten.copy_.default


def inputs(graph: GraphModule) -> list[Node]:
    """What a phase takes, in order."""
    return [node for node in graph.graph.nodes if node.op == "placeholder"]


def output(graph: GraphModule) -> Node:
    """What it hands out."""
    return next(node for node in graph.graph.nodes if node.op == "output")


def copies(graph: GraphModule) -> list[Node]:
    """Its writes, in order."""
    return [node for node in graph.graph.nodes if node.target is COPY]


def written(graph: GraphModule) -> dict[Node, Node]:
    """What it writes into -> the value."""
    return {node.args[0]: node.args[1] for node in copies(graph)}  # type: ignore[misc]


def behind(roots: Iterable[Node], known: Collection[Node] = ()) -> set[Node]:
    """The roots and all that they follow from, not looking behind what is known."""
    found: set[Node] = set()
    todo = list(roots)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += [] if node in known else node.all_input_nodes
    return found
