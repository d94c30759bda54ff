"""Low-rank polar: an orthonormal direction of low rank, and a momentum that keeps what the rank left out.

Source     Ahn et al. 2025, arXiv:2504.05295 (Dion), Algorithm 1; read together with microsoft/dion, dion_simple.py.
Differs    See `core/linalg/low_rank.py` for columns without length. The start of Q is random normal, as in the code, or
           the first columns of the identity. Other decompositions than QR, and sharding, are left out here.
Symbols    G, M, B, U: a matrix [rows, columns]; P: [rows, k]; Q, R: [columns, k]; mu = momentum;
           k = ceil(rank_fraction min(rows, columns)).
Rule       B = M + G                                              (1)
           P, R, Q from B and the last Q: `core/linalg/low_rank.py`      (2)
           M = B - (1 - mu) P R^T                                 (3) what was used is forgotten, the rest is kept
           U = sqrt(rows / columns) P Q^T                         (4)
Order      Reads u (which starts as g). The state is the momentum: put none before or after it.
Invariant  |U|_F = sqrt(k rows / columns); U does not see the scale of the gradients (eps -> 0). Columns of Q have
           length 1 but are not orthogonal, so singular values of U reach up to sqrt(k) times those of a polar factor.
Cost       1 tensor and one factor [columns, k] of state; 4 thin products and a QR of [rows, k] per step.
Avoid      Matrices whose gradients have rank below k: the columns beyond it are rounding noise over eps.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import Generator, Tensor

from equipoise._card import method
from equipoise.core.linalg.low_rank import next_factor, power_step
from equipoise.core.stage import Partial, Registers, Slot, Stage, StateSpec, Values, whole


@method(kind="stage", paper="arXiv:2504.05295", equations="Algorithm 1", scope="matrix", state_per_param=1.0)
def low_rank_polar() -> Stage:
    """Equations (1) to (4). Group keys: momentum, eps, rank_fraction, start ("random" or "eye").

    State: momentum_buffer, and right_factor [matrices, columns, k].
    """

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        return {"used": 1 - h.momentum, "eps": h.eps}

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"b": whole(s.momentum_buffer + r.u)}  # (1)

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        rows, columns = x.b.shape[-2:]
        p, r = power_step(x.b, s.right_factor)  # (2)
        kept = torch.baddbmm(x.b, p * -c.used, r.mT, out=x.b)  # (3)
        factor = next_factor(r, s.right_factor, c.eps)
        scale = (rows / columns) ** 0.5 if columns else 1.0
        return {"kept": kept, "u": p.mul_(scale) @ r.mT}, {"right_factor": factor}  # (4)

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"m": solved.kept, "u": solved.u}, {"momentum_buffer": solved.kept}

    return Stage(
        "low_rank_polar", Slot.MOMENTUM, update, reads=("u",), writes=("m", "u"), partials=partials,
        reduction="matrix", solve=solve, coefs=coefs, degree=0,
        state=(StateSpec("momentum_buffer"), StateSpec("right_factor", _start, "free")),
        hyper=("momentum", "eps", "rank_fraction"),
    )  # fmt: skip


def _start(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    """Q before the first step: [matrices, columns, k]."""
    matrices, rows, columns = shape
    k = math.ceil(hyper.rank_fraction * min(rows, columns))
    if hyper.start == "eye":
        return torch.eye(columns, k).repeat(matrices, 1, 1)
    return torch.randn(matrices, columns, k, generator=generator)
