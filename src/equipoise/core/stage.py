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

A stage that reduces declares its level and gives `partials(r, s, c)`: named elementwise quantities wrapped in `total`,
`peak` or `top`. The engine reduces them, and could pack them into one collective, then calls
`update(r, s, c, reduced)`. Stages never call sum, norm, mean or max themselves.

A matrix stage (level "matrix") wraps what it needs in `whole` and gives `solve(x, s, c)`. The engine stacks all
matrices of one shape, whatever tensors they come from, calls solve on the stack, and hands the results, in the
parameter's shape, to update. Inside solve anything goes: products, norms, decompositions, over the last two axes.

A parameter may be spread over processes; then p, g and state are the part that this one holds, sums are completed by
the engine, and the sizes of the whole are `r.count` and `r.per_row`, never those of a register.

Laws every stage obeys: only slots APPLY, DECAY and PROJECT write p; nobody writes g0; state keeps shape and dtype;
update is deterministic and has no data-dependent Python branch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from math import prod
from types import SimpleNamespace
from typing import Any

from torch import Generator, Tensor, arange, dtype

Values = dict[str, Any]
Coefs = Callable[[SimpleNamespace], Mapping[str, float]]
Update = Callable[..., tuple[Values, Values]]

LEVELS = ("none", "row", "tensor", "matrix", "global")
REGISTERS = ("p", "g0", "g", "m", "den", "u", "eta", "lam")
SHAPES = ("param", "scalar", "row", "free")
# What a stage may do to the whole direction or weight; `core.advice` reads it.
EFFECTS = {
    "scales": "multiplies the direction by one positive number per tensor, and does nothing else to it",
    "forgets_scale": "gives the same result for the direction times any positive number",
    "bounds": "makes parts of the direction smaller where they are too large",
    "holds_norm": "puts the weight back to the norm it had",
    "own_scale": "multiplies its result by one number per matrix, which an option chooses",
    "sets_length": "gives the direction a length that depends on the one it had through state alone",
    "drops_radial": "takes out of the direction what is along the weight",
}


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


Init = Callable[[tuple[int, ...], SimpleNamespace, Generator], Tensor]


@dataclass(frozen=True)
class StateSpec:
    """One named state tensor per parameter.

    Args:
        name: key in `optimizer.state[p]`; torch's name where torch has one.
        init: "zeros", "param" (a copy of the parameter) or a module-level function (shape, hyper, generator) -> tensor;
            the generator is seeded by the parameter's name.
        shape: "param"; "scalar" (0-D, in the dtype in which the parameter's step is computed); "row" (one number per
            row: [rows, 1, ...]; of a vector one per element); "free" (for matrix stages: init is given
            [matrices, rows, columns] and returns [matrices, ...]; only solve reads and writes it).
        frozen: whether kernels only read it.
    """

    name: str
    init: str | Init = "zeros"
    shape: str = "param"
    frozen: bool = False


@dataclass(frozen=True)
class Partial:
    """A quantity that the engine reduces at the stage's level: "sum", "max", "top", or "whole" for a matrix stage."""

    kind: str
    value: Tensor
    share: Tensor | float = 1.0
    by_row: bool = False


def total(value: Tensor, *, by_row: bool = False) -> Partial:
    """Ask the engine for the sum of `value` over the stage's level.

    `by_row` says that the value holds one number per row, as an earlier row reduction left it: where several processes
    hold parts of the same rows, one of them counts.
    """
    return Partial("sum", value, by_row=by_row)


def peak(value: Tensor) -> Partial:
    """Ask the engine for the maximum of `value` over the stage's level."""
    return Partial("max", value)


def top(value: Tensor, share: Tensor | float) -> Partial:
    """Ask for the threshold that the largest `share` of all values reach (level "global"). Share in (0, 1], 0-D."""
    return Partial("top", value, share)


def whole(value: Tensor) -> Partial:
    """Hand `value` to a matrix stage's solve, as matrices."""
    return Partial("whole", value)


@dataclass(frozen=True)
class Extent:
    """How large the whole parameter is of which p is a part: elements, elements of one row, and where p begins.

    `first` is the place of p's first element in the whole, where p is one run of it in memory order; else `index` holds
    the place of each element.
    """

    count: Tensor | float
    per_row: Tensor | float
    first: Tensor | int = 0
    index: Tensor | None = None


class Registers:
    """The register file of one parameter in one step. p and g may be a part of a parameter, of that `extent`."""

    __slots__ = (*REGISTERS, "aux", "stored", "extent")

    def __init__(
        self, p: Tensor, g: Tensor, eta: Tensor | float, stored: dtype | None = None, extent: Extent | None = None
    ) -> None:
        self.stored = stored or p.dtype  # the dtype in which the parameter is kept
        self.extent = extent
        self.p, self.g0, self.g, self.u, self.eta = p, g, g, g, eta
        # The chain's build-time check guarantees that m and den are written before they are read.
        self.m: Tensor = None  # type: ignore[assignment]
        self.den: Tensor = None  # type: ignore[assignment]
        self.lam: Tensor | None = None
        self.aux: dict[str, Tensor] = {}

    @property
    def count(self) -> Tensor | float:
        """Elements of the whole parameter, of which p may be a part."""
        return self.p.numel() if self.extent is None else self.extent.count

    @property
    def per_row(self) -> Tensor | float:
        """Elements in a row of the whole parameter."""
        return prod(self.p.shape[1:]) if self.extent is None else self.extent.per_row

    @property
    def index(self) -> Tensor:
        """Each element's place in the whole parameter, int64, from 0."""
        if self.extent is not None and self.extent.index is not None:
            return self.extent.index
        places = arange(self.p.numel(), device=self.p.device)
        places = places if self.p.ndim == 1 else places.view(self.p.shape)
        return places if self.extent is None else places + self.extent.first

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
        solve, solve_dtype: of a matrix stage: `(x, s, c) -> (results, state)` over stacks [matrices, rows, columns];
            s holds the stacked free state and c coefficients as [matrices, 1, 1]; x comes in `solve_dtype`, by default
            the compute dtype; results have the shape of x. It may write to x and s, and return that.
        in_place: whether solve does so, and needs next to nothing else: then all of a stack comes at once.
        indexed: whether it reads `r.index`.
        rounds: `(value, dtype, index, c, place) -> value`: how the state of all stages is rounded to a shorter dtype.
        degree: homogeneity of u under g -> K g, K > 0 (0 or 1; None when there is none).
        effects: words of EFFECTS that are true of it at these options; two that cancel are advised against.
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
    solve: Callable[..., tuple[Values, Values]] | None = None
    solve_dtype: dtype | None = None
    in_place: bool = False
    indexed: bool = False
    rounds: Callable[..., Tensor] | None = None
    degree: int | None = 1
    needs_peak_lr: bool = False
    effects: tuple[str, ...] = ()
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
