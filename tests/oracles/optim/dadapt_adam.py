"""D-Adaptation for Adam, arXiv:2301.07733, as version 3 of the authors' code, one d for all tensors; NumPy float64."""

import numpy as np

VALUES = {"lr": 60.0, "beta1": 0.8, "beta2": 0.3, "eps": 0.1, "weight_decay": 0.3, "d0": 1e-4, "growth": 1.6,
          "bias_correction": True}  # fmt: skip


def run_all(ps, grads_per_step, *, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, d0=1e-6, growth=np.inf,
            bias_correction=False):  # fmt: skip
    xs = [np.array(p, np.float64) for p in ps]
    ms, vs, ss = ([np.zeros_like(x) for x in xs] for _ in range(3))
    root, d, numerator = np.sqrt(beta2), d0, 0.0
    for t, grads in enumerate(grads_per_step, start=1):
        rate = d * lr * (np.sqrt(1 - beta2**t) / (1 - beta1**t) if bias_correction else 1.0)
        inner = sum(np.sum(g * s / (np.sqrt(v) + eps)) for g, s, v in zip(grads, ss, vs, strict=True))
        numerator = root * numerator + (1 - root) * rate * inner
        for i, g in enumerate(grads):
            ms[i] = beta1 * ms[i] + (1 - beta1) * rate * g
            vs[i] = beta2 * vs[i] + (1 - beta2) * g * g
            ss[i] = root * ss[i] + (1 - root) * rate * g
            xs[i] = xs[i] - weight_decay * rate * xs[i] - ms[i] / (np.sqrt(vs[i]) + eps)
        estimate = numerator / ((1 - root) * sum(np.sum(np.abs(s)) for s in ss))
        d = max(d, min(estimate, d * growth))
    return xs
