"""Root mean square of a parameter's elements after the step.

Rule: rms(w) = |w| / sqrt(numel). Comparable between tensors of different sizes.
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", scope="tensor", see_also=("weight_norm",))
def weight_rms(sample: TensorSample) -> float | None:
    """rms(w) after the step."""
    return sample.after / sample.numel**0.5
