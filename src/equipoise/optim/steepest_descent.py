"""Steepest descent under norms by role: each layer moves as far as its own norm allows, along its duality map.

Source     Bernstein and Newhouse 2024, arXiv:2409.20325, Proposition 1 and section 3; duality maps of layers as in
           arXiv:2410.21265 and the modula library's code.
Differs    The papers take the factor |G|_dual of the minimiser; they, and everyone, then drop it: `dual` keeps it. The
           output head has two readings: the code divides its rows by their rms, as an embedding's ("row_rms", the
           default by role); the operator norm from RMS to the largest logit divides by the width besides
           ("rms_to_max"). "column_rms", by the same Proposition, is the operator norm from the 1-norm to RMS: for a
           linear layer whose inputs are one-hot or sparse; an nn.Embedding holds those columns as rows.
Symbols    W, G: [o, i] = [rows, columns]; X: what is dualised, G or its momentum; mu = mass; eta = lr, lambda =
           weight_decay.
Rule       X_t = momentum X_{t-1} + G_t                                                      (1)
           norm "max_entry"    max |x|              T = sign(X)                              (2a)
           norm "spectral"     s_1                  T = U V^T, from X = U S V^T              (2b)
           norm "rms_to_rms"   s_1 sqrt(i / o)      T = sqrt(o / i) U V^T                    (2c)
           norm "row_rms"      largest row rms      T = rows of X over their rms             (2d)
           norm "rms_to_max"   i (largest row rms)  T = rows of X over i times their rms     (2e)
           norm "rms"          rms of the tensor    T = X / rms(X)                           (2f) and all vectors
           norm "column_rms"   largest column rms   T = columns of X over their rms          (2g)
           D = T, or with dual <X, T> T                                                      (3)
           W_t = (1 - eta lambda) W_{t-1} - eta mu D                                         (4)
Order      Momentum before the map; mass after everything that looks at lengths; the decay knows no mass.
Invariant  |T| = 1 and <X, T> = |X|_dual in the group's norm; without `dual` the scale of the loss changes nothing.
Cost       1 tensor of state (none without momentum); (2b) and (2c) one orthogonalization per matrix.
Avoid      One norm for an embedding and a head that share a weight: SteepestDescent(model) treats it as the embedding.
"""

from __future__ import annotations

import math
from typing import Any, final

from torch import nn

from equipoise._card import method
from equipoise.core.chain import Chain, chain
from equipoise.core.checks import check_at_least, check_choice, check_fraction
from equipoise.core.groups import Given, Overrides
from equipoise.core.linalg.polar_coefficients import Coefficients
from equipoise.core.optimizer import Optimizer
from equipoise.core.roles import NOT_DECAYED
from equipoise.core.select import Rule
from equipoise.core.stage import Stage
from equipoise.decay.shrink import shrink
from equipoise.optim._by_role import rules_over
from equipoise.stages.apply import apply
from equipoise.stages.dual_length import dual_length
from equipoise.stages.heavy_ball import heavy_ball
from equipoise.stages.mass import mass as by_mass
from equipoise.stages.normalize_columns import normalize_columns
from equipoise.stages.normalize_rms import normalize_rms
from equipoise.stages.orthogonalize import orthogonalize
from equipoise.stages.sign import sign

NORMS = ("max_entry", "spectral", "rms_to_rms", "row_rms", "rms_to_max", "rms", "column_rms")
BY_ROLE = {"embedding": "row_rms", "head": "row_rms"}  # other matrices and convolutions keep the optimizer's norm
_BASE = [
    Rule(tuple(role.value for role in NOT_DECAYED), {"weight_decay": 0.0}, loud=False),
    *(Rule(role, {"norm": norm}, loud=False) for role, norm in BY_ROLE.items()),
]


@method(kind="optim", paper="arXiv:2409.20325", equations="Proposition 1", scope="matrix", state_per_param=1.0,
        see_also=("shampoo", "lion"), tags=("matrix", "sign", "memory-light"))  # fmt: skip
def steepest_descent(
    *,
    lr: float = 1e-2,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
    norm: str = "rms_to_rms",
    mass: float = 1.0,
    dual: bool = False,
    most: float = math.inf,
    ns_coefficients: Coefficients = "polar_express",
    ns_steps: int | None = None,
    precision: str = "bf16",
) -> Chain:
    """Equations (1) to (4).

    Args:
        lr, momentum, weight_decay: as in (4) and (1); momentum is in [0, 1).
        norm: one of NORMS.
        mass: target norm of the step, >= 0 (see `scaling.modular_norm`).
        dual: keep the factor |X|_dual.
        most: largest inflation of (2d) to (2g): rows with rms below 1 / most are multiplied by no more.
        ns_coefficients, ns_steps, precision: how (2b) and (2c) find U V^T (see `stages.orthogonalize`).

    Raises:
        ArgumentError: a value out of range.
    """
    for name, value in (("lr", lr), ("weight_decay", weight_decay), ("mass", mass)):
        check_at_least(name, value, 0.0)
    check_fraction("momentum", momentum)
    check_choice("norm", norm, NORMS)
    hyper = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "mass": mass}
    vectors = None
    if norm not in ("max_entry", "rms"):
        vectors = _step(_normalized("rms", most), momentum, dual, hyper)
    if norm == "max_entry":
        map_ = sign()
    elif norm in ("spectral", "rms_to_rms"):
        scale = "spectral" if norm == "rms_to_rms" else "none"
        map_ = orthogonalize(coefficients=ns_coefficients, steps=ns_steps, precision=precision, scale=scale)
    else:
        map_ = _normalized(norm, most)
    return _step(map_, momentum, dual, hyper, vectors)


def _step(map_: Stage, momentum: float, dual: bool, hyper: dict[str, Any], vectors: Chain | None = None) -> Chain:
    first = [heavy_ball(dampened=False)] if momentum else []
    long = [dual_length(of="momentum" if momentum else "gradient")] if dual else []
    parts = [*first, map_, *long, by_mass(), shrink(), apply()]
    return chain(*parts, name="steepest_descent", hyper=hyper, otherwise=vectors)


def _normalized(norm: str, most: float) -> Stage:
    """T of (2d) to (2g)."""
    if norm == "column_rms":
        return normalize_columns(most=most)
    return normalize_rms(scope="tensor" if norm == "rms" else "row", most=most, by_width=norm == "rms_to_max")


@final
class SteepestDescent(Optimizer):
    """Steepest descent as a torch.optim.Optimizer. `options`: see `equipoise.Optimizer`.

    Given a model, embeddings and the output head take the norms of BY_ROLE, other matrices `norm`; `rules` go before.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        *,
        norm: str = "rms_to_rms",
        mass: float = 1.0,
        dual: bool = False,
        most: float = math.inf,
        ns_coefficients: Coefficients = "polar_express",
        ns_steps: int | None = None,
        precision: str = "bf16",
        rules: Overrides | None = None,
        **options: Any,
    ) -> None:
        values = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "norm": norm, "mass": mass}
        words = {
            "dual": dual,
            "most": most,
            "ns_coefficients": ns_coefficients,
            "ns_steps": ns_steps,
            "precision": precision,
        }
        own = rules_over(params, rules, options.get("roles"), _BASE) if isinstance(params, nn.Module) else rules
        super().__init__(params, factory=steepest_descent, defaults={**values, **words}, rules=own, **options)  # type: ignore[arg-type]
