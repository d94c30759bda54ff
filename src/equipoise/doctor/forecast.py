"""Theory beside measurement: per tensor, where its norm should be by now and how far it should turn each step.

The norm starts at its first measured value and then follows `scaling.norm_path` with the learning rates of the run. A
curve is written only for tensors that the law is about: those that the test found scale-invariant, and matrices whose
gradient is nearly orthogonal to them on average.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set

from equipoise.doctor.probes.sample import TensorSample
from equipoise.scaling.equilibrium import Equilibrium, equilibrium
from equipoise.scaling.norm_path import path_memory, path_step

NEAR_COS = 0.05  # mean |cos(g, w)| below this counts as scale-invariant [heuristic, arXiv 2305.17212 gives none]
WINDOW = 10  # samples of |cos| that are averaged
MIN_SAMPLES = 5  # so many before a tensor counts as near
SCALE_WINDOW = 5  # samples of |g| |w| that are averaged: it falls while the model learns
NEEDS_GRADIENT = ("sgdm", "adam_l2")


class Forecast:
    """The prediction for one tensor."""

    def __init__(self, sample: TensorSample, *, invariant: bool, steps: int) -> None:
        self.invariant = invariant
        self._steps = steps
        self.squared = sample.after**2
        self._cos: deque[float] = deque(maxlen=WINDOW)
        self._scale_squared: deque[float] = deque(maxlen=SCALE_WINDOW)
        self._facts = sample.facts
        self._numel = sample.numel
        self._note(sample)

    def _note(self, sample: TensorSample) -> None:
        self._facts = sample.facts
        if sample.grad is not None and sample.grad_dot is not None and sample.grad * sample.before > 0:
            self._cos.append(abs(sample.grad_dot) / (sample.grad * sample.before))
            self._scale_squared.append((sample.grad * sample.before) ** 2)

    def advance(self, sample: TensorSample, lrs: Sequence[float]) -> None:
        """Move the predicted norm on by the steps since the last sample, after taking note of this one.

        The path of a tensor that is invariant by measurement only starts where it first counts as such.
        """
        before = self.applies
        self._steps += len(lrs)
        self._note(sample)
        if not before:
            self.squared = sample.after**2
            return
        facts = self._facts
        if not facts.form or not self._known():
            return
        fixed = {"method": facts.form, "numel": self._numel, "gradient_scale": self.gradient_scale}
        rate = facts.rate_per_lr
        memory = self._memory(facts.lr * rate)  # hardly moves between two samples
        for lr in lrs:
            self.squared = path_step(self.squared, lr=lr, weight_decay=rate, memory=memory, **fixed)

    def _memory(self, rate: float) -> float:
        facts = self._facts
        known = {"beta1": facts.beta1, "beta2": facts.beta2, "momentum": facts.momentum}
        return path_memory(method=facts.form, rate=rate, **known)

    def _known(self) -> bool:
        return self._facts.form not in NEEDS_GRADIENT or bool(self._scale_squared)

    @property
    def gradient_scale(self) -> float:
        """Root mean square of |g| |w| over the last samples."""
        return math.sqrt(sum(self._scale_squared) / len(self._scale_squared)) if self._scale_squared else math.nan

    @property
    def applies(self) -> bool:
        """Whether the law is about this tensor: tested as invariant, or gradient nearly orthogonal on average."""
        near = len(self._cos) >= MIN_SAMPLES and sum(self._cos) / len(self._cos) < NEAR_COS
        return bool(self._facts.form) and (self.invariant or near)

    def equilibrium(self) -> Equilibrium | None:
        """Where the tensor settles at its present learning rate; None without decay or a closed form."""
        facts = self._facts
        if not facts.form or facts.decay == "none" or facts.lr <= 0 or not self._known() or not self.gradient_scale > 0:
            return None
        known = {"beta1": facts.beta1, "beta2": facts.beta2, "momentum": facts.momentum, "numel": self._numel}
        weight_decay = facts.rate_per_lr
        scale = self.gradient_scale
        return equilibrium(method=facts.form, lr=facts.lr, weight_decay=weight_decay, gradient_scale=scale, **known)

    def rotation(self) -> float | None:
        """Radians per step that the random-walk law gives at the predicted norm (equals the table's in equilibrium)."""
        facts, norm = self._facts, math.sqrt(self.squared)
        if not facts.form or norm == 0 or not self._known():
            return None
        if facts.form == "sgdm":
            one = facts.lr * self.gradient_scale / norm  # |dw| of one gradient, |g| = scale / norm
            return one / norm / math.sqrt(1 - facts.momentum**2) if facts.momentum < 1 else None
        if facts.form == "lion":
            return facts.lr * math.sqrt(self._numel) / norm
        # Bias correction makes the first steps longer: the mean of t gradients is noisier than that of 1 / (1 - beta1).
        young = facts.beta1**self._steps
        memory = (1 - facts.beta1) / (1 + facts.beta1) * (1 + young) / (1 - young)
        return facts.lr * math.sqrt(self._numel * memory) / norm


class Forecasts:
    """The forecasts of a model: all its matrices, and whatever else was found scale-invariant."""

    def __init__(self, invariant: Mapping[str, bool], matrices: Set[str]) -> None:
        self._invariant = {name for name, yes in invariant.items() if yes}
        self._wanted = self._invariant | set(matrices)
        self._made: dict[str, Forecast] = {}

    def advance(
        self, samples: Mapping[str, TensorSample], lrs: Sequence[Sequence[float]], groups: Mapping[str, int]
    ) -> None:
        """Take a sampled step in; `lrs[group]` are the learning rates of the steps since the last one."""
        for name, sample in samples.items():
            if name in self._made:
                self._made[name].advance(sample, lrs[groups[name]])
            elif name in self._wanted and sample.after > 0:
                self._made[name] = Forecast(sample, invariant=name in self._invariant, steps=len(lrs[groups[name]]))

    def rows(self) -> Iterator[tuple[str, str, float]]:
        """(metric, tensor, value) of the predictions that apply now."""
        for name, forecast in self._made.items():
            if forecast.applies:
                yield "predicted_weight_norm", name, math.sqrt(forecast.squared)
                rotation = forecast.rotation()
                if rotation is not None:
                    yield "predicted_rotation", name, rotation

    def to_meta(self) -> dict[str, dict[str, object]]:
        """Equilibria per tensor, for the run's meta."""
        found: dict[str, dict[str, object]] = {}
        for name, forecast in self._made.items():
            settled = forecast.equilibrium()
            if settled is None:
                continue
            found[name] = {
                "weight_norm": settled.weight_norm,
                "rotation": settled.rotation,
                "steps_to_equilibrium": _finite(3 * settled.relaxation_steps),
                "scale_invariant": forecast.invariant,
                "near_invariant": forecast.applies,
            }
        return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
