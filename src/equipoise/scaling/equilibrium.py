"""Equilibrium: the norm and the rotation per step at which gradient noise and weight decay balance.

Source: Kosson, Messmer, Jaggi, "Rotational Equilibrium", arXiv 2305.17212, eq. and table of section 3; finite forms of
AdamW and Lion derived by summing the geometric series (AdamW's agrees with Wen et al.'s note).

Symbols: eta lr, lam decay, alpha momentum of SGD (heavy ball), beta1, beta2 of Adam and Lion, n numel, |g1| gradient
    norm at |w| = 1 (the product |g| |w| does not depend on |w|), a = 1 - eta lam.

Rule: (1) SGDM      |w| = (eta |g1|^2 / (2 lam (1-alpha)))^(1/4)    theta = sqrt(2 eta lam / (1+alpha))
      (2) AdamW     |w|^2 = eta^2 n K / (1-a^2) -> eta n / (2 lam), K = (1-beta1)(1+a beta1) / ((1+beta1)(1-a beta1))
                    theta = sqrt(2 eta lam (1-beta1) / (1+beta1))
      (3) Adam+L2   |w| = (eta sqrt(n) |g1| / (2 lam))^(1/3)        theta = eta sqrt(n (1-beta1)/(1+beta1)) / |w|
      (4) Lion      |w|^2 = eta^2 n / (1-a^2) [1 + 2 sum_k a^k (2/pi) asin rho_k]
                    theta -> sqrt(pi eta lam B) for small eta lam, B = (1-beta1)^2 + beta1^2 (1-beta2)/(1+beta2)

Scope: scale-invariant weights, gradients of successive steps uncorrelated. Embeddings, heads, gains and biases drift.
Avoid: reading it as a forecast for runs shorter than the relaxation time; see `norm_path` for the way there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from equipoise._card import method
from equipoise._errors import ArgumentError, near


@dataclass(frozen=True)
class Equilibrium:
    """Where a scale-invariant weight settles.

    Attributes:
        weight_norm: Euclidean norm of the tensor.
        rotation: angle between weights of successive steps, radians.
        relaxation_steps: e-fold time of |w|^2 near equilibrium, steps; nan where no closed form is known.
    """

    weight_norm: float
    rotation: float
    relaxation_steps: float


def sgdm(*, lr: float, weight_decay: float, momentum: float, gradient_scale: float) -> Equilibrium:
    """Equilibrium of SGD with momentum and L2. `gradient_scale` is |g| |w|."""
    norm = (lr * gradient_scale**2 / (2 * weight_decay * (1 - momentum))) ** 0.25  # (1)
    rotation = math.sqrt(2 * lr * weight_decay / (1 + momentum))  # (1)
    return Equilibrium(norm, rotation, (1 - momentum) / (4 * lr * weight_decay))


def adamw(*, lr: float, weight_decay: float, beta1: float, numel: int) -> Equilibrium:
    """Equilibrium of AdamW with torch's decay law; the norm by the form that is exact for finite lr * weight_decay."""
    norm = math.sqrt(numel * lr**2 * adamw_memory(lr * weight_decay, beta1) / (1 - (1 - lr * weight_decay) ** 2))  # (2)
    rotation = math.sqrt(2 * lr * weight_decay * (1 - beta1) / (1 + beta1))  # (2)
    return Equilibrium(norm, rotation, 1 / (2 * lr * weight_decay))


def adamw_memory(rate: float, beta1: float) -> float:
    """K of (2): how momentum's memory and a decay of `rate` = lr * weight_decay per step change the growth of |w|^2."""
    a = 1 - rate
    return (1 - beta1) / (1 + beta1) * (1 + a * beta1) / (1 - a * beta1)


def adam_l2(*, lr: float, weight_decay: float, beta1: float, numel: int, gradient_scale: float) -> Equilibrium:
    """Equilibrium of Adam whose decay goes through the gradient: depends on |g|, so layers end up unbalanced."""
    norm = (lr * math.sqrt(numel) * gradient_scale / (2 * weight_decay)) ** (1 / 3)  # (3)
    rotation = lr * math.sqrt(numel * (1 - beta1) / (1 + beta1)) / norm  # (3)
    return Equilibrium(norm, rotation, math.nan)


