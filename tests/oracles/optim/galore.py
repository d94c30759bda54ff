"""GaLore, arXiv:2403.03507 Algorithm 2, in the order of the authors' code; singular vectors by SVD; NumPy float64."""

import numpy as np

VALUES = {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1, "rank": 2, "scale": 0.7,
          "refresh_every": 4}  # fmt: skip


def run(p, grads, *, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0, rank=128, scale=0.25,
        refresh_every=200, low_rank=True):  # fmt: skip
    w = np.array(p, np.float64)
    matrix = low_rank and w.ndim > 1 and w.size > 0
    basis = np.empty((0, 0))
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        low = g
        if matrix:
            G = g.reshape(len(w), -1)
            right = G.shape[0] >= G.shape[1]
            if (t - 1) % refresh_every == 0:
                basis = _signed(_leading(G, rank, right), basis)
            low = G @ basis if right else basis.T @ G
        m = beta1 * m + (1 - beta1) * low
        v = beta2 * v + (1 - beta2) * low * low
        u = np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps)
        if matrix:
            u = scale * (u @ basis.T if right else basis @ u).reshape(w.shape)
        w = (1 - lr * weight_decay) * (w - lr * u)
    return w


def _leading(G, rank, right):
    left, _, rows = np.linalg.svd(G, full_matrices=False)
    return rows[:rank].T if right else left[:, :rank]


def _signed(new, old):
    """A vector points where the one that it follows does."""
    return new if old.size == 0 else new * np.where((new * old).sum(0) < 0, -1.0, 1.0)
