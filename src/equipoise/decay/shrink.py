"""Shrink: every weight decay, as one cell of a grid: place x target x metric x law x mask.

Source     Loshchilov and Hutter 2017, arXiv:1711.05101 (places grad and before, laws); Kumar et al. 2023,
           arXiv:2308.11958 (target init); Chen et al. 2025, arXiv:2510.12402 (mask cautious); Parikh and Boyd 2014
           (proximal place: L2 shrinkage and L1 soft threshold).
Symbols    p, u, tau: the parameter's shape; c_t, lambda: 0-D; d = p - tau, tau = 0 or the first value of p.
Rule       f(d) = d (metric "l2") or sign(d) (metric "l1")                              (1)
           M = 1 (mask "all") or [u d >= 0] (mask "cautious")                           (2)
           place "grad":   g <- g + lambda M f(d), before everything                    (3)
           place "before": p <- p - c_t M f(d), before the step is applied              (4)
           place "after":  p <- p - c_t M f(d), after the step is applied               (5)
           place "prox":   p <- tau + d/(1 + c_t)  or  tau + sign(d) max(|d| - c_t, 0)  (6) after the step
Order      (4) reads the old p; apply then subtracts eta u.
Invariant  lambda = 0 changes nothing; u = 0 makes cautious plain; (5) - (4) = eta c_t u for L2; (3) is (4) only for
           SGD without momentum.
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
from equipoise.core.checks import check_choice
from equipoise.core.stage import Coefs, Registers, Slot, Stage, StateSpec, Update, Values
from equipoise.decay.laws import LAWS, law_keys

PLACES = {"grad": Slot.GRADIENT, "before": Slot.DECAY, "after": Slot.AFTER, "prox": Slot.AFTER}
TARGETS = ("zero", "init")
METRICS = ("l2", "l1")
MASKS = ("all", "cautious")


@method(kind="decay", paper="arXiv:1711.05101", equations="Algorithms 1 and 2", see_also=("adamw", "sgdw"))
def shrink(
    *, place: str = "before", target: str = "zero", metric: str = "l2", law: str = "lr", mask: str = "all"
) -> Stage:
    """Equations (1) to (6). Group keys: weight_decay (a number or a Schedule), period for law "normalized"."""
    grid = {"place": place, "target": target, "metric": metric, "law": law, "mask": mask}
    _check(grid)
    return Stage(
        "shrink",
        PLACES[place],
        _update(place, target, metric, mask),
        reads=_reads(place, mask),
        writes=("g", "u") if place == "grad" else ("p",),
        state=(StateSpec("init", "param"),) if target == "init" else (),
        hyper=law_keys(law),
        coefs=_coefs(place, law),
        needs_peak_lr=law != "lr",
        degree=None,
        options=tuple(grid.items()),
    )


def _check(grid: dict[str, str]) -> None:
    choices = {"place": PLACES, "target": TARGETS, "metric": METRICS, "law": LAWS, "mask": MASKS}
    for name, value in grid.items():
        check_choice(name, value, choices[name])
    if grid["place"] == "grad" and grid["law"] != "lr":
        expected = "'lr' for place 'grad', where decay is part of the gradient"
        raise ArgumentError("law", grid["law"], expected, "Use place='before'.")
    if grid["place"] == "grad" and grid["mask"] != "all":
        expected = "'all' for place 'grad', where there is no final direction to compare with"
        raise ArgumentError("mask", grid["mask"], expected, "Use place='before'.")


def _reads(place: str, mask: str) -> tuple[str, ...]:
    if place == "grad":
        return ("p", "g")
    return ("p", "u") if mask == "cautious" else ("p",)


def _coefs(place: str, law: str) -> Coefs:
    def coefs(h: SimpleNamespace) -> dict[str, float]:
        c = h.weight_decay if place == "grad" else LAWS[law](h)
        return {"c": c, "keep": 1 - c}

    return coefs


def _update(place: str, target: str, metric: str, mask: str) -> Update:
    plain = (target, metric, mask) == ("zero", "l2", "all")

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        factor = c.c if r.lam is None else c.c * r.lam
        state = {"init": s.init} if target == "init" else {}
        if plain and place in ("before", "after"):
            return {"p": r.p * (c.keep if r.lam is None else 1 - factor)}, state  # (4), (5)
        d = r.p - s.init if target == "init" else r.p
        if place == "grad":
            g = r.g + factor * _metric(d, metric)  # (3)
            return {"g": g, "u": g}, state
        if place == "prox":
            new = _prox(d, factor, metric) + (s.init if target == "init" else 0.0)  # (6)
        else:
            new = r.p - factor * _metric(d, metric)  # (4), (5)
        return {"p": torch.where(r.u * d >= 0, new, r.p) if mask == "cautious" else new}, state  # (2)

    return update


def _metric(d: Tensor, metric: str) -> Tensor:
    return d if metric == "l2" else d.sign()  # (1)


def _prox(d: Tensor, c: Tensor, metric: str) -> Tensor:
    if metric == "l2":
        return d / (1 + c)
    return d.sign() * (d.abs() - c).clamp_min(0.0)
