"""Orthogonalize: replace each matrix of the direction by its polar factor, by Newton-Schulz iteration or by SVD.

Source     Jordan et al. 2024, "Muon"; Liu et al. 2025, arXiv:2502.16982; torch.optim.Muon. Coefficients and iteration:
           `core/linalg/polar_coefficients.py`, `core/linalg/polar.py`.
Symbols    U: a matrix [rows, columns] of the direction as the group's `matrix_view` has it; U = L S R^T by singular
           values; f: the factor of the matrix's shape, see `core/linalg/shape_factor.py`.
Rule       U <- f L p(S) R^T, p(s) near 1 for all but the smallest s     (1)
           coefficients "svd": p(s) = 1 for s > eps, else 0
Order      After momentum. Debias, gradient clipping and any positive factor before it cancel.
Invariant  Scaling u by K > 0 changes nothing (norm above eps); orth(Q U R) = Q orth(U) R for orthogonal Q and R.
Cost       No state. Five iterations of a matrix m x n, m <= n: 20 m^2 n + 10 m^3 operations, less where n > 1.5 m.
           "svd" takes many times that.
Avoid      float16, fused projections without matrix_view="split:k", embeddings (their rows are not one matrix).
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from equipoise._card import method
from equipoise.core.checks import check_at_least, check_choice
from equipoise.core.linalg.polar import EPS, newton_schulz
from equipoise.core.linalg.polar_coefficients import Coefficients, coefficients_of
from equipoise.core.linalg.polar_exact import polar_factor
from equipoise.core.linalg.shape_factor import RULES, scale_matrices, shape_factor
from equipoise.core.stage import Partial, Registers, Slot, Stage, Values, whole

PRECISIONS = ("bf16", "parameter")


@method(kind="stage", paper="arXiv:2502.16982", scope="matrix", see_also=("scale_shape", "spectral_soft"))
def orthogonalize(
    *,
    coefficients: Coefficients = "jordan",
    steps: int | None = None,
    precision: str = "bf16",
    scale: str = "none",
    eps: float = EPS,
) -> Stage:
    """Equation (1).

    Args:
        coefficients: a named set ("jordan", "quintic5", "lipschitz6", "polar_express", "cubic"), triples (a, b, c), or
            "svd": no iteration, in the dtype of the step whatever the precision.
        steps: iterations; None: as many as the set's authors use.
        precision: "bf16", or "parameter": the dtype of the step (float32 for 16-bit parameters).
        scale: rule of f: "none", "original", "match_rms_adamw", "spectral" or "update_norm".
        eps: norm below which a matrix is not scaled up.
    """
    exact = coefficients == "svd"
    triples = () if exact else coefficients_of(coefficients, steps)
    check_choice("precision", precision, PRECISIONS)
    check_choice("scale", scale, RULES)
    check_at_least("eps", eps, 0.0)

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"u": whole(r.u)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        factor = shape_factor(scale, *x.u.shape[-2:])
        if exact:
            u = polar_factor(x.u, eps=eps, scale=factor)
        else:
            u = newton_schulz(x.u, triples, eps=eps, scale=factor, overwrite=True)
        return {"u": scale_matrices(u, scale) if scale == "update_norm" else u}, {}  # (1)

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": solved.u}, {}

    return Stage(
        "orthogonalize", Slot.DIRECTION, update, reads=("u",), writes=("u",), partials=partials, reduction="matrix",
        solve=solve, solve_dtype=torch.bfloat16 if precision == "bf16" and not exact else None, degree=0,
        effects=("forgets_scale",) if scale == "none" else ("forgets_scale", "own_scale"),
        options=(("coefficients", triples or coefficients), ("precision", precision), ("scale", scale), ("eps", eps)),
    )  # fmt: skip
