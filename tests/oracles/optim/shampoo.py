"""Shampoo, arXiv:1802.09568 Algorithm 1, roots by SVD, with grafting and averages; NumPy float64."""

import numpy as np

VALUES = {
    "lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1, "damping": 0.01, "accumulate": "average",
    "graft": "adam", "refresh_every": 3, "max_dim": 62, "block_size": 30,
}  # fmt: skip


def run(
    p, grads, *, lr=1e-2, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.0, damping=1e-6, exponent=None,
    accumulate="sum", graft=None, refresh_every=10, max_dim=10_000, block_size=1024,
):  # fmt: skip
    w = np.array(p, np.float64)
    if w.ndim < 2 or w.size == 0:
        return _adamw(w, grads, lr, beta1, beta2, eps, weight_decay)
    rows, columns = w.shape[0], w.size // w.shape[0]
    v, m, u = np.zeros(w.shape), np.zeros(w.shape), np.zeros((rows, columns))
    blocks = [(a, b) for a in _cuts(rows, max_dim, block_size) for b in _cuts(columns, max_dim, block_size)]
    sums = [(np.zeros((len(a), len(a))), np.zeros((len(b), len(b)))) for a, b in blocks]
    roots = [()] * len(blocks)
    q = exponent or 1 / (2 * max((rows <= max_dim) + (columns <= max_dim), 1))
    keep, fresh = (1.0, 1.0) if accumulate == "sum" else (beta2, 1 - beta2)
    for t, g in enumerate(grads, start=1):
        for k, (a, b) in enumerate(blocks):
            G = g.reshape(rows, columns)[np.ix_(a, b)]
            sums[k] = tuple(keep * x + fresh * c for x, c in zip(sums[k], (G @ G.T, G.T @ G), strict=True))
            if (t - 1) % refresh_every == 0:
                weight = 1.0 if accumulate == "sum" else 1 - beta2**t
                whole = zip(sums[k], (rows, columns), strict=True)
                roots[k] = [_root(x / weight, q, damping) if n <= max_dim else np.eye(len(x)) for x, n in whole]
            u[np.ix_(a, b)] = roots[k][0] @ G @ roots[k][1]
        v = beta2 * v + (1 - beta2) * g * g
        s = u.reshape(w.shape)
        if graft:
            target = g if graft == "sgd" else g / (np.sqrt(v / (1 - beta2**t)) + eps)
            s = s * np.linalg.norm(target.ravel()) / np.linalg.norm(s.ravel())
        m = beta1 * m + (1 - beta1) * s
        w = (1 - lr * weight_decay) * w - lr * m / (1 - beta1**t)
    return w


def _cuts(n, max_dim, block_size):
    """The fewest runs of indices no longer than a block, as equal as they can be, the last one the shortest."""
    if n > max_dim or block_size is None:
        return [range(n)]
    count = -(-n // block_size)
    length = -(-n // count)
    return [range(start, min(start + length, n)) for start in range(0, n, length)]


def _root(x, q, damping):
    u, s, _ = np.linalg.svd(x + damping * np.eye(len(x)))
    return (u * s**-q) @ u.T


def _adamw(w, grads, lr, beta1, beta2, eps, weight_decay):
    m = v = np.zeros_like(w)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w = (1 - lr * weight_decay) * w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return w