def lion(*, lr: float, weight_decay: float, beta1: float, beta2: float, numel: int) -> Equilibrium:
    """Equilibrium of Lion: norm by the arcsine form, rotation by the step that leaves this norm as it is."""
    a = 1 - lr * weight_decay
    step = lr * math.sqrt(numel)  # every coordinate moves by lr
    norm = step * math.sqrt(lion_memory(lr * weight_decay, beta1, beta2) / (1 - a**2))  # (4)
    along = (norm**2 * (1 - a**2) - step**2) / (2 * norm * a)
    rotation = math.atan2(math.sqrt(max(step**2 - along**2, 0.0)), norm * a + along)
    return Equilibrium(norm, rotation, 1 / (2 * lr * weight_decay))


def lion_noise(beta1: float, beta2: float) -> float:
    """B of (4): variance of Lion's interpolated momentum per unit gradient variance."""
    return (1 - beta1) ** 2 + beta1**2 * (1 - beta2) / (1 + beta2)


@lru_cache(maxsize=256)
def lion_memory(rate: float, beta1: float, beta2: float) -> float:
    """The bracket of (4): 1 + 2 sum_k a^k (2/pi) asin rho_k; rho_k is the lag-k correlation before the sign."""
    first = (beta1 * (1 - beta1) * (1 - beta2) / beta2 if beta2 else 0.0) + beta1**2 * (1 - beta2) / (1 + beta2)
    ratio, total, power = (1 - rate) * beta2, 0.0, 1.0
    rho = first / lion_noise(beta1, beta2)
    for k in range(1, 100_000):
        power *= 1 - rate
        term = power * 2 / math.pi * math.asin(min(1.0, rho * beta2**k))
        total += term
        # The tail is below term * ratio / (1 - ratio): asin is nearly linear for small correlations.
        if term * ratio < 1e-12 * (1 - ratio):
            break
    return 1 + 2 * total


_FORMS: dict[str, Callable[..., Equilibrium]] = {"sgdm": sgdm, "adamw": adamw, "adam_l2": adam_l2, "lion": lion}


@method(kind="law", paper="2305.17212", equations="table 1", applies_to=("scale-invariant weights",), scope="tensor")
def equilibrium(
    *,
    method: str = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.99,
    momentum: float = 0.9,
    numel: int = 1,
    gradient_scale: float = 1.0,
) -> Equilibrium:
    """Equilibrium of a scale-invariant weight.

    Args:
        method: "sgdm", "adamw", "adam_l2" or "lion".
        lr: learning rate, > 0.
        weight_decay: decay coefficient as in torch, > 0.
        beta1: first coefficient of Adam or Lion.
        beta2: second coefficient of Lion (Adam's does not matter).
        momentum: SGD's heavy-ball momentum, 0 without.
        numel: elements of the tensor.
        gradient_scale: |g| |w|, for "sgdm" and "adam_l2".

    Example:
        >>> round(equilibrium(method="adamw", lr=3e-4, weight_decay=0.1).rotation, 7)
        0.001777
    """
    if method not in _FORMS:
        raise ArgumentError("method", method, "an optimizer with a known equilibrium", near(method, list(_FORMS)))
    for name, value in (("lr", lr), ("weight_decay", weight_decay), ("numel", numel)):
        if not value > 0:
            raise ArgumentError(
                name, value, "a positive number", "Without decay the norm grows for ever: see norm_path."
            )
    known = {"beta1": beta1, "beta2": beta2, "momentum": momentum, "numel": numel, "gradient_scale": gradient_scale}
    uses = {"sgdm": ("momentum", "gradient_scale"), "adamw": ("beta1", "numel"), "lion": ("beta1", "beta2", "numel")}
    wanted = uses.get(method, ("beta1", "numel", "gradient_scale"))
    return _FORMS[method](lr=lr, weight_decay=weight_decay, **{k: known[k] for k in wanted})
