"""Euclidean norm of a parameter's gradient, as the optimizer saw it (after unscaling and clipping).

Rule: |g| = sqrt(sum g_ij^2). With gradient accumulation it is the accumulated gradient. Silent for sparse gradients.
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", scope="tensor")
def grad_norm(sample: TensorSample) -> float | None:
    """|g| as delivered to the optimizer."""
    return sample.grad
