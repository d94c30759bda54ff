"""Angle between a parameter before and after the step, in radians.

Source: arXiv 2305.17212 (angular update).
Rule: r = <w, dw> / |w|, p = sqrt(|dw|^2 - r^2), theta = atan2(p, |w| + r). acos(cos) has a floor of 3.5e-4 in
fp32.
"""

import math

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", paper="2305.17212", scope="tensor", see_also=("update_ratio", "equilibrium"))
def rotation(sample: TensorSample) -> float | None:
    """Radians turned by this step; None for a weight of zeros."""
    if sample.before == 0:
        return None
    radial = sample.update_dot / sample.before
    across = math.sqrt(max(sample.update**2 - radial**2, 0.0)) if math.isfinite(sample.update) else math.nan
    return math.atan2(across, sample.before + radial)
