"""Shrink: every weight decay, as one cell of a grid: place x target x metric x law x mask.

Source     Loshchilov and Hutter 2017, arXiv:1711.05101 (places grad and before, laws); Kumar et al. 2023,
           arXiv:2308.11958 (target init); Chen et al. 2025, arXiv:2510.12402 (mask cautious); Parikh and Boyd 2014
           (proximal place: L2 shrinkage and L1 soft threshold); Ginsburg et al. 2019, arXiv:1905.11286 (place
           momentum); You et al. 2019, arXiv:1904.00962 (place direction); arXiv:2511.14721 (metric huber).
Symbols    p, u, tau: the parameter's shape; c_t, lambda: 0-D; d = p - tau, tau = 0 or the first value of p.
Rule       f(d) = d (metric "l2"), sign(d) ("l1") or min(max(d, -delta), delta) ("huber") (1)
           M = 1 (mask "all") or [u d >= 0] (mask "cautious")                           (2)
           place "grad":   g <- g + lambda M f(d), before everything                    (3)
           place "momentum":  u <- u + lambda f(d), after the preconditioner, before the momentum  (3b)
           place "direction": u <- u + lambda M f(d), before a trust ratio                         (3c)
           place "before": p <- p - c_t M f(d), before the step is applied              (4)
           place "after":  p <- p - c_t M f(d), after the step is applied               (5)
           place "prox":   p <- tau + d/(1 + c_t)  or  tau + sign(d) max(|d| - c_t, 0)  (6) after the step
                          or, for huber, tau + d - c_t min(max(d/(1 + c_t), -delta), delta)
Order      (4) reads the old p; apply then subtracts eta u.
Invariant  lambda = 0 changes nothing; u = 0 makes cautious plain; (5) - (4) = eta c_t u for L2; (3) is (4) only for
           SGD without momentum; (3c) right before apply is (4) with law "lr"; (3b) passes through the momentum,
           so that without gradient p shrinks by about 1 - eta lambda/(1 - mu) per step.
Cost       No state (target "init": 1 tensor), no extra pass.
Avoid      place "grad" under an adaptive denominator: the decay is divided by it. 16-bit parameters with c_t < 2^-9:
           1 - c_t rounds to 1 and nothing decays.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise._card import method
from equipoise._errors import ArgumentError
from equipoise.core.checks import check_at_least, check_choice
from equipoise.core.stage import Coefs, Registers, Slot, Stage, StateSpec, Update, Values
from equipoise.decay.laws import LAWS, NEED_PEAK_LR, law_keys

PLACES = {
    "grad": Slot.GRADIENT,
    "momentum": Slot.MOMENTUM,
    "direction": Slot.DIRECTION,
    "before": Slot.DECAY,
    "after": Slot.AFTER,
    "prox": Slot.AFTER,
}
INSIDE = ("grad", "momentum", "direction")  # what the learning rate multiplies later on
TARGETS = ("zero", "init")
METRICS = ("l2", "l1", "huber")
MASKS = ("all", "cautious")


@method(kind="decay", paper="arXiv:1711.05101", equations="Algorithms 1 and 2", see_also=("adamw", "sgdw"))
def shrink(
    *,
    place: str = "before",
    target: str = "zero",
    metric: str = "l2",
    law: str = "lr",
    mask: str = "all",
    delta: float | None = None,
) -> Stage:
    """Equations (1) to (6).

    Group keys: weight_decay (a number or a Schedule), period for law "normalized", momentum for law "momentum".
    `delta`, in units of the parameter, goes with metric "huber".
    """
    grid = {"place": place, "target": target, "metric": metric, "law": law, "mask": mask}
    _check(grid)
    _check_delta(metric, delta)
    return Stage(
        "shrink",
        PLACES[place],
        _update(place, target, metric, mask, delta or 0.0),
        reads=_reads(place, mask),
        writes={"grad": ("g", "u"), "momentum": ("u",), "direction": ("u",)}.get(place, ("p",)),
        state=(StateSpec("init", "param"),) if target == "init" else (),
        hyper=law_keys(law),
        coefs=_coefs(place, law),
        needs_peak_lr=law in NEED_PEAK_LR,
        degree=None,
        options=(*grid.items(), *([("delta", delta)] if metric == "huber" else [])),
    )


def _check(grid: dict[str, str]) -> None:
    choices = {"place": PLACES, "target": TARGETS, "metric": METRICS, "law": LAWS, "mask": MASKS}
    for name, value in grid.items():
        check_choice(name, value, choices[name])
    place = grid["place"]
    if place in INSIDE and grid["law"] != "lr":
        expected = f"'lr' for place {place!r}, where the learning rate multiplies the decay later on"
        raise ArgumentError("law", grid["law"], expected, "Use place='before'.")
    if place in ("grad", "momentum") and grid["mask"] != "all":
        expected = f"'all' for place {place!r}, where there is no final direction to compare with"
        raise ArgumentError("mask", grid["mask"], expected, "Use place='before'.")


def _check_delta(metric: str, delta: float | None) -> None:
    if (metric == "huber") != (delta is not None):
        raise ArgumentError(f"delta with metric {metric!r}", delta, "a number with 'huber', None with the others")
    if delta is not None:
        check_at_least("delta", delta, 0.0)


def _reads(place: str, mask: str) -> tuple[str, ...]:
    if place == "grad":
        return ("p", "g")
    return ("p", "u") if mask == "cautious" or place in INSIDE else ("p",)


def _coefs(place: str, law: str) -> Coefs:
    def coefs(h: SimpleNamespace) -> dict[str, float]:
        c = h.weight_decay if place in INSIDE else LAWS[law](h)
        return {"c": c, "keep": 1 - c}

    return coefs


def _update(place: str, target: str, metric: str, mask: str, delta: float) -> Update:
    plain = (target, metric, mask) == ("zero", "l2", "all")

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        factor = c.c if r.lam is None else c.c * r.lam
        state = {"init": s.init} if target == "init" else {}
        if plain and place in ("before", "after"):
            return {"p": r.p * (c.keep if r.lam is None else 1 - factor)}, state  # (4), (5)
        d = r.p - s.init if target == "init" else r.p
        if place == "grad":
            g = r.g + factor * _metric(d, metric, delta)  # (3)
            return {"g": g, "u": g}, state
        old = r.u if place in INSIDE else r.p
        if place in INSIDE:
            new = r.u + factor * _metric(d, metric, delta)  # (3b), (3c)
        elif place == "prox":
            new = _prox(d, factor, metric, delta) + (s.init if target == "init" else 0.0)  # (6)
        else:
            new = r.p - factor * _metric(d, metric, delta)  # (4), (5)
        chosen = torch.where(r.u * d >= 0, new, old) if mask == "cautious" else new  # (2)
        return {"u" if place in INSIDE else "p": chosen}, state

    return update


def _metric(d: Tensor, metric: str, delta: float) -> Tensor:
    if metric == "huber":
        return d.clamp(-delta, delta)  # (1)
    return d if metric == "l2" else d.sign()  # (1)


def _prox(d: Tensor, c: Tensor, metric: str, delta: float) -> Tensor:
    if metric == "huber":
        return d - c * (d / (1 + c)).clamp(-delta, delta)
    if metric == "l2":
        return d / (1 + c)
    return d.sign() * (d.abs() - c).clamp_min(0.0)
