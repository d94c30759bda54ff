"""Matrices inside parameters: which they are, and how a matrix stage solves a stack of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from equipoise._errors import ArgumentError
from equipoise.core.stage import Stage

VIEWS = "'rows', 'batch' or 'split:k'"
# Elements: stacks below the first are solved at once, others in pieces between it and the second. A few matrices at a
# time are quicker than one where they are small, and stay in cache where they are large.
_PIECED, _MOST = 1 << 16, 5 << 18
Solve = Callable[..., tuple[dict[str, Tensor], dict[str, Tensor]]]


def view_shape(shape: Sequence[int], view: str) -> tuple[int, int, int]:
    """[matrices, rows, columns] of a tensor of two or more axes.

    Args:
        shape: the tensor's.
        view: "rows": one matrix [first axis, rest], so a convolution is [out, in x kh x kw]; "batch": the first axis
            counts matrices, as in a stack of experts; "split:k": the first axis holds k matrices one below the other,
            as in a fused projection of queries, keys and values.

    Raises:
        ArgumentError: an unknown view, or one that does not fit the shape.
    """
    rows, rest = shape[0], 1
    for extent in shape[1:]:
        rest *= extent
    if view == "rows":
        return 1, rows, rest
    if view == "batch" and len(shape) > 2:
        return rows, shape[1], rest // max(shape[1], 1)
    if view.startswith("split:") and view[6:].isdigit() and int(view[6:]) > 0 and rows % int(view[6:]) == 0:
        return int(view[6:]), rows // int(view[6:]), rest
    cure = "'batch' needs three axes or more, 'split:k' a first axis that k divides."
    raise ArgumentError(f"matrix_view of a tensor of shape {tuple(shape)}", view, VIEWS, cure)


def as_matrices(tensor: Tensor, view: str) -> Tensor:
    """A tensor as [matrices, rows, columns]; shares storage when it is contiguous."""
    return tensor.reshape(view_shape(tensor.shape, view))


def solve_tensors(
    stage: Stage,
    tensors: Mapping[Any, Mapping[str, Tensor]],
    views: Mapping[Any, str],
    free: Mapping[Any, Mapping[str, Tensor]],
    coefs: Mapping[Any, Mapping[str, Tensor]],
) -> dict[Any, dict[str, Tensor]]:
    """Solve the matrices of many tensors, those of one shape in one stack; free state is written in place.

    Args:
        stage: a matrix stage.
        tensors: key -> name -> what it is handed, all of one shape.
        views: key -> how matrices lie in the tensor.
        free: key -> name -> free state [matrices of the tensor, ...].
        coefs: key -> name -> 0-D.

    Returns:
        key -> name -> result, in the shape of what was handed over and the dtype in which it was solved.
    """
    stacks: dict[object, list[Any]] = {}
    for key, own in tensors.items():
        example = next(iter(own.values()))
        kind = (view_shape(example.shape, views[key])[1:], example.dtype, example.device)
        stacks.setdefault(kind, []).append(key)
    found: dict[Any, dict[str, Tensor]] = {}
    for keys in stacks.values():
        found |= _solve_shape(stage, {key: tensors[key] for key in keys}, views, free, coefs)
    return found


def _solve_shape(
    stage: Stage,
    tensors: Mapping[Any, Mapping[str, Tensor]],
    views: Mapping[Any, str],
    free: Mapping[Any, Mapping[str, Tensor]],
    coefs: Mapping[Any, Mapping[str, Tensor]],
) -> dict[Any, dict[str, Tensor]]:
    matrices = {
        key: {name: as_matrices(value, views[key]) for name, value in own.items()} for key, own in tensors.items()
    }
    first = next(iter(matrices))
    counts = {key: len(next(iter(own.values()))) for key, own in matrices.items()}
    x = {name: torch.cat([own[name] for own in matrices.values()]) for name in matrices[first]}
    x = {name: value.to(stage.solve_dtype or value.dtype) for name, value in x.items()}
    state = {name: [free[key][name] for key in matrices] for name in free[first]}
    device = next(iter(x.values())).device
    own_coefs = {
        name: torch.cat([coefs[key][name].to(device).expand(counts[key]) for key in matrices]) for name in coefs[first]
    }
    results = solve_stack(stage, x, state, own_coefs)
    found: dict[Any, dict[str, Tensor]] = {key: {} for key in matrices}
    for name, value in results.items():
        for key, part in zip(matrices, value.split([*counts.values()]), strict=True):
            example = next(iter(tensors[key].values()))
            found[key][name] = part.reshape(example.shape)
    return found


def solve_stack(
    stage: Stage, x: Mapping[str, Tensor], state: Mapping[str, Sequence[Tensor]], coefs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Solve one stack of matrices and write the stage's free state in place.

    A few matrices at a time, and results are kept where the input lay, so that what solve needs stays small. It may
    write to what it is handed, x and state, and return that.

    Args:
        stage: a matrix stage.
        x: name -> [matrices, rows, columns]; is overwritten.
        state: name -> each tensor's free state [its matrices, ...], in the order of the stack.
        coefs: name -> [matrices].

    Returns:
        name -> result, shaped like x.
    """
    assert stage.solve is not None
    count = len(next(iter(x.values())))
    size = count if stage.in_place else _piece(next(iter(x.values())), state)
    outs: dict[str, Tensor] = {}
    for start in range(0, max(count, 1), max(size, 1)):
        part = slice(start, min(start + size, count))
        results = _solve_piece(
            stage.solve,
            {name: value[part] for name, value in x.items()},
            {name: _held(parts, part) for name, parts in state.items()},
            {name: value[part] for name, value in coefs.items()},
        )
        if size == count:
            return results
        if not outs:
            free = list(x.values())
            outs = {name: _room(value, count, free) for name, value in results.items()}
        for name, value in results.items():
            _keep(outs[name][part], value)
        del results, value  # before the next piece
    return outs


