"""What a param group must satisfy, and what of it decides the structure of its chain."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from difflib import get_close_matches
from functools import cache
from inspect import signature
from typing import Any

from torch import Tensor

from equipoise._errors import ArgumentError, near
from equipoise.core.chain import Chain, complete
from equipoise.core.entry import Entry
from equipoise.core.hyper import NOT_HYPER
from equipoise.core.matrices import view_shape
from equipoise.core.numerics import SUPPORTED, real_view
from equipoise.core.roles import clean_name
from equipoise.core.rounding import SEED
from equipoise.core.schedule import Schedule
from equipoise.core.spread import Links, adapter, is_spread

_WORDS = ("rounding", SEED, "matrix_view", "peak_lr", "maximize", "param_names")
_FOREIGN = ("initial_lr", "max_lr", "min_lr", "swa_lr", "max_momentum", "base_momentum")  # of torch's schedulers
_ALIKE = 0.8


def as_chain(chain: object) -> Chain:
    """A whole chain, or an error that says what was given instead."""
    if not isinstance(chain, Chain):
        raise ArgumentError("chain", chain, "a Chain", "Call the factory: optim.adamw(lr=1e-3), not optim.adamw.")
    return complete(chain)


def signature_of(group: Mapping[str, Any], options: Collection[str] = ()) -> object:
    """What of a group's values may change its chain.

    Args:
        group: a param group.
        options: keys that stages hold as options. Their values count, and so do words and switches; other numbers are
            read at every step, and only their being zero or not counts.
    """
    return tuple(
        (k, v if k in options or isinstance(v, str | bool) else bool(v)) for k, v in group.items() if _decides(v)
    )


def options_of(factory: Callable[..., Chain] | None, chain: Chain) -> frozenset[str]:
    """The arguments of a factory that its chain does not read from the group at every step."""
    return _arguments(factory) - chain.hyper_names if factory is not None else frozenset()


@cache
def _arguments(factory: Callable[..., Chain]) -> frozenset[str]:
    return frozenset(signature(factory).parameters)


def _decides(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int | float | Schedule)


def check_parameters(group: Mapping[str, Any], chain: Chain) -> None:
    """Whether a chain can step every parameter of a group.

    Raises:
        ArgumentError: a dtype or a shape that it cannot.
    """
    for p in group["params"]:
        if real_view(p.detach()).dtype not in SUPPORTED:
            raise ArgumentError("parameter dtype", p.dtype, "float32, float64, bfloat16, float16 or a complex dtype")
        own = chain.of(p)
        if p.is_complex() and own.reduces:
            raise ArgumentError("complex parameter", tuple(p.shape), "a chain without reductions", "Use AdamW or SGD.")
        if own.solves and p.ndim < 2:
            cure = "Pass the model with a chain by role, or give the chain an `otherwise`."
            raise ArgumentError(
                f"parameter of a chain for matrices ({own.name})", f"shape {tuple(p.shape)}", "two axes or more", cure
            )
        if own.solves:
            view_shape(p.shape, group.get("matrix_view", "rows"))


def warn_of_slips(given: Set[str], group: Mapping[str, Any], chain: Chain) -> None:
    """Warn of given keys that nobody reads and that look like one that is read: a slip of the pen would do nothing."""
    own = {"betas" if key in ("beta1", "beta2") else key for key in chain.hyper_names}
    read = own | {"params", "lr", *_WORDS} | (group.keys() - given)
    for key in given:
        close = get_close_matches(key, read, n=1, cutoff=_ALIKE)
        if key not in read and key not in _FOREIGN and close:
            cure = f"Did you mean {close[0]!r}? Known here: {', '.join(sorted(read - {*NOT_HYPER}))}."
            warnings.warn(f"param group key {key!r} = {group[key]!r} is read by nobody. {cure}", stacklevel=6)


def entries_of(
    groups: Sequence[Mapping[str, Any]], chains: Sequence[Chain], names: Mapping[int, str], roles: Mapping[int, str]
) -> list[Entry]:
    """One entry for each parameter of all groups; names and roles are given by the identity of the parameter."""
    found = []
    for g, (group, chain) in enumerate(zip(groups, chains, strict=True)):
        view = group.get("matrix_view", "rows")
        for p in group["params"]:
            piece = adapter().piece(p) if is_spread(p) else None
            found.append(Entry(names[id(p)], p, g, roles.get(id(p), "-"), chain.of(p), view, piece))
    return found


def links_between(entries: Sequence[Entry]) -> Links | None:
    """Links between the processes that hold parts of the parameters; None where each holds everything."""
    return adapter().links(entries) if any(entry.piece is not None for entry in entries) else None


def named(entries: Sequence[Entry], name: str) -> Entry:
    """The entry of that name, prefixes of wrappers left out.

    Raises:
        ArgumentError: there is none; the message lists the nearest.
    """
    found = {entry.name: entry for entry in entries}
    if clean_name(name) not in found:
        raise ArgumentError("parameter name", name, "the name of a parameter", near(name, list(found)))
    return found[clean_name(name)]


def nested_state(entry: Entry, own: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A parameter's state, by part and by the names that its stages know."""
    nested: dict[str, dict[str, Tensor]] = {}
    for part, key, spec in entry.chain.state_keys():
        if key in own:
            nested.setdefault(part, {})[spec.name] = own[key]
    return nested


def by_parameter(groups: Sequence[Mapping[str, Any]], words: Mapping[int, str]) -> list[str | None]:
    """Words that are kept by the ids of parameters, in the order of the parameters."""
    return [words.get(id(p)) for group in groups for p in group["params"]]


def by_id(groups: Sequence[Mapping[str, Any]], words: Sequence[str | None]) -> dict[int, str]:
    """What `by_parameter` made, by the ids that parameters have now."""
    parameters = [p for group in groups for p in group["params"]]
    return {id(p): word for p, word in zip(parameters, words, strict=True) if word is not None}
