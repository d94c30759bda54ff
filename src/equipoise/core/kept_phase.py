"""Kept phases: a compiled phase as later processes find it, without tracing it again.

Only phases that the driver runs, of chains that consist of this package's functions: what those do is told by the
package's sources, while a function from elsewhere may change under the same name.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

import torch

from equipoise.core.chain import Chain
from equipoise.core.driven import Phase
from equipoise.core.kept import keep, recall
from equipoise.core.recorded import Wrapper
from equipoise.core.stage import Stage
from equipoise.core.trace import Known, Layout, asked_at

_PACKAGE = __name__.partition(".")[0]


def kept_phase(layout: Layout, known: tuple[Known, ...], length: int) -> tuple[Phase, bool] | None:
    """A phase that was kept, and whether it writes early; None where there is none, or its libraries are gone."""
    question = _question(layout, known, length)
    found = recall(question) if question is not None else None
    if found is None:
        return None
    try:
        wrapper = Wrapper(found["source"], found["libraries"])
        for name in wrapper.libraries:
            wrapper.address(name)
    except (OSError, AttributeError):
        return None
    return Phase(wrapper, asked_at(layout, known), found["cut"], found["alone"]), found["early"]


def keep_phase(layout: Layout, known: tuple[Known, ...], length: int, phase: Phase, *, early: bool) -> None:
    """Keep a phase that was compiled, where it can be kept."""
    question, wrapper = _question(layout, known, length), phase.wrapper
    if question is not None:
        own = {"source": wrapper.source, "libraries": wrapper.libraries}
        keep(question, {**own, "cut": phase.cut, "alone": phase.alone, "early": early})


def _question(layout: Layout, known: tuple[Known, ...], length: int) -> object | None:
    try:
        return ("phase", _described(layout), _described(known), length, torch.get_num_threads())
    except _ElsewhereError:
        return None


class _ElsewhereError(Exception):
    """Something whose meaning the package's sources do not tell."""


def _described(value: object) -> object:
    """A value by its content, whatever process it is in.

    Raises:
        _ElsewhereError: it holds something that only this process knows.
    """
    if value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, Chain):
        return _chain(value)
    if isinstance(value, tuple | list):
        return [_described(own) for own in value]
    if isinstance(value, Mapping):
        return sorted((repr(key), _described(own)) for key, own in value.items())
    if callable(value) and not isinstance(value, type):
        return _function(value)
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__qualname__, [_described(getattr(value, own.name)) for own in fields(value)])
    raise _ElsewhereError(value)


def _chain(chain: Chain) -> object:
    """A chain by its key, if all that its kernels are made of is this package's."""
    for stage in chain.stages:
        _check(stage)
    return [_described(chain.key), _chain(chain.otherwise) if chain.otherwise is not None else None]


def _check(value: object) -> None:
    """Raise _ElsewhereError if a value is, or holds, a function from elsewhere."""
    if isinstance(value, Stage):
        value = (value.update, value.partials, value.rounds, value.coefs)
    if isinstance(value, Mapping):
        value = (*value.values(),)
    if isinstance(value, Chain):
        _chain(value)
    elif isinstance(value, tuple | list | set | frozenset):
        for own in value:
            _check(own)
    elif callable(value) and not isinstance(value, type):
        _function(value)


def _function(function: Callable[..., object]) -> str:
    """A function of this package or of torch, by its name, if all that it closes over is."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if isinstance(function, types.FunctionType):
        _check([cell.cell_contents for cell in function.__closure__ or ()])
        _check([function.__defaults__, function.__kwdefaults__])
    elif not isinstance(function, types.BuiltinFunctionType):
        raise _ElsewhereError(function)
    if name is None or (module or "torch").partition(".")[0] not in (_PACKAGE, "torch"):
        raise _ElsewhereError(function)
    return f"{module}.{name}"
