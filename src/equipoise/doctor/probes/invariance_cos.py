"""Cosine between gradient and weight: 0 for a scale-invariant weight.

Source: arXiv 2305.17212; |cos| < 0.05 counts as scale-invariant (heuristic).
Rule: |<g, w>| / (|g| |w|).
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", paper="2305.17212", scope="tensor", see_also=("equilibrium",))
def invariance_cos(sample: TensorSample) -> float | None:
    """Absolute cosine in [0, 1]; None without a gradient or for a zero weight."""
    if sample.grad is None or sample.grad_dot is None or not sample.grad * sample.before > 0:
        return None
    return abs(sample.grad_dot) / (sample.grad * sample.before)
