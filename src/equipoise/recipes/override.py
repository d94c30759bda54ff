"""Changing fields of a frozen dataclass by name, also nested ones, from values or from words on a command line."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from equipoise._errors import ArgumentError, near

T = TypeVar("T")


def replaced(spec: T, changes: dict[str, object]) -> T:
    """A copy of the dataclass with `changes` applied; keys may be dotted paths, texts are read as the field's type."""
    nested: dict[str, dict[str, object]] = {}
    direct: dict[str, object] = {}
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        _require_field(spec, head)
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            direct[head] = _read(spec, head, value)
    for head, inner in nested.items():
        child = direct.get(head, getattr(spec, head))
        if not dataclasses.is_dataclass(child):
            raise ArgumentError("field", f"{head}.{next(iter(inner))}", f"a plain field: {head!r} has no parts")
        direct[head] = replaced(child, inner)
    return dataclasses.replace(spec, **direct)  # pyright: ignore[reportArgumentType]


def parse_overrides(text: str) -> dict[str, object]:
    """`"optimizer=adam,weight_decay=0.1"` as a dictionary of texts; empty text is no override."""
    changes: dict[str, object] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ArgumentError("override", part, "name=value", "For example: gpt_python:optimizer=adam,lr=1e-3")
        changes[name.strip()] = value.strip()
    return changes


def _require_field(spec: object, name: str) -> None:
    names = [f.name for f in dataclasses.fields(spec)]  # pyright: ignore[reportArgumentType]
    if name not in names:
        raise ArgumentError(f"field of {type(spec).__name__}", name, "a known field", near(name, names))


def _read(spec: object, name: str, value: object) -> Any:
    """A text as the field's annotated type; any other value as it is."""
    if not isinstance(value, str):
        return value
    wanted = get_type_hints(type(spec))[name]
    try:
        return read_as(value, wanted)
    except ValueError:
        raise ArgumentError(name, value, f"a value of type {getattr(wanted, '__name__', wanted)}") from None


def read_as(text: str, wanted: Any) -> Any:
    """Read `text` as a bool, int, float, str, Literal, tuple (parts joined by `/`) or a union of these.

    Raises ValueError when the text is none of them.
    """
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return _read_union(text, get_args(wanted))
    if origin is Literal:
        if text not in get_args(wanted):
            raise ValueError(text)
        return text
    if origin is tuple:
        return tuple(read_as(part, get_args(wanted)[0]) for part in text.split("/"))
    if wanted is bool:
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower()) or _false(text)
    if wanted is int and "e" in text.lower() and float(text).is_integer():
        return int(float(text))  # 1e3 steps
    if wanted in (int, float, str):
        return wanted(text)
    raise ValueError(text)


def _false(text: str) -> bool:
    if text.lower() in ("false", "0"):
        return False
    raise ValueError(text)


def _read_union(text: str, members: tuple[Any, ...]) -> Any:
    if types.NoneType in members and text.lower() == "none":
        return None
    first, *rest = (m for m in members if m is not types.NoneType)
    try:
        return read_as(text, first)
    except ValueError:
        if not rest:
            raise
        return _read_union(text, tuple(rest))
