"""Steepest descent under norms, arXiv:2409.20325, duality maps by SVD; NumPy float64."""

import numpy as np

VALUES = {
    "lr": 0.02, "momentum": 0.8, "weight_decay": 0.1, "norm": "rms_to_rms", "mass": 1.3, "dual": True,
    "ns_coefficients": "cubic", "ns_steps": 36, "precision": "parameter",
}  # fmt: skip


def run(
    p, grads, *, lr=1e-2, momentum=0.95, weight_decay=0.0, norm="rms_to_rms", mass=1.0, dual=False, most=np.inf,
    ns_coefficients=None, ns_steps=None, precision=None,
):  # fmt: skip
    w = np.array(p, np.float64)
    x = np.zeros_like(w)
    for g in grads:
        x = momentum * x + g
        t = duality_map(x, norm, most)
        length = (x * t).sum() if dual else 1.0
        w = (1 - lr * weight_decay) * w - lr * mass * length * t
    return w


def duality_map(x, norm, most=np.inf):
    if x.size == 0:
        return x
    if norm == "max_entry":
        return np.sign(x)
    if norm == "rms" or x.ndim < 2:
        return x / max(np.sqrt((x * x).mean()), 1 / most)
    rows = x.reshape(len(x), -1)
    if norm in ("row_rms", "rms_to_max"):
        rms = np.maximum(np.sqrt((rows * rows).mean(1, keepdims=True)), 1 / most)
        return (rows / rms / (rows.shape[1] if norm == "rms_to_max" else 1)).reshape(x.shape)
    if norm == "column_rms":
        return (rows / np.maximum(np.sqrt((rows * rows).mean(0)), 1 / most)).reshape(x.shape)
    left, _, right = np.linalg.svd(rows, full_matrices=False)
    scale = np.sqrt(rows.shape[0] / rows.shape[1]) if norm == "rms_to_rms" else 1.0
    return (scale * left @ right).reshape(x.shape)
