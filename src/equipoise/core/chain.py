"""chain(a, b, c): named parts, order checked when it is built, state named after the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace

from torch import Tensor

from equipoise._errors import ChainError
from equipoise.core.advice import advise
from equipoise.core.schedule import Schedule
from equipoise.core.stage import LEVELS, REGISTERS, Slot, Stage, StateSpec

Hyper = Mapping[str, "float | bool | tuple[float, float] | Schedule | None"]
_GIVEN = {"p", "g0", "g", "u", "eta"}
_MAY_WRITE_P = {Slot.DECAY, Slot.APPLY, Slot.AFTER, Slot.PROJECT}


@dataclass(frozen=True)
class Part:
    """One stage of a chain, and the name of the part that it belongs to."""

    name: str
    stage: Stage


@dataclass(frozen=True, eq=False)
class Chain:
    """An ordered, checked sequence of stages with default hyper-parameters under torch's group keys.

    Build with `chain(...)`. Two chains are equal when their stages are: then they share one kernel.
    """

    parts: tuple[Part, ...]
    hyper: Hyper = field(default_factory=dict)
    name: str = "chain"
    otherwise: Chain | None = None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order."""
        return tuple(part.stage for part in self.parts)

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes this chain itself: part names and stage keys, in order."""
        own = tuple((part.name, part.stage.key) for part in self.parts)
        return own if self.otherwise is None else (*own, self.otherwise.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Chain) and self.key == other.key)

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, object]:
        """Without what is remembered: hashes of words differ between processes."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("stages", "key", "hyper_names", "_hash")
        }

    @cached_property
    def _hash(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return " -> ".join(str(stage) for stage in self.stages)

    @property
    def reduces(self) -> bool:
        """Whether any stage needs a reduction."""
        return any(stage.partials is not None for stage in self.stages)

    @property
    def needs_peak_lr(self) -> bool:
        """Whether any stage measures against the peak learning rate."""
        rest = self.otherwise.stages if self.otherwise is not None else ()
        return any(stage.needs_peak_lr for stage in (*self.stages, *rest))

    @property
    def solves(self) -> bool:
        """Whether any stage works on matrices."""
        return any(stage.reduction == "matrix" for stage in self.stages)

    def of(self, tensor: Tensor) -> Chain:
        """The chain that a tensor gets: with fewer than two axes, `otherwise` where there is one."""
        return self if self.otherwise is None or tensor.ndim > 1 else self.otherwise

    @property
    def decay(self) -> list[dict[str, object]]:
        """Coordinates on the decay grid (place, target, metric, law, mask) of every decay in this chain."""
        return [dict(stage.options) for stage in self.stages if "place" in dict(stage.options)]

    def state_keys(self) -> list[tuple[str, str, StateSpec]]:
        """(part name, flat key, spec) of every state tensor. The flat key is the spec's name where that is unique."""
        names = [spec.name for part in self.parts for spec in part.stage.state]
        rows = []
        for part in self.parts:
            for spec in part.stage.state:
                flat = spec.name if names.count(spec.name) == 1 else f"{part.name}.{spec.name}"
                rows.append((part.name, flat, spec))
        return rows

    def kernel_keys(self) -> list[tuple[str, str, StateSpec]]:
        """The rows of `state_keys` that kernels hold: all but free state."""
        return [row for row in self.state_keys() if row[2].shape != "free"]

    def coef_names(self) -> list[tuple[int, str]]:
        """(stage index, coefficient name), in the order in which kernels receive them; the first is the step size."""
        probe = SimpleNamespace(**dict.fromkeys(sorted(self.hyper_names), 0.5), t=1, peak_lr=1.0)
        return [(i, name) for i, stage in enumerate(self.stages) for name in stage.coefs(probe)]

    def coefs(self, hyper: SimpleNamespace) -> list[float]:
        """Values for `coef_names`, from the hyper-parameters of one group at one step (float64, on the host)."""
        return [float(v) for stage in self.stages for v in stage.coefs(hyper).values()]

    @cached_property
    def hyper_names(self) -> frozenset[str]:
        """Hyper-parameters that the stages read at every step, those of `otherwise` too."""
        rest = self.otherwise.hyper_names if self.otherwise is not None else frozenset[str]()
        return rest | {name for stage in self.stages for name in ("lr", *stage.hyper)}


def chain(
    *items: Stage | Chain, name: str = "chain", hyper: Hyper | None = None, otherwise: Chain | None = None
) -> Chain:
    """Compose stages, and chains of stages, into one step.

    A chain given as an item becomes a part under its own name; a stage is a part under the stage's name.

    Args:
        items: stages and chains in the order in which they run.
        name: the part name that this chain's stages take inside a larger chain.
        hyper: default hyper-parameters under torch's group keys (lr, betas, eps, weight_decay, momentum).
        otherwise: the whole chain of tensors with fewer than two axes, when these stages are for matrices; it reads the
            same group, and its defaults fill what `hyper` leaves open.

    Raises:
        ChainError: names given twice, a stage out of order, a register read before it is written.
    """
    parts: list[Part] = []
    merged: dict[str, object] = dict(otherwise.hyper) if otherwise is not None else {}
    for item in items:
        if isinstance(item, Chain):
            label = None if item.name == "chain" else item.name
            parts += [Part(label or part.name, part.stage) for part in item.parts]
            merged.update(item.hyper)
        elif isinstance(item, Stage):
            parts.append(Part(item.name, item))
        else:
            raise ChainError("chain item", item, "a Stage or a Chain", "Call the factory: moments(), not moments.")
    made = Chain(tuple(parts), {**merged, **(hyper or {})}, name, otherwise)  # type: ignore[dict-item]
    _check_names(made)
    return made


def complete(made: Chain) -> Chain:
    """Check that a chain is a whole step: slots in order, exactly one apply, every read after its write."""
    if made.otherwise is not None:
        complete(made.otherwise)
    _check_order(made)
    _check_registers(made)
    applies = sum(stage.slot is Slot.APPLY for stage in made.stages)
    if applies != 1:
        raise ChainError("chain", str(made), "exactly one apply stage", "End the step with stages.apply().")
    advise(made.stages, made.hyper)
    return made


def _check_names(made: Chain) -> None:
    seen: set[tuple[str, str]] = set()
    for part, _, spec in made.state_keys():
        if (part, spec.name) in seen:
            cure = "Rename one of the stages: stage.named('other')."
            raise ChainError("state name", f"{part}.{spec.name}", "one of each name in a chain", cure)
        seen.add((part, spec.name))


def _check_order(made: Chain) -> None:
    for before, after in zip(made.stages, made.stages[1:], strict=False):
        if after.slot.rank < before.slot.rank:
            cure = f"{after.name} belongs to slot {after.slot.name}, which comes before {before.slot.name}."
            raise ChainError("chain order", f"{before.name} -> {after.name}", "slots in order", cure)


def _check_registers(made: Chain) -> None:
    written = set(_GIVEN)
    for stage in made.stages:
        _check_known(stage)
        for register in stage.reads:
            if register not in written:
                cure = _writers(register)
                raise ChainError(f"stage {stage.name}", f"reads {register!r}", f"{register!r} written before it", cure)
        written |= set(stage.writes)


def _check_known(stage: Stage) -> None:
    if stage.reduction not in LEVELS:
        raise ChainError(f"stage {stage.name}", f"reduction {stage.reduction!r}", "one of " + ", ".join(LEVELS))
    for register in (*stage.reads, *stage.writes):
        if register not in REGISTERS and not register.startswith("aux."):
            raise ChainError(f"stage {stage.name}", register, "aux.NAME or a register: " + ", ".join(REGISTERS))
    if "g0" in stage.writes:
        raise ChainError(f"stage {stage.name}", "writes 'g0'", "g0 left alone", "Write 'g' instead.")
    if "p" in stage.writes and stage.slot not in _MAY_WRITE_P:
        cure = "Only decay, apply and projection stages write the parameter."
        raise ChainError(f"stage {stage.name}", "writes 'p'", "a slot that may", cure)


def _writers(register: str) -> str:
    hint = {
        "den": "stages.second_moment()",
        "m": "stages.ema() or stages.heavy_ball()",
        "aux.pp": "stages.alignment()",
        "aux.unit_pp": "stages.unit_norms()",
    }
    return f"Put {hint.get(register, 'a stage that writes it')} earlier in the chain."


Factory = Callable[..., Chain]
