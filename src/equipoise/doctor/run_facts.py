"""What a rule may ask about a run: its configuration always, its curves when it was recorded.

The same view serves `diagnose` (a store) and `check` (a model and an optimizer before the first step). A question that
has no answer raises `CannotTellError` with the reason; the rule is then listed as silent, never as healthy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from equipoise._errors import EquipoiseError
from equipoise.doctor.adapter import GroupFacts
from equipoise.doctor.store import RunStore, Series

CODE_HOME = {True: "torch.optim", False: "equipoise.optim"}


class CannotTellError(EquipoiseError):
    """A rule lacks what it needs. The text says what to do to give it."""


@dataclass(frozen=True)
class ParameterFacts:
    """One parameter: its name, shape, group, dtype and the class of the module that owns it."""

    name: str
    shape: tuple[int, ...]
    group: int
    dtype: str
    owner: str

    @property
    def is_matrix(self) -> bool:
        """Two axes or more: a weight matrix, a filter bank or an embedding."""
        return len(self.shape) > 1


class RunFacts:
    """A run as the rules see it."""

    def __init__(self, meta: dict[str, Any], store: RunStore | None) -> None:
        self.meta = meta
        self._store = store
        optimizer = meta.get("optimizer") or {"name": "", "groups": []}
        self.optimizer: str = optimizer["name"]
        self.groups = [GroupFacts(**group) for group in optimizer["groups"]]
        listed = meta.get("parameters") or {}
        self.parameters = {
            name: ParameterFacts(name, tuple(p["shape"]), p["group"], p["dtype"], p["owner"])
            for name, p in listed.items()
        }
        self.total_steps = cast("int | None", meta.get("total_steps"))
        self.steps_per_epoch = cast("float | None", meta.get("steps_per_epoch"))
        self.vocabulary = cast("int | None", meta.get("vocabulary"))

    @property
    def recorded(self) -> bool:
        """Whether there are curves at all."""
        return self._store is not None

    @property
    def planned_steps(self) -> int | None:
        """Length of the run: as planned, else what a finished run did, else None."""
        if self.total_steps:
            return self.total_steps
        done = self.meta.get("last_step")
        return int(done) if isinstance(done, int) and done > 0 else None

    def members(self, group: int) -> list[ParameterFacts]:
        """Parameters of one group, in model order."""
        return [p for p in self.parameters.values() if p.group == group]

    def hidden(self) -> list[str]:
        """Matrices that are neither an embedding nor the output head."""
        matrices = [p for p in self.parameters.values() if p.is_matrix and "Embedding" not in p.owner]
        return [p.name for p in matrices if p.shape[0] != self.vocabulary]

    def table(self, metric: str, cure: str) -> dict[str, Series]:
        """All curves of a metric. Raises CannotTellError, with `cure`, when nothing was recorded."""
        found = {} if self._store is None else {k: s for k, s in self._store.table(metric).items() if s[0]}
        if not found:
            raise CannotTellError(f"no {metric} was recorded: {cure}")
        return found

    def series(self, metric: str, cure: str) -> Series:
        """A run-level curve. Raises CannotTellError when nothing was recorded."""
        found = self.table(metric, cure)
        if "" not in found:
            raise CannotTellError(f"no {metric} was recorded: {cure}")
        return found[""]

    def find(self, metric: str, tensor: str = "") -> Series:
        """A curve, or two empty lists."""
        return ([], []) if self._store is None else self._store.series(metric, tensor)

    def warmup_end(self) -> int:
        """First step at which the learning rate was within 5 % of its peak; 0 when unknown."""
        steps, rates = self.find("lr")
        peak = max(rates, default=0.0)
        return next((s for s, r in zip(steps, rates, strict=True) if r >= 0.95 * peak and s > 1), 0) if peak else 0

    def code(self, optimizer: str, group: int = 0, **changes: float) -> str:
        """A line that builds the run's optimizer anew with changed values, in the library the run used."""
        facts = self.groups[group]
        torch_made = bool(cast("dict[str, Any]", self.meta["optimizer"]).get("from_torch", True))
        arguments = "model.parameters()" if torch_made else "model"
        values: dict[str, object] = {"lr": facts.peak_lr or facts.lr}
        if facts.family in ("adam", "lion"):
            values["betas"] = (facts.beta1, facts.beta2)
        if facts.family == "sgd" and facts.momentum:
            values["momentum"] = facts.momentum
        values["weight_decay"] = facts.weight_decay
        listed = ", ".join(f"{key}={_short(value)}" for key, value in {**values, **changes}.items())
        return f"{CODE_HOME[torch_made]}.{optimizer}({arguments}, {listed})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def short(value: float) -> str:
    """A number for a sentence: three significant digits, whole from 1000 on."""
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"
