"""Norm path: how the norm of a scale-invariant weight moves, step by step, towards equilibrium or without bound.

Source: arXiv 2305.17212 section 3 (the balance whose fixed point is `equilibrium`); growth without decay is
lam = 0.

Symbols: r = |w|^2, eta lr, lam decay, e = eta / (1 - alpha), n numel, |g1| = |g| |w|, K and B as in `equilibrium`.

Rule (one step): (1) SGDM     r <- r - 2 e lam r + e^2 |g1|^2 / r          lam = 0: |w|^4 = |w0|^4 + 2 e^2 |g1|^2 t
                 (2) AdamW    r <- (1 - eta lam)^2 r + eta^2 n K           lam = 0: |w|^2 = |w0|^2 + eta^2 n t
                 (3) Adam+L2  r <- r - 2 eta lam r sqrt(r n) / |g1| + eta^2 n
                 (4) Lion     r <- (1 - eta lam)^2 r + eta^2 n M           M = Lion's arcsine sum
So Adam's effective learning rate falls like t^(-1/2) and SGD's like t^(-1/2) in eta / |w|^2 when nothing decays.

Scope: as `equilibrium`. Cost: a few multiplications per tensor and step.
"""

from __future__ import annotations

import math

from equipoise._card import method as card
from equipoise._errors import ArgumentError
from equipoise.scaling.equilibrium import adamw_memory, lion_memory


def path_step(
    squared: float, *, method: str, lr: float, weight_decay: float, numel: int, gradient_scale: float, memory: float
) -> float:
    """The squared norm after one more step. `memory` is K or M (see `path_memory`), `momentum` in it for SGD."""
    if method == "sgdm":
        e = lr / (1 - memory)
        return max(squared * (1 - 2 * e * weight_decay), 0.0) + e**2 * gradient_scale**2 / max(squared, 1e-30)  # (1)
    if method == "adam_l2":
        pull = 2 * lr * weight_decay * math.sqrt(squared * numel) / max(gradient_scale, 1e-30)
        return squared * max(1 - pull, 0.0) + lr**2 * numel  # (3)
    return squared * (1 - lr * weight_decay) ** 2 + lr**2 * numel * memory  # (2), (4)


def path_memory(*, method: str, rate: float, beta1: float, beta2: float, momentum: float) -> float:
    """What `path_step` needs of momentum: K (AdamW), M (Lion), alpha (SGD), 1 (Adam+L2). rate: lr * weight_decay."""
    if method == "sgdm":
        return momentum
    if method == "adamw":
        return adamw_memory(rate, beta1)
    return lion_memory(rate, beta1, beta2) if method == "lion" else 1.0


@card(
    kind="law", paper="2305.17212", applies_to=("scale-invariant weights",), scope="tensor", see_also=("equilibrium",)
)
def norm_path(
    *,
    start: float = 1.0,
    steps: int = 1000,
    method: str = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.99,
    momentum: float = 0.9,
    numel: int = 1,
    gradient_scale: float = 1.0,
) -> list[float]:
    """Predicted norms of a scale-invariant weight at steps 0..`steps` (arguments as in `equilibrium`).

    Example:
        >>> path = norm_path(start=30.0, steps=2000, lr=1e-2, numel=1)
        >>> round(path[-1], 3)
        30.003
    """
    if steps < 0 or start <= 0:
        raise ArgumentError("start, steps", (start, steps), "a positive norm and a number of steps >= 0")
    memory = path_memory(method=method, rate=lr * weight_decay, beta1=beta1, beta2=beta2, momentum=momentum)
    squared = [start**2]
    for _ in range(steps):
        squared.append(
            path_step(
                squared[-1],
                method=method,
                lr=lr,
                weight_decay=weight_decay,
                numel=numel,
                gradient_scale=gradient_scale,
                memory=memory,
            )
        )
    return [math.sqrt(r) for r in squared]
