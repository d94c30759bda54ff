"""Measured laws: coefficients that depend on tensors. Each is a stage that leaves its factor in register lam.

Source     stable: Xie et al. 2020, arXiv:2011.11152, Algorithm 3 and the authors' code; dual: Franke et al. 2023,
           arXiv:2311.09058, Algorithm 1 and the authors' code (bound from a warm start, or where the norm bends).
Differs    Both coefficients are at most 1, so that decay turns no weight around: the authors' stable one is infinite
           while every gradient is 0, their dual one grows without end after a jump of the norm. dual: the paper's
           update rate mu is weight_decay; its other ways to find the bound (a constant, a multiple of the first R) are
           left out. The authors compare a moving average of R at every step, which their code computes but does not
           keep; here R itself is compared every s steps.
Symbols    den: the denominator sqrt(v-hat) + eps; the mean runs over all parameters of all groups that share the chain;
           p: n entries; R, kappa, lambda_l: 0-D; s = warm_steps, mu = weight_decay, R_j = R at step j s.
Rule       stable: lam = 1 / sqrt(mean (den - eps)^2)                                       (1)
                   by row: r_i <- beta2 r_i + (1 - beta2) |g_i|^2; the mean of (1) is that of
                   r_i / (1 - beta2^t), the same number where den is Adam's, of g, without a maximum
           dual:   R = sum(p^2) / n;  kappa = R at step s                                   (2)
                   lambda_l <- max(0, lambda_l + mu (R - kappa)) after step s, 0 before     (3)
                   lam = lambda_l, which decay multiplies by 2                              (4)
           dual_inflection: kappa = R_j at the first j >= 3 at which R_j - R_{j-1} < R_{j-1} - R_{j-2}, then
                   (3) and (4) from the next step on                                        (5)
Invariant  stable: a loss K times larger is decayed K times less, as with L2. dual: while R <= kappa, lambda_l falls to
           0 and then nothing is decayed.
Cost       stable: one sum over all parameters, at which they wait for each other; by row it reads the gradient for it
           instead of gradient and second moment, and keeps one number per row, one more level of reduction.
           dual: a sum and 2 numbers per tensor (inflection 4).
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from equipoise.core.hyper import beta_power
from equipoise.core.stage import Partial, Registers, Slot, Stage, StateSpec, Values, total
from equipoise.decay.cell import Cell


def stages(cell: Cell) -> list[Stage]:
    """The stage that measures for a law, before the decay's own; none for laws of numbers alone."""
    if cell.by_row:
        return [row_squares(cell.slot), stable(cell.slot, by_row=True)]
    makers = {"stable": stable, "dual": dual, "dual_inflection": dual_inflection}
    return [makers[cell.law](cell.slot)] if isinstance(cell.law, str) and cell.law in makers else []


def row_squares(slot: Slot) -> Stage:
    """The r_i of (1) over 1 - beta2^t, as aux["row_squares"]. Group key: betas[1]. State: row_squares."""

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        return {"keep": h.beta2, "fresh": 1 - h.beta2, "scale": 1 / (1 - beta_power(h, "beta2"))}

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"squares": total(r.g * r.g)}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, rows: SimpleNamespace) -> tuple[Values, Values]:
        squares = c.keep * s.row_squares + c.fresh * rows.squares
        return {"aux": {"row_squares": c.scale * squares}}, {"row_squares": squares}

    return Stage(
        "row_squares", slot, update, reads=("g",), writes=("aux.row_squares",), hyper=("beta2",), coefs=coefs,
        partials=partials, reduction="row", degree=None, state=(StateSpec("row_squares", shape="row"),),
    )  # fmt: skip


def stable(slot: Slot, *, by_row: bool = False) -> Stage:
    """Equation (1). Group key: eps, unless by row. Telemetry: aux["mean_square"]."""

    def squares(r: Registers, c: SimpleNamespace) -> Partial:
        if by_row:
            return total(r.aux["row_squares"], by_row=True)
        root = r.den - c.eps
        return total(root * root)

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"squares": squares(r, c), "count": total(r.p.new_full((), r.p.numel()))}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, whole: SimpleNamespace) -> tuple[Values, Values]:
        mean = (whole.squares / whole.count).clamp_min(torch.finfo(r.p.dtype).tiny)
        lam = 1 / mean.sqrt()  # (1)
        return {"lam": lam if r.lam is None else r.lam * lam, "aux": {"mean_square": mean}}, {}

    return Stage(
        "stable", slot, update, reads=("p", "aux.row_squares" if by_row else "den"), writes=("lam",),
        hyper=() if by_row else ("eps",), coefs=lambda h: {} if by_row else {"eps": h.eps}, partials=partials,
        reduction="global", degree=None,
        options=(("by_row", True),) if by_row else (),
    )  # fmt: skip


def dual(slot: Slot) -> Stage:
    """Equations (2) to (4). Group keys: weight_decay, warm_steps. State: dual and bound. Telemetry: aux["dual"]."""

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        warm = h.t <= h.warm_steps
        return {"follow": float(warm), "hold": float(not warm), "rate": 0.0 if warm else h.weight_decay}

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"squares": total(r.p * r.p)}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, whole: SimpleNamespace) -> tuple[Values, Values]:
        size = whole.squares / r.count
        bound = s.bound * c.hold + size * c.follow  # (2)
        multiplier = (s.dual + c.rate * (size - bound)).clamp_min(0.0)  # (3)
        lam = multiplier if r.lam is None else r.lam * multiplier  # (4)
        return {"lam": lam, "aux": {"dual": multiplier}}, {"dual": multiplier, "bound": bound}

    return Stage(
        "dual", slot, update, reads=("p",), writes=("lam",), hyper=("weight_decay", "warm_steps"), coefs=coefs,
        partials=partials, reduction="tensor", degree=None,
        state=(StateSpec("dual", shape="scalar"), StateSpec("bound", shape="scalar")),
    )  # fmt: skip


def dual_inflection(slot: Slot) -> Stage:
    """Equations (3) to (5). Group keys and telemetry as `dual`. State: dual, bound (0: none yet), last and gain."""

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        every = max(round(h.warm_steps), 1)
        return {
            "due": float(h.t % every == 0),
            "may": float(h.t % every == 0 and h.t >= 3 * every),
            "rate": h.weight_decay,
        }

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"squares": total(r.p * r.p)}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, whole: SimpleNamespace) -> tuple[Values, Values]:
        size = whole.squares / r.count
        gain, bound = size - s.last, s.bound
        multiplier = torch.where(bound > 0, (s.dual + c.rate * (size - bound)).clamp_min(0.0), s.dual)  # (3)
        bends = (c.may > 0) & (bound == 0) & (gain < s.gain)  # (5)
        due = c.due > 0
        lam = multiplier if r.lam is None else r.lam * multiplier  # (4)
        state = {"dual": multiplier, "bound": torch.where(bends, size, bound)}
        state |= {"last": torch.where(due, size, s.last), "gain": torch.where(due, gain, s.gain)}
        return {"lam": lam, "aux": {"dual": multiplier}}, state

    return Stage(
        "dual_inflection", slot, update, reads=("p",), writes=("lam",), hyper=("weight_decay", "warm_steps"),
        coefs=coefs, partials=partials, reduction="tensor", degree=None,
        state=tuple(StateSpec(name, shape="scalar") for name in ("dual", "bound", "last", "gain")),
    )  # fmt: skip
