"""Effective learning rate of a direction: what the step size means once the weight's norm is taken out.

Source: van Laarhoven, "L2 Regularization versus Batch and Weight Normalization", arXiv 1706.05350.
Rule: SGD eta / |w|^2; Adam, Lion and other normalised updates eta / |w|. Meaningful for scale-invariant weights.
"""

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", paper="1706.05350", scope="tensor", applies_to=("scale-invariant weights",))
def effective_lr(sample: TensorSample) -> float | None:
    """eta / |w|^2 for SGD, eta / |w| for Adam and Lion; None for other optimizers or a zero weight."""
    if sample.before == 0 or sample.facts.family == "other":
        return None
    power = 2 if sample.facts.family == "sgd" else 1
    return sample.facts.lr / sample.before**power
