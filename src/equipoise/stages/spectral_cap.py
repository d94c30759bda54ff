"""Spectral cap: after the step, bring the singular values of each weight matrix below a bound, or onto it.

Source     Newhouse et al. 2025, arXiv:2507.13338, and the authors' code. The maps: `core/linalg/spectral_caps.py`.
Differs    Their code divides a stack of matrices by its size; here every matrix is capped by itself. The polynomials of
           (1) and (2) grow without bound outside the ball: here the first step brings weights into it, by (3).
Symbols    W: a weight matrix [rows, columns] as the group's `matrix_view` has it; V = W / sqrt(rows / columns), so that
           its largest singular value is its norm from RMS to RMS; w = w_max, rate = spectral_decay; eta = lr,
           lambda = weight_decay; b: `update_bound`, largest singular value of a direction over sqrt(rows / columns).
Rule       V <- soft cap of strength for k = w (1 - eta lambda) + eta b     "soft"       (1)
           V <- w hard(V / w)                                               "hard"       (2)
           V <- V with singular values above w set to w                     "clip", and "soft", "hard" at t = 1    (3)
           V <- w NS(V)                                                     "stiefel"    (4)
           V <- V + (w - s1) u v^T                                          "hammer"     (5)
           V <- V / max(1, s1 / w)                                          "normalize"  (6)
           V <- V - rate s1 u v^T                                           "decay"      (7)
Order      After apply.
Invariant  "soft": |V|_sigma <= w after every step if the direction is within b. "hard": at most 1.011 w while a step
           adds at most 1.9 w. "clip", "normalize": at most w. "hammer": s1 = w, the others as they were.
Cost       See `core/linalg/spectral_caps.py`; (5) to (7) keep one vector of the shorter side as state.
Avoid      Writing weights from outside the ball in mid-run with "soft" or "hard". A convolution's cap is that of its
           matrix [out, in x kh x kw], not of the convolution as a map of pictures.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Generator, Tensor

from equipoise._card import method
from equipoise.core.checks import check_at_least, check_choice
from equipoise.core.linalg.polar import newton_schulz
from equipoise.core.linalg.polar_coefficients import coefficients_of
from equipoise.core.linalg.spectral_caps import (
    clip,
    clip_first,
    hammer,
    hard_cap,
    largest,
    normalize,
    soft_cap,
    soft_strength,
)
from equipoise.core.stage import Coefs, Partial, Registers, Slot, Stage, StateSpec, Values, whole

BY_VECTOR = ("hammer", "normalize", "decay")
POLYNOMIAL = ("soft", "hard")
KINDS = (*POLYNOMIAL, "clip", "stiefel", *BY_VECTOR)
_STIEFEL = coefficients_of("lipschitz6")


def _start(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    """A unit vector of the shorter side for each matrix, fixed by the parameter's name."""
    vector = torch.randn(shape[0], min(shape[1:]), 1, generator=generator)
    return torch.nn.functional.normalize(vector, dim=-2)


def _coefs(kind: str, update_bound: float) -> Coefs:
    def coefs(h: SimpleNamespace) -> dict[str, float]:
        if kind == "decay":
            return {"rate": h.spectral_decay}
        if kind not in POLYNOMIAL:
            return {"cap": h.w_max}
        values = {"cap": h.w_max, "first": float(h.t == 1)}
        if kind == "soft":
            values["alpha"] = soft_strength(h.w_max * (1 - h.lr * h.weight_decay) + h.lr * update_bound, h.w_max)
        return values

    return coefs


@method(kind="stage", paper="arXiv:2507.13338", scope="matrix", see_also=("orthogonalize", "spectral_soft"))
def spectral_cap(*, kind: str = "soft", update_bound: float = 1.0, steps: int = 16) -> Stage:
    """Equations (1) to (7). Group keys: w_max; for "soft" also lr and weight_decay, for "decay" spectral_decay alone.

    `update_bound`: b of (1). `steps`: of the power iteration in (5) to (7), whose vector is kept from step to step.
    """
    check_choice("kind", kind, KINDS)
    check_at_least("update_bound", update_bound, 0.0)
    check_at_least("steps", steps, 1)

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"p": whole(r.p)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        rows, columns = x.p.shape[-2:]
        size = (rows / columns) ** 0.5 if rows * columns > 0 else 1.0
        capped, state = _capped(kind, x.p.div_(size), s, c, steps)
        return {"p": capped.mul_(size)}, state

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"p": solved.p}, {}

    state = (StateSpec("cap_vector", init=_start, shape="free"),) if kind in BY_VECTOR else ()
    hyper = {"soft": ("lr", "weight_decay", "w_max"), "decay": ("spectral_decay",)}.get(kind, ("w_max",))
    return Stage(
        "spectral_cap", Slot.PROJECT, update, reads=("p",), writes=("p",), state=state, hyper=hyper,
        coefs=_coefs(kind, update_bound), partials=partials, reduction="matrix", solve=solve, degree=None,
        options=(("kind", kind), ("update_bound", update_bound), ("steps", steps)),
    )  # fmt: skip


def _capped(kind: str, v: Tensor, s: SimpleNamespace, c: SimpleNamespace, steps: int) -> tuple[Tensor, Values]:
    if kind in BY_VECTOR:
        top, part, vector = largest(v, s.cap_vector, steps)
        if kind == "hammer":
            v = hammer(v, c.cap, top, part)  # (5)
        else:
            v = normalize(v, c.cap, top) if kind == "normalize" else v.addcmul_(part, -c.rate)  # (6), (7)
        return v, {"cap_vector": vector}
    if kind == "stiefel":
        return newton_schulz(v, _STIEFEL, overwrite=True).mul_(c.cap), {}  # (4)
    if kind == "clip":
        return clip(v, c.cap), {}  # (3)
    capped = soft_cap(v, c.alpha) if kind == "soft" else hard_cap(v / c.cap).mul_(c.cap)  # (1), (2)
    return clip_first(v, c.cap, c.first, capped), {}  # (3)
