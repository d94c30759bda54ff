"""Stage: what a step is made of.

A step moves a small file of registers, once per parameter:

    p            parameter, in the compute dtype
    g0, g        gradient as delivered (read-only) and after gradient transforms
    m, den       momentum signal; denominator
    u            direction, convention p <- p - eta u; starts as g
    eta, lam     step size, and a factor on the decay coefficient (None means 1): 0-D
    aux          named 0-D scalars for whoever watches: trust ratio, clip fraction, ...

A stage is a pure function `update(r, s, c) -> (registers, state)`: it reads registers `r`, its own named state `s` and
its coefficients `c` (0-D), and returns what it writes. Coefficients are computed on the host, in float64, from the
hyper-parameters of the step (`coefs`), so a schedule never changes a kernel.

A stage that reduces declares its level and gives `partials(r, s, c)`: named elementwise quantities wrapped in `total`
or `peak`. The engine reduces them, and could pack them into one collective, then calls `update(r, s, c, reduced)`.
Stages never call sum, norm, mean or max themselves.

Laws every stage obeys: only slots APPLY, DECAY and PROJECT write p; nobody writes g0; state keeps shape and dtype;
update is deterministic and has no data-dependent Python branch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from torch import Tensor

Values = dict[str, Any]
Coefs = Callable[[SimpleNamespace], Mapping[str, float]]
Update = Callable[..., tuple[Values, Values]]

LEVELS = ("none", "row", "tensor", "matrix", "global")
REGISTERS = ("p", "g0", "g", "m", "den", "u", "eta", "lam")
INITS = ("zeros", "param", "scalar")


class Slot(IntEnum):
    """Where in a step a stage may stand. Momentum and preconditioner may stand in either order."""

    GRADIENT = 1
    MOMENTUM = 2
    PRECONDITION = 3
    DIRECTION = 4
    SCALE = 5
    DECAY = 6
    APPLY = 7
    AFTER = 8
    PROJECT = 9

    @property
    def rank(self) -> int:
        """Sorting key: momentum and preconditioner share one."""
        return 2 if self in (Slot.MOMENTUM, Slot.PRECONDITION) else int(self)


@dataclass(frozen=True)
class StateSpec:
    """One named state tensor per parameter.

    Args:
        name: key in `optimizer.state[p]`; torch's name where torch has one.
        init: "zeros" or "param" (a copy of the parameter), both shaped like the parameter, or "scalar" (0-D zero, in
            the dtype in which the parameter's step is computed).
    """

    name: str
    init: str = "zeros"


@dataclass(frozen=True)
class Partial:
    """An elementwise quantity that the engine reduces: by sum or by max, at the stage's level."""

    kind: str
    value: Tensor


def total(value: Tensor) -> Partial:
    """Ask the engine for the sum of `value` over the stage's level."""
    return Partial("sum", value)


def peak(value: Tensor) -> Partial:
    """Ask the engine for the maximum of `value` over the stage's level."""
    return Partial("max", value)


class Registers:
    """The register file of one parameter in one step."""

    __slots__ = (*REGISTERS, "aux")

    def __init__(self, p: Tensor, g: Tensor, eta: Tensor | float) -> None:
        self.p, self.g0, self.g, self.u, self.eta = p, g, g, g, eta
        # The chain's build-time check guarantees that m and den are written before they are read.
        self.m: Tensor = None  # type: ignore[assignment]
        self.den: Tensor = None  # type: ignore[assignment]
        self.lam: Tensor | None = None
        self.aux: dict[str, Tensor] = {}

    def write(self, values: Values) -> None:
        """Store what a stage returned; `aux` entries are merged."""
        for name, value in values.items():
            if name == "aux":
                self.aux.update(value)
            else:
                setattr(self, name, value)


def _no_coefs(hyper: SimpleNamespace) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, eq=False)
class Stage:
    """One part of a step. Equality is by name and options, not by function identity.

    Args:
        name: a verb; also the name of its state unless the chain renames it.
        slot: where in the step it may stand.
        update: `(r, s, c) -> (registers, state)`, or `(r, s, c, reduced)` when `partials` is given.
        reads, writes: registers; checked when the chain is built.
        state: named state tensors.
        hyper: group keys that `coefs` reads (`beta1` and `beta2` come from torch's `betas`).
        coefs: hyper-parameters of this step -> named floats. Also sees `t` (from 1) and, if `needs_peak_lr`, `peak_lr`.
        partials, reduction: see the module text.
        degree: homogeneity of u under g -> K g, K > 0 (0 or 1; None when there is none).
        options: everything else that makes two stages differ; printed by `recipe()`.
    """

    name: str
    slot: Slot
    update: Update
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    state: tuple[StateSpec, ...] = ()
    hyper: tuple[str, ...] = ()
    coefs: Coefs = _no_coefs
    partials: Callable[..., dict[str, Partial]] | None = None
    reduction: str = "none"
    degree: int | None = 1
    needs_peak_lr: bool = False
    options: tuple[tuple[str, object], ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """What makes this stage itself: two stages with one key run the same kernel."""
        return (self.name, self.slot, self.options, self.state, self.hyper)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        shown = [f"{k}={v}" for k, v in self.options]
        return f"{self.name}({', '.join([*self.hyper, *shown])})"

    def named(self, name: str) -> Stage:
        """The same stage under another name, for a chain that holds two of a kind."""
        return replace(self, name=name)