def _piece(stack: Tensor, state: Mapping[str, Sequence[Tensor]]) -> int:
    """How many matrices are solved at a time; few that have much state, of which solve makes more than one copy."""
    count, one = len(stack), max(stack[:1].numel(), 1)
    if stack.numel() < _PIECED:
        return count
    kept = sum(part.numel() for parts in state.values() for part in parts)
    if 2 * kept >= stack.numel():
        return max(_PIECED // one, 1)
    return max(min(-(-count // 2), max(2, 4 * _PIECED // one), _MOST // one), 1)


def _keep(place: Tensor, value: Tensor) -> None:
    """Copy, but what is there already."""
    if value.data_ptr() != place.data_ptr() or value.stride() != place.stride() or value.dtype != place.dtype:
        place.copy_(value)


def _solve_piece(
    solve: Solve, x: Mapping[str, Tensor], held: Mapping[str, Sequence[Tensor]], coefs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Results for a few matrices; their state, which lies in several tensors, is written in place."""
    state = {name: parts[0] if len(parts) == 1 else torch.cat(list(parts)) for name, parts in held.items()}
    columns = {name: value.view(-1, 1, 1) for name, value in coefs.items()}
    results, new = solve(SimpleNamespace(**x), SimpleNamespace(**state), SimpleNamespace(**columns))
    for name, value in new.items():
        for old, part in zip(held[name], value.split([old.shape[0] for old in held[name]]), strict=True):
            _keep(old, part)
    return results


def _held(parts: Sequence[Tensor], piece: slice) -> list[Tensor]:
    """Views of the state of a piece of the stack, from each tensor that has a share in it."""
    found, first = [], 0
    for own in parts:
        length = own.shape[0]
        start, stop = max(piece.start - first, 0), min(piece.stop - first, length)
        if start < stop:
            found.append(own if stop - start == length else own[start:stop])
        first += length
    return found or [parts[0][:0]]


def _room(result: Tensor, count: int, free: list[Tensor]) -> Tensor:
    """Memory for the results of all matrices: a stack that was handed over and is like it, if one is left."""
    for k, stack in enumerate(free):
        if stack.dtype == result.dtype and stack.shape[1:] == result.shape[1:]:
            return free.pop(k)
    return result.new_empty(count, *result.shape[1:])
