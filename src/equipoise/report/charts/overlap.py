"""Which arms' curves lie on another's: the later one would hide the earlier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from equipoise.report.runs import Run

Curve = tuple[Run, list[int], list[float]]
ALIKE = 0.005  # mean distance, as a share of the chart's height, below which an eye sees one line


def covered(curves: Sequence[Curve]) -> dict[int, int]:
    """Arm -> the earlier arm on whose curve its own lies, judged by the first run of each."""
    firsts: dict[int, Curve] = {}
    for curve in curves:
        firsts.setdefault(curve[0].arm, curve)
    height = _height(curves)
    found: dict[int, int] = {}
    for arm in sorted(firsts):
        under = [a for a in sorted(firsts) if a < arm and _distance(firsts[a], firsts[arm]) < ALIKE * height]
        if under:
            found[arm] = under[0]
    return found


def covered_words(curves: Sequence[Curve], found: Mapping[int, int], *, dashed: bool = True) -> list[str]:
    """A sentence, without its point, for every covered arm."""
    names = {run.arm: run.arm_label for run, _, _ in curves}
    return [f"{names[arm]}{' (dashed)' if dashed else ''} lies on {names[under]}" for arm, under in found.items()]


def _height(curves: Sequence[Curve]) -> float:
    values = [v for _, _, vs in curves for v in vs if math.isfinite(v)]
    return max(values, default=0.0) - min(values, default=0.0)


def _distance(a: Curve, b: Curve) -> float:
    """Mean distance over the steps both have; infinite when there are none."""
    known = dict(zip(a[1], a[2], strict=True))
    pairs = [(known[s], v) for s, v in zip(b[1], b[2], strict=True) if s in known]
    gaps = [abs(x - y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    return sum(gaps) / len(gaps) if gaps else math.inf
