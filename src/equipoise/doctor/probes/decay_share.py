"""Share of weight decay in the update (decoupled) or in the gradient that the optimizer uses (coupled).

Rule: decoupled: d = rate |w|, u = |dw + rate w|, share d / (d + u). Coupled: lam |w| / (lam |w| + |g|).
Range 0 (no decay) to 1 (nothing but decay).
"""

import math

from equipoise._card import method
from equipoise.doctor.probes.sample import TensorSample


@method(kind="probe", scope="tensor")
def decay_share(sample: TensorSample) -> float | None:
    """Share in [0, 1]; None when it cannot be told (no gradient, law without a closed form)."""
    facts = sample.facts
    if facts.decay == "coupled":
        if sample.grad is None:
            return None
        return _share(facts.weight_decay * sample.before, sample.grad)
    rate = facts.decay_rate()
    if rate is None:
        return None
    squared = sample.update**2 + 2 * rate * sample.update_dot + (rate * sample.before) ** 2
    return _share(rate * sample.before, math.sqrt(max(squared, 0.0)) if math.isfinite(squared) else math.nan)


def _share(decay: float, rest: float) -> float:
    return decay / (decay + rest) if decay + rest > 0 else 0.0
