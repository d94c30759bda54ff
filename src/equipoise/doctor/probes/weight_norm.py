"""Euclidean norm of a parameter after the step.

Rule: |w| = sqrt(sum w_ij^2), reduced in fp32. Cost: one pass over the parameter on sampled steps.
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", scope="tensor", see_also=("weight_rms",))
def weight_norm(sample: TensorSample) -> float | None:
    """|w| after the step."""
    return sample.after
