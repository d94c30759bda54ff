"""Typical size of Adam's denominator: what eps should be compared with.

Source: Wortsman et al., arXiv 2309.14322 section 3.4 (eps must stay below the gradient's scale).
Rule: median sqrt(v / (1 - beta2^t)) over at most 1024 coordinates that ever had a gradient.
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", paper="2309.14322", scope="tensor", applies_to=("Adam family",), see_also=("eps_underflow",))
def denominator(sample: TensorSample) -> float | None:
    """Median sqrt(v); None for optimizers without a second moment."""
    return sample.root_median
