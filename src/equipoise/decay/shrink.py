"""Shrink: every weight decay, as one cell of a grid: place x target x metric x law x mask.

Source     Loshchilov and Hutter 2017, arXiv:1711.05101 (places grad and before); Ginsburg et al. 2019, arXiv:1905.11286
           (momentum); You et al. 2019, arXiv:1904.00962 (direction); Parikh and Boyd 2014 (prox). Sources of targets,
           metrics, laws and masks, with their equations: the modules of the same names beside this one.
Symbols    p, u, tau: the parameter's shape; d = p - tau; f: metric; M: mask; c_t: law's coefficient; lambda: 0-D.
Rule       place "grad":   g <- g + (c_t/eta) M f(d), before everything                                       (1)
           place "momentum":  u <- u + (c_t/eta) M f(d), after the preconditioner, before the momentum        (2)
           place "direction": u <- u + (c_t/eta) M f(d), before a trust ratio                                 (3)
           place "before": p <- p - c_t M f(d), before the step is applied                                    (4)
           place "after":  p <- p - c_t M f(d), after the step is applied                                     (5)
           place "prox":   p <- tau + argmin over x of |x - d|^2/2 + c_t F(x), after the step; F' = f         (6)
           tau: 0 (zero); the first p (init); the average of p, tau <- beta tau + (1 - beta) p (ema); w_i/|w_i| of each
                row, so that d_i = (1 - 1/|w_i|) w_i (unit_row); another model's tensor (other)                   (7)
           f:   d (l2); sign(d) (l1); min(max(d, -delta), delta) (huber); d/den (den); d - mean d (centred);
                (d - mean d)/std d (std); sigma_1 u_1 v_1^T, the largest singular part (spectral)                 (8)
           M:   1 (all); [u d >= 0] (cautious); 0 for the N largest |p| of every group of M in a row (outside)    (9)
           c_t: eta lambda (lr), and with s = eta/eta_max, m = 1 - mu: s lambda (independent); s lambda/sqrt(T)
                (normalized; T that of the present restart: restarts); eta lambda/m (momentum); eta lambda (1 -
                dampening)/m (dampened); s eta lambda (corrective); eta lambda min(1, t/ramp) (ramp); eta lambda
                /sqrt(mean v-hat) over all parameters (stable); 2 times the tensor's dual variable, which grows
                while mean p^2 is above its bound (dual, dual_inflection); a function of yours                   (10)
Order      (4) reads the old p; apply then subtracts eta u. At eta = 0, c_t/eta is its limit; 0 with a dual law
           or a law of yours.
Invariant  lambda = 0 changes nothing; u = 0 makes cautious plain; (5) - (4) = eta c_t u for L2; (1) is (4) only for
           SGD without momentum; (3) right before apply is (4); (2) passes through the momentum, so that
           without gradient p shrinks by about 1 - eta lambda/(1 - mu) per step.
Cost       No state and no extra pass. Targets init, ema and other: 1 tensor. unit_row, centred, std, dual: a sum per
           row or tensor. stable: a sum over everything. spectral, outside: matrices are handed out.
Avoid      place "grad" under an adaptive denominator: the decay is divided by it. 16-bit parameters with c_t < 2^-9:
           1 - c_t rounds to 1 and nothing decays.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise._card import method
from equipoise.core.chain import Chain, chain
from equipoise.core.stage import Coefs, Partial, Registers, Stage, Update, Values
from equipoise.decay import masks, measured, metrics, targets
from equipoise.decay.cell import INSIDE, MEASURED, Cell, check
from equipoise.decay.laws import NEED_PEAK_LR, LawFunction, law_function, law_keys

_WRITES = {"grad": ("g", "u"), "momentum": ("u",), "direction": ("u",)}


@method(kind="decay", paper="arXiv:1711.05101", equations="Algorithms 1 and 2", see_also=("adamw", "sgdw"))
def shrink(
    *,
    place: str = "before",
    target: str = "zero",
    metric: str = "l2",
    law: str | LawFunction = "lr",
    mask: str = "all",
    delta: float | None = None,
    beta: float | None = None,
    pattern: str | None = None,
    by_row: bool = False,
) -> Chain:
    """Equations (1) to (10), as a part of a chain: one stage, and one more for each coordinate that measures besides.

    Group keys: weight_decay (a number or a Schedule); period (laws "normalized", "restarts"), period_factor
    ("restarts"), momentum ("momentum", "dampened"), dampening ("dampened"), ramp ("ramp"), eps ("stable"), warm_steps
    ("dual", "dual_inflection"). A function as law is given the group's numbers and returns c_t.

    Args:
        place: "grad", "momentum", "direction", "before", "after", "prox".
        target: "zero", "init", "ema", "unit_row", or "other", which `equipoise.decay.set_targets` fills.
        metric: "l2", "l1", "huber", "den", "centred", "std", "spectral".
        law: a name from decay.laws, or a function of the group's numbers.
        mask: "all", "cautious", "outside".
        delta: where metric "huber" turns linear, in units of the parameter.
        beta: share of the past that target "ema" keeps.
        pattern: "N:M" of mask "outside".
        by_row: take the mean of law "stable" from running sums of squared gradients, one number per row, where the
            denominator is Adam's without amsgrad, of the gradient as it is: the same mean, one tensor read less.

    Raises:
        ArgumentError: an unknown word, or coordinates that do not go together, with the reason.
    """
    cell = check(Cell(place, target, metric, law, mask, delta, beta, pattern, by_row))
    before = [
        *measured.stages(cell),
        *({"target": targets.lengths, "mask": masks.outside}[k](cell) for k in cell.apart),
    ]
    level = next(iter(cell.levels.values()), "none")
    own = Stage(
        "shrink",
        cell.slot,
        _update(cell),
        reads=_reads(cell),
        writes=_WRITES.get(place, ("p",)),
        state=(*targets.STATE.get(target, ()), *metrics.state(cell)),
        hyper=law_keys(law),
        coefs=_coefs(cell),
        partials=None if level == "none" else _partials(cell),
        reduction=level,
        solve=_solve(cell) if level == "matrix" else None,
        needs_peak_lr=law in NEED_PEAK_LR,
        degree=None,
        options=cell.options,
    )
    return chain(*before, own, name="shrink")


def _reads(cell: Cell) -> tuple[str, ...]:
    names = {"p"} | ({"g"} if cell.place == "grad" else set()) | ({"den"} if cell.metric == "den" else set())
    if cell.mask == "cautious" or cell.place in INSIDE[1:]:
        names.add("u")
    names |= {{"target": "aux.row_pp", "mask": "aux.outside"}[name] for name in cell.apart}
    return tuple(sorted(names))


def _coefs(cell: Cell) -> Coefs:
    law = law_function(cell.law)

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        c = _per_rate(cell, law, h) if cell.inside else law(h)
        return {"c": c, "keep": 1 - c} | ({"most": 1 / _rate(h)} if cell.inside and cell.law in MEASURED else {})

    return coefs


def _per_rate(cell: Cell, law: Callable[[SimpleNamespace], float], h: SimpleNamespace) -> float:
    """c_t / eta_t of (1) to (3)."""
    if cell.law in ("lr", "stable"):
        return h.weight_decay
    if h.lr == 0 and (cell.law in MEASURED or callable(cell.law)):  # these need not fall with the learning rate
        return 0.0
    return law(SimpleNamespace(**{**vars(h), "lr": _rate(h)})) / _rate(h)


def _rate(h: SimpleNamespace) -> float:
    """The learning rate, or a very small one in the place of 0."""
    return h.lr if h.lr != 0 else 1e-30


def _partials(cell: Cell) -> Callable[..., dict[str, Partial]]:
    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        if "metric" not in cell.levels:
            return targets.partials(r) if "target" in cell.levels else masks.partials(r)
        return metrics.partials(cell, _distance(r.p, targets.towards(cell, r, s, None)), _factor(cell, r, c))

    return partials


def _solve(cell: Cell) -> Update:
    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        if cell.metric == "spectral":
            return metrics.solve(cell, x, s)
        assert cell.pattern is not None
        return masks.solve(cell.pattern, x), {}

    return solve


def _update(cell: Cell) -> Update:
    plain = (cell.target, cell.metric, cell.mask) == ("zero", "l2", "all") and cell.place in ("before", "after")

    def update(
        r: Registers, s: SimpleNamespace, c: SimpleNamespace, seen: SimpleNamespace | None = None
    ) -> tuple[Values, Values]:
        factor = _factor(cell, r, c)
        if plain:
            return {"p": r.p * (c.keep if r.lam is None else 1 - factor)}, {}  # (4), (5)
        tau = targets.towards(cell, r, s, seen)
        d = _distance(r.p, tau)
        old = {"grad": r.g, "momentum": r.u, "direction": r.u}.get(cell.place, r.p)
        new = masks.masked(cell, r, d, _moved(cell, r, d, tau, factor, seen, old), old, seen)
        registers = dict.fromkeys(_WRITES.get(cell.place, ("p",)), new)
        return registers, targets.kept(cell, tau, r.p if cell.place in INSIDE else new, s)

    return update


def _factor(cell: Cell, r: Registers, c: SimpleNamespace) -> Tensor:
    """c_t, or c_t / eta_t, with what a measured law left in register lam."""
    factor = c.c if r.lam is None else c.c * r.lam
    if cell.law not in MEASURED:
        return factor
    return torch.minimum(factor, c.most) if cell.inside else factor.clamp_max(1.0)


def _distance(p: Tensor, tau: Tensor | None) -> Tensor:
    return p if tau is None else p - tau


def _moved(
    cell: Cell, r: Registers, d: Tensor, tau: Tensor | None, c: Tensor, seen: SimpleNamespace | None, old: Tensor
) -> Tensor:
    """What the decay makes of the register that it writes, before the mask."""
    if cell.place == "prox":
        near = metrics.prox(cell, d, r.count, c, r.den, seen)  # (6)
        return near if tau is None else near + tau
    pull = metrics.pull(cell, d, r.count, r.den, seen)
    return old + c * pull if cell.place in INSIDE else old - c * pull  # (1) to (3); (4), (5)
