"""One pass over the parameters of a sampled step: all reductions as tensors, one transfer to the host."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from equipoise.doctor.adapter import GroupFacts
from equipoise.doctor.probes.sample import TensorSample

EPS_COORDINATES = 4096  # coordinates of the second moment that are looked at, per tensor
MEDIAN_COORDINATES = 1024
EPS_MARGIN = 10.0  # sqrt(v) < 10 eps: 9 % of the step is lost

Samples = dict[str, TensorSample]


@dataclass(frozen=True)
class Tracked:
    """A parameter that the optimizer updates: its name in the model, and the index of its group."""

    name: str
    parameter: torch.Tensor
    group: int


def snapshot(tracked: Sequence[Tracked]) -> list[torch.Tensor]:
    """Copies of the parameters before the step."""
    return [t.parameter.detach().clone() for t in tracked]


def measure(
    tracked: Sequence[Tracked],
    before: Sequence[torch.Tensor],
    groups: Sequence[GroupFacts],
    state: Mapping[torch.Tensor, Mapping[str, object]],
) -> Samples:
    """Reduce every tracked parameter that has a gradient. `before` are the copies from `snapshot`."""
    pending: list[torch.Tensor] = []
    rows: list[tuple[Tracked, bool, bool]] = []  # parameter, dense gradient?, second moment?
    for item, old in zip(tracked, before, strict=True):
        grad = item.parameter.grad
        if grad is None or item.parameter.numel() == 0:
            continue
        dense = grad.layout == torch.strided
        second = _second_moment(state.get(item.parameter, {}), groups[item.group])
        pending.extend([*_reduce(item.parameter, old, grad if dense else None), *second])
        rows.append((item, dense, bool(second)))
    return _assemble(rows, iter(to_floats(pending)), groups)


def _assemble(rows: list[tuple[Tracked, bool, bool]], values: Iterator[float], groups: Sequence[GroupFacts]) -> Samples:
    samples: Samples = {}
    for item, dense, has_second in rows:
        before, after, update, dot = (next(values) for _ in range(4))
        grad, grad_dot = (next(values), next(values)) if dense else (None, None)
        tiny, root = (next(values), next(values)) if has_second else (None, None)
        if tiny is not None and math.isnan(tiny):  # no coordinate had a gradient yet
            tiny = root = None
        facts, size = groups[item.group], item.parameter.numel()
        samples[item.name] = TensorSample(size, before, after, update, dot, grad, grad_dot, tiny, root, facts)
    return samples


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    wide = real if real.dtype in (torch.float32, torch.float64) else real.float()
    return wide.reshape(-1)


def _reduce(parameter: torch.Tensor, old: torch.Tensor, grad: torch.Tensor | None) -> list[torch.Tensor]:
    w, new = _flat(old), _flat(parameter)
    delta = new - w
    reduced = [norm(w), norm(new), norm(delta), torch.dot(w, delta)]
    if grad is not None:
        g = _flat(grad).to(w.dtype)
        reduced += [norm(g), torch.dot(g, w)]
    return reduced


def norm(flat: torch.Tensor) -> torch.Tensor:
    """Euclidean norm of a flat tensor; a dot product is several times faster than vector_norm on CPU."""
    return torch.dot(flat, flat).sqrt()


def _second_moment(state: Mapping[str, object], facts: GroupFacts) -> list[torch.Tensor]:
    """[share of coordinates under the eps margin, median sqrt(v)] of those that ever had a gradient; [] without v."""
    second, step = state.get("exp_avg_sq"), state.get("step")
    if not isinstance(second, torch.Tensor) or second.numel() == 0 or facts.eps <= 0:
        return []
    flat = _flat(second)
    some = flat[:: max(1, flat.numel() // EPS_COORDINATES)]
    count = float(step) if isinstance(step, int | float | torch.Tensor) else 0.0
    correction = 1 - facts.beta2 ** max(count, 1.0)
    # A coordinate with v = 0 never had a gradient (an unseen token's row): eps plays no part there.
    alive = some > 0
    tiny = (alive & (some < (EPS_MARGIN * facts.eps) ** 2 * correction)).sum() / alive.sum().to(torch.float32)
    few = some[:: max(1, some.numel() // MEDIAN_COORDINATES)]
    root = few.where(few > 0, few.new_full((), math.nan)).nanmedian() / correction
    return [tiny, root.sqrt()]


def to_floats(scalars: Sequence[torch.Tensor]) -> list[float]:
    """0-D tensors as floats, with one transfer when they share a device."""
    if not scalars:
        return []
    if len({s.device for s in scalars}) == 1:
        return torch.stack([s.detach().to(torch.float32) for s in scalars]).tolist()
    return [float(s) for s in scalars]
