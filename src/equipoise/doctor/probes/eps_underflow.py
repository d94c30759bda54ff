"""Share of coordinates whose Adam denominator is dominated by eps.

Source: Wortsman et al., arXiv 2309.14322 section 3.4; Everett et al., arXiv 2407.05872. At sqrt(v) = 10 eps the step is
already 9 % short.
Rule: mean[ sqrt(v / (1 - beta2^t)) < 10 eps ] over at most 4096 coordinates that ever had a gradient.
Bands: < 1 % fine, > 10 % watch, > 50 % (the median) bad.
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", paper="2309.14322", equations="section 3.4", scope="tensor", applies_to=("Adam family",))
def eps_underflow(sample: TensorSample) -> float | None:
    """Fraction in [0, 1]; None for optimizers without a second moment."""
    return sample.tiny_share
