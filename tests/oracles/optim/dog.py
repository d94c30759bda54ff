"""DoG and LDoG, arXiv:2302.12022 equations (1) and (2); NumPy float64."""

import numpy as np

VALUES = {"lr": 0.9, "weight_decay": 0.2, "first": 0.05, "eps": 0.5}


def run_all(ps, grads_per_step, *, lr=1.0, weight_decay=0.0, first=1e-6, eps=1e-8, scope="global"):
    xs = [np.array(p, np.float64) for p in ps]
    if scope == "tensor":
        runs = [([x], [[g[i]] for g in grads_per_step]) for i, x in enumerate(xs)]
        return [run_all(*own, lr=lr, weight_decay=weight_decay, first=first, eps=eps)[0] for own in runs]
    starts = [x.copy() for x in xs]
    farthest, squares = first * (1 + np.sqrt(sum(np.sum(x * x) for x in xs))), eps
    for grads in grads_per_step:
        grads = [g + weight_decay * x for g, x in zip(grads, xs, strict=True)]
        farthest = max(farthest, np.sqrt(sum(np.sum((x - p) ** 2) for x, p in zip(xs, starts, strict=True))))
        squares += sum(np.sum(g * g) for g in grads)
        xs = [x - lr * farthest / np.sqrt(squares) * g for x, g in zip(xs, grads, strict=True)]
    return xs
