"""Rotated Adam: Adam's two averages in the slowly turning eigenbasis of the gradients' covariances.

Source     Vyas et al. 2024, arXiv:2409.11321, Algorithms 3 and 4; order of operations as the authors' code.
Differs    The algorithm keeps the first average unrotated; the code, and this, keeps it rotated and turns it when the
           bases turn, which is the same up to rounding and saves two products per step. Options of the code left out:
           merging axes, bases for vectors, normalised updates.
Symbols    G: the gradient as a matrix [rows, columns]; L, R: its covariances; Q_L, Q_R: their bases, orthogonal;
           M, V: the averages, in the rotated basis; k = t - 1: steps so far, t >= 1; f = refresh_every.
Rule       t = 1: U = 0, and lambda = 0                                                           (1)
           G' = Q_L^T G Q_R                                                                       (2)
           M = beta1 M + (1 - beta1) G';  V = beta2 V + (1 - beta2) G'^2                          (3)
           U = Q_L (M / (sqrt(V) + eps)) Q_R^T sqrt(1 - beta2^k) / (1 - beta1^k)                  (4)
           L = beta L + (1 - beta) G G^T;  R = beta R + (1 - beta) G^T G                          (5)
           t = 1: Q_L, Q_R = the eigenvectors of L and R; of the longer side from the shorter     (6)
           every f steps after it: Q <- one power iteration; V in the new order; M turned along   (7)
Order      The bases of a step come from the gradients before it.
Invariant  Q_L and Q_R stay orthogonal; with both the identity it is Adam (eps before the bias correction).
Cost       2 tensors, and 2 matrices per side, of state; 6 products per step, a QR of each side every f steps.
Avoid      Sides above `max_dim`: they get no basis. A refresh_every so small that the first refresh comes before the
           gradients have spanned a side: what a QR makes of the rest is rounding noise, here as in the code.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise._card import method
from equipoise.core.hyper import beta_power
from equipoise.core.linalg.eigenbasis import first_basis, in_order, next_basis, spanned_basis
from equipoise.core.linalg.refresh import all_due, due, first_and_due, where_due
from equipoise.core.linalg.symmetric_eigen import check_sum
from equipoise.core.stage import Partial, Registers, Slot, Stage, StateSpec, Values, whole
from equipoise.stages._sides import has_side, left_side, right_side, times

SIDES = ("left", "right")


@method(kind="stage", paper="arXiv:2409.11321", equations="Algorithms 3 and 4", scope="matrix", state_per_param=2.0,
        see_also=("kronecker_root",))  # fmt: skip
def rotated_adam() -> Stage:
    """Equations (1) to (7). Group keys: betas, eps, shampoo_beta (None: betas[1]), refresh_every, max_dim.

    State: exp_avg and exp_avg_sq, rotated, [matrices, rows, columns]; left, right and their bases [matrices, n, n], a
    vector in every row: Q_L and Q_R transposed.
    """

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"g": whole(r.g)}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": solved.g, "lam": c.moves if r.lam is None else r.lam * c.moves}, {}  # (1)

    return Stage(
        "rotated_adam", Slot.PRECONDITION, update, reads=("g",), writes=("u", "lam"), partials=partials,
        reduction="matrix", solve=_solve, state=_STATE, degree=0, coefs=_coefs,
        hyper=("beta1", "beta2", "eps", "shampoo_beta", "refresh_every", "max_dim"),
    )  # fmt: skip


def _coefs(h: SimpleNamespace) -> dict[str, float]:
    k = h.t - 1
    first, turn = first_and_due(h.t, h.refresh_every)
    left = [1 - beta_power(h, name) ** (k / h.t) for name in ("beta1", "beta2")]  # 1 - beta^k
    return {
        "fresh1": (1 - h.beta1) * (1 - first),
        "fresh2": (1 - h.beta2) * (1 - first),
        "eps": h.eps,
        "debias": 0.0 if first else left[1] ** 0.5 / left[0],
        "fresh": 1 - (h.beta2 if h.shampoo_beta is None else h.shampoo_beta),
        "first": first,
        "turn": turn,
        "moves": 1 - first,
    }


def _solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
    if first := due(c.first):
        check_sum(s.left, x.g)
        check_sum(s.right, x.g.mT)
    new = {"left": _follow(s.left, x.g, c.fresh), "right": _follow(s.right, x.g.mT, c.fresh)}  # (5)
    new |= {"left_basis": s.left_basis, "right_basis": s.right_basis}
    if first:
        new |= _first(x.g, new, c.first)
    if first and all_due(c.first):
        return {"g": x.g.zero_()}, new  # (1)
    left, right = new["left_basis"], new["right_basis"]
    turned = _rotate(x.g, left, right.mT)  # (2)
    m = s.exp_avg.lerp_(turned, c.fresh1)  # (3)
    v = s.exp_avg_sq.mul_(1 - c.fresh2).addcmul_(turned, turned * c.fresh2)
    ratio = torch.div(m, torch.sqrt(v, out=turned).add_(c.eps), out=turned).masked_fill_(c.moves <= 0, 0.0)
    u = _rotate(ratio, left.mT, right).mul_(c.debias)  # (4)
    new |= {"exp_avg": m, "exp_avg_sq": v}
    return {"g": u}, _turn(new, c.turn) if due(c.turn) else new


def _first(x: Tensor, state: dict[str, Tensor], flag: Tensor) -> dict[str, Tensor]:
    """Equation (6), where the flag is set."""
    tall, (longer, shorter) = (x, SIDES) if x.shape[-2] > x.shape[-1] else (x.mT, SIDES[::-1])
    old = {side: state[f"{side}_basis"] for side in SIDES}
    room = {side: own if all_due(flag) else None for side, own in old.items()}
    found = {shorter: first_basis(state[shorter], room=room[shorter])}
    if tall.shape[-2] > tall.shape[-1] and has_side(state[longer], tall):
        found[longer] = spanned_basis(tall, found[shorter], room=room[longer])
    else:
        found[longer] = first_basis(state[longer], room=room[longer])
    return {f"{side}_basis": where_due(flag, found[side], old[side]) for side in SIDES}


def _turn(state: Values, flag: Tensor) -> Values:
    """Equation (7), where the flag is set."""
    turned = {name: value for name, value in state.items() if name not in SIDES}
    new = turned if all_due(flag) else {name: value.clone() for name, value in turned.items()}
    unrotated = _rotate(new["exp_avg"], new["left_basis"].mT, new["right_basis"])
    for side, axis in (("left", -2), ("right", -1)):
        if state[side].shape[-1] > 0:
            _, order = next_basis(state[side], new[f"{side}_basis"])
            in_order(new["exp_avg_sq"], order, axis)
    new["exp_avg"] = _rotate(unrotated, new["left_basis"], new["right_basis"].mT)
    return {**state, **{name: where_due(flag, value, state[name]) for name, value in new.items()}}


def _rotate(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """left x right, where a side that has no basis is left alone; written over x."""
    if has_side(right, x.mT):
        half = times(left, x)
        return torch.bmm(half, right, out=x) if half is not x else x.copy_(half @ right)
    return x.copy_(times(left, x)) if has_side(left, x) else x


def _follow(old: Tensor, x: Tensor, fresh: Tensor) -> Tensor:
    """Equation (5) for the rows of x, in place."""
    return torch.baddbmm(old.mul_(1 - fresh), x * fresh, x.mT, out=old) if has_side(old, x) else old


_STATE = (
    *(StateSpec(name, shape="free") for name in ("exp_avg", "exp_avg_sq")),
    *(StateSpec(name, init, "free") for name, init in (("left", left_side), ("right", right_side))),
    *(StateSpec(name, init, "free") for name, init in (("left_basis", left_side), ("right_basis", right_side))),
)
