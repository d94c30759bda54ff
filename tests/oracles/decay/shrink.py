"""Every cell of the decay grid around plain gradient descent, coordinate by coordinate in Python floats."""

import math

import numpy as np


def run(p, grads, *, lr, weight_decay, place, target, metric, law, mask, peak_lr=None, period=None):
    p = np.array(p, np.float64)
    start = p.copy()
    for g in grads:
        new = [
            _one(x, gx, x0, lr, weight_decay, place, target, metric, law, mask, peak_lr or lr, period)
            for x, gx, x0 in zip(p.ravel(), np.asarray(g).ravel(), start.ravel(), strict=True)
        ]
        p = np.array(new).reshape(p.shape)
    return p


def _one(x, g, x0, lr, lam, place, target, metric, law, mask, peak, period):
    tau = x0 if target == "init" else 0.0
    c = {"lr": lr * lam, "independent": lr / peak * lam, "normalized": lr / peak * lam / math.sqrt(period or 1)}[law]

    def pull(d):
        return d if metric == "l2" else float(np.sign(d))

    if place == "grad":
        return x - lr * (g + lam * pull(x - tau))
    if place == "before":
        on = mask == "all" or g * (x - tau) >= 0
        return x - (c * pull(x - tau) if on else 0.0) - lr * g
    y = x - lr * g
    if mask == "cautious" and g * (y - tau) < 0:
        return y
    d = y - tau
    if place == "after":
        return y - c * pull(d)
    return tau + (d / (1 + c) if metric == "l2" else math.copysign(max(abs(d) - c, 0.0), d))
