"""Update-to-weight ratio: how much of a parameter one step replaces.

Source: folk measure (CS231n notes); about 1e-3 is usual, > 1e-2 sustained is hot, < 1e-5 is frozen (heuristic bands).
Rule: rms(dw) / rms(w), dw = w_after - w_before with decay included. Silent for a weight of zeros.
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", scope="tensor", see_also=("rotation",))
def update_ratio(sample: TensorSample) -> float | None:
    """rms(dw) / rms(w)."""
    return sample.update / sample.before if sample.before != 0 else None
