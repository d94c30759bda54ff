"""Low-rank Adam: Adam's two averages of a gradient that is projected onto its leading singular directions.

Source     Zhao et al. 2024, arXiv:2403.03507, Algorithm 2 (Adam with GaLore); side, order and eps as the authors' code.
Differs    A singular vector has no sign. Here one that replaces another points the same way, so that the momentum goes
           on; in the code its sign is the solver's. A matrix whose gradient is 0 when a refresh is due keeps its
           directions, and one that has none yet waits for a gradient; in the code it gets arbitrary ones. Projections
           of the longer side or of both, 8-bit averages and quantized directions are left out.
Symbols    G, U: a matrix [m, n], m >= n (turned where m < n); Q: [n, k], orthonormal columns; M, V: [m, k];
           k = min(rank, n); f = refresh_every; t >= 1.
Rule       t = 1, f + 1, 2 f + 1, ...: Q = the k leading right singular vectors of G, q_j . old q_j >= 0    (1)
           R = G Q                                                                                         (2)
           M = beta1 M + (1 - beta1) R;  V = beta2 V + (1 - beta2) R^2                                     (3)
           U = scale sqrt(1 - beta2^t) / (1 - beta1^t) (M / (sqrt(V) + eps)) Q^T                           (4)
Order      A refresh comes before the projection of its own gradient; M and V stay as they are and take the new Q.
Invariant  U has rank k at most. Turning the gradients' shorter side turns U along; turning the longer does not. With
           k = n and Q = I it is Adam times scale.
Cost       Per matrix k (2 m + n) numbers of state; 2 products with Q per step; an SVD every f steps.
Avoid      A small rank with a small batch: the noise of one step decides f of them. rank >= n: it saves nothing.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Generator, Tensor

from equipoise._card import method
from equipoise.core.hyper import beta_power
from equipoise.core.linalg.leading_directions import renewed_directions
from equipoise.core.linalg.refresh import first_and_due
from equipoise.core.stage import Partial, Registers, Slot, Stage, StateSpec, Values, whole


@method(kind="stage", paper="arXiv:2403.03507", equations="Algorithm 2", scope="matrix", state_per_param=0.75,
        see_also=("rotated_adam", "low_rank_polar"))  # fmt: skip
def low_rank_adam() -> Stage:
    """Equations (1) to (4). Group keys: betas, eps, rank, scale, refresh_every.

    State, all of it small: basis [matrices, shorter side, k], exp_avg and exp_avg_sq [matrices, longer side, k]; for
    a square matrix and k a quarter of its side, 0.75 numbers per parameter.
    """

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"g": whole(r.g)}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": solved.g}, {}

    return Stage(
        "low_rank_adam", Slot.PRECONDITION, update, reads=("g",), writes=("u",), partials=partials,
        reduction="matrix", solve=_solve, state=_STATE, degree=0, coefs=_coefs,
        hyper=("beta1", "beta2", "eps", "rank", "scale", "refresh_every"),
    )  # fmt: skip


def _coefs(h: SimpleNamespace) -> dict[str, float]:
    debias = (1 - beta_power(h, "beta2")) ** 0.5 / (1 - beta_power(h, "beta1"))
    turn = max(first_and_due(h.t, h.refresh_every))
    return {"fresh1": 1 - h.beta1, "fresh2": 1 - h.beta2, "eps": h.eps, "scale": h.scale * debias, "turn": turn}


def _solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
    wide = x.g.shape[-2] < x.g.shape[-1]
    g = x.g.mT if wide else x.g
    basis = renewed_directions(g, s.basis, c.turn)  # (1)
    low = g @ basis  # (2)
    m = torch.lerp(s.exp_avg, low, c.fresh1)  # (3)
    v = torch.lerp(s.exp_avg_sq, low * low, c.fresh2)
    ratio = torch.where(m == 0, m, m / (v.sqrt() + c.eps))
    u = (ratio @ basis.mT) * c.scale  # (4)
    return {"g": u.mT if wide else u}, {"basis": basis, "exp_avg": m, "exp_avg_sq": v}


def _zeros(shorter: bool, shape: tuple[int, ...], hyper: SimpleNamespace) -> Tensor:
    matrices, *sides = shape
    return torch.zeros(matrices, (min if shorter else max)(sides), min(round(hyper.rank), *sides))


def _short(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    return _zeros(True, shape, hyper)


def _long(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    return _zeros(False, shape, hyper)


_STATE = (
    StateSpec("basis", _short, "free"),
    StateSpec("exp_avg", _long, "free"),
    StateSpec("exp_avg_sq", _long, "free"),
)
