"""Every cell of the decay grid around plain gradient descent, coordinate by coordinate in Python floats."""

import math

import numpy as np


def run(
    p, grads, *, lr, weight_decay, place, target, metric, law, mask, peak_lr=None, period=None, momentum=0.0, delta=None
):
    p = np.array(p, np.float64)
    start = p.copy()
    c = _coefficient(law, lr, weight_decay, peak_lr or lr, period or 1, momentum)
    for g in grads:
        new = [
            _one(x, gx, x0, lr, weight_decay, place, target, metric, mask, c, delta)
            for x, gx, x0 in zip(p.ravel(), np.asarray(g).ravel(), start.ravel(), strict=True)
        ]
        p = np.array(new).reshape(p.shape)
    return p


def _coefficient(law, lr, lam, peak, period, mu):
    return {
        "lr": lr * lam,
        "independent": lr / peak * lam,
        "normalized": lr / peak * lam / math.sqrt(period),
        "momentum": lr * lam / (1 - mu),
        "corrective": lr**2 * lam / peak,
    }[law]


def _one(x, g, x0, lr, lam, place, target, metric, mask, c, delta):
    tau = x0 if target == "init" else 0.0

    def pull(d):
        if metric == "huber":
            return math.copysign(min(abs(d), delta), d)
        return d if metric == "l2" else float(np.sign(d))

    if place in ("grad", "momentum"):
        return x - lr * (g + lam * pull(x - tau))
    if place == "direction":
        on = mask == "all" or g * (x - tau) >= 0
        return x - lr * (g + (lam * pull(x - tau) if on else 0.0))
    if place == "before":
        on = mask == "all" or g * (x - tau) >= 0
        return x - (c * pull(x - tau) if on else 0.0) - lr * g
    y = x - lr * g
    if mask == "cautious" and g * (y - tau) < 0:
        return y
    d = y - tau
    return y - c * pull(d) if place == "after" else tau + _prox(d, c, metric, delta)


def _prox(d, c, metric, delta):
    """argmin over x of (x - d)^2 / 2 + c F(x), F = x^2 / 2, |x|, or Huber's function with slope at most delta."""
    if metric == "l1":
        return math.copysign(max(abs(d) - c, 0.0), d)
    if metric == "huber" and abs(d) > delta * (1 + c):
        return d - math.copysign(c * delta, d)
    return d / (1 + c)
