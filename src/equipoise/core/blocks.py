"""Blocks: which phases of a step may be run on blocks of rows, one after the other, and where tensors are cut.

A block stays in a core's cache while the loops of a kernel go over it, and blocks are what threads share. They do not
depend on how many threads there are, so neither does any sum.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from equipoise.core.chain import Chain
from equipoise.core.graphs import behind, copies, output

BLOCK = 1 << 15  # elements; of the up to ten tensors of a step, those that are read twice fit in a core's own cache
ONCE = 1 << 19  # where nothing is read twice: memory is read ahead in long runs, and threads have enough to share
EAGER = 1 << 17  # where every operation leaves a tensor behind: few bytes, and enough for all threads
_ALIKE = 16  # blocks of vectors begin where vector registers do


def separable(chain: Chain) -> bool:
    """Whether no stage of a chain needs to know of a tensor what its rows cannot tell."""
    levels = {stage.reduction for stage in chain.stages}
    return "tensor" not in levels and not _tied(chain)


def _tied(chain: Chain) -> bool:
    """Whether state or places tie all rows of a tensor together."""
    kept = any(spec.shape == "scalar" for _, _, spec in chain.kernel_keys())
    return kept or any(stage.indexed for stage in chain.stages)


def cuttable(chain: Chain, graph: GraphModule) -> bool:
    """Whether a phase does the same when it is run on blocks of rows, one after the other, and its scalars are joined.

    So it is when what a reduction over rows gives goes nowhere but out, and no number of rows becomes a value.
    """
    crossed: set[Node] = set()  # follows from a reduction over rows
    counted: set[Node] = set()  # sizes that follow from the number of rows
    for node in _live(graph):
        name = _name(node)
        if not _known(node, name):
            return False
        if not isinstance(node.meta.get("val"), Tensor):
            whole = name in ("sym_size", "sym_numel") and node.args[1:] != (1,)
            counted |= {node} if whole or counted & {*node.all_input_nodes} else set()
        elif counted & {*node.all_input_nodes} and name not in _SHAPED:
            return False
        over_rows = name in _REDUCED and (len(node.args) < 2 or node.args[1] != [1])
        if crossed & {*node.all_input_nodes} and (over_rows or name not in _PASSED):
            return False
        crossed |= {node} if over_rows or crossed & {*node.all_input_nodes} else set()
    return not _tied(chain)


_REDUCED = ("sum", "amax")
_PASSED = ("stack", "cat", "view", "unsqueeze", "_to_copy", "output")
_SHAPED = ("expand", "full", "zeros", "ones", "empty", "new_full", "new_zeros", "new_ones", "new_empty", "output")
_ITEM = str(operator.getitem)
_PLACED = ("unbind", "select", "split_with_sizes", "squeeze", "clone", "detach", "alias", "copy_", "lift_fresh_copy",
           "full_like", "zeros_like", "ones_like", "empty_like", "scalar_tensor", _ITEM)  # fmt: skip


def _known(node: Node, name: str) -> bool:
    """Whether an operation is one of those that are understood here: by element, or in a list above."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return True
    if name == "view":  # of single numbers, and of so many as the table has columns
        return all(isinstance(size, int) and size >= 0 for size in node.args[1])  # type: ignore[union-attr]
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return pointwise or name in (*_REDUCED, *_PASSED, *_SHAPED, *_PLACED)


def _name(node: Node) -> str:
    target = str(node.target)
    return target.split(".")[1] if target.startswith("aten.") else target


def _live(graph: GraphModule) -> list[Node]:
    """What is handed out or written, and all that it follows from, in order."""
    live = behind([output(graph), *copies(graph)])
    return [node for node in graph.graph.nodes if node in live]


def blocks(p: Tensor, size: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Blocks of about `size` elements, as ranges of the first axis, none shorter than 2."""
    whole, row = p.shape[0], p.numel() // p.shape[0]
    step = max(2, size // row)
    step = -(-step // _ALIKE) * _ALIKE if row == 1 else step
    starts = [*range(0, whole, step)]
    if len(starts) > 1 and whole - starts[-1] < 2:
        starts.pop()
    yield from zip(starts, [*starts[1:], whole], strict=True)


def in_blocks(
    call: Callable[..., Sequence[Tensor]], kinds: Sequence[str], *, rows: bool
) -> Callable[..., list[Tensor]]:
    """A phase of one tensor that `cuttable` allows, run block by block, so that what it computes is never of its size.

    Args:
        call: the phase: tensors, the parameter first and the table last, to scalars [1, ...] and columns of rows.
        kinds: of its scalars; none where it hands out none. rows: whether it hands out columns of rows.
    """

    def run(p: Tensor, *more: Tensor) -> list[Tensor]:
        *others, table = more
        found = []
        for start, end in blocks(p, EAGER):
            own = [t[start:end] if t.ndim and t.shape[0] == p.shape[0] else t for t in (p, *others)]
            found.append(call(*own, table))
        scalars = [_joined(torch.cat([one[0] for one in found]), kinds)] if kinds else []
        return [*scalars, *([torch.cat([one[-1] for one in found])] if rows else [])]

    return run


def _joined(scalars: Tensor, kinds: Sequence[str]) -> Tensor:
    """Scalars of blocks [blocks, ...] as those of the tensor, [1, ...], float64."""
    columns = zip(kinds, scalars.double().unbind(1), strict=True)
    return torch.stack([own.sum() if kind == "sum" else own.amax() for kind, own in columns])[None]
