"""Shampoo: precondition a matrix by a root of the gradients' covariance on each side.

Source     Gupta, Koren and Singer 2018, arXiv:1802.09568, Algorithm 1; grafting and averages as in
           facebookresearch/optimizers (Shi et al. 2023, arXiv:2309.06497).
Differs    The paper accumulates sums and has no decay; both are here as options. Other readings of the exponent, of
           damping and of what comes before the first gradient: see `kronecker_root`. A convolution is a matrix
           [out, in x kh x kw], in the paper a tensor with a root for every axis. The paper has no blocks, which is
           block_size None; a graft compares whole matrices, in Meta's code blocks. Merging of axes is left out; vectors
           go to AdamW.
Symbols    W, G, U, M: a matrix [rows, columns]; eta = lr, lambda = weight_decay.
Rule       U_t as in `stages/kronecker_root.py`                                            (1)
           U_t <- U_t |A_t| / |U_t|,  A = G or Adam's G / den                              (2) graft only
           M_t = beta1 M_{t-1} + (1 - beta1) U_t                                           (3)
           W_t = (1 - eta lambda) W_{t-1} - eta M_t / (1 - beta1^t)                        (4)
Order      Momentum after the preconditioner and the graft.
Invariant  Turning all gradients turns the path (lambda = 0, no graft onto Adam, no side cut); t = 1, damping = 0: a
           step along the polar factor of G, or of each block.
Cost       Per matrix [m, n]: m n + 2 m^2 + 2 n^2 numbers of state, 5 per parameter when square (graft onto Adam: 1
           more), of each block where sides are cut; 4 products per step, 2 eigendecompositions every refresh_every
           steps.
Avoid      Sums over long runs without a graft: steps fall like 1/sqrt(t). float32 with damping below 1e-7 of the
           largest eigenvalue and an exponent above 1/4.
"""

from __future__ import annotations

from typing import Any, final

from equipoise._card import method
from equipoise.core.chain import Chain, chain
from equipoise.core.checks import check_at_least, check_choice
from equipoise.core.groups import Given
from equipoise.core.optimizer import Optimizer
from equipoise.core.stage import Stage
from equipoise.decay.shrink import shrink
from equipoise.optim._checks import check_adam
from equipoise.optim.adamw import adamw
from equipoise.stages.apply import apply
from equipoise.stages.ema import ema
from equipoise.stages.graft import ONTO
from equipoise.stages.graft import graft as grafted
from equipoise.stages.kronecker_root import kronecker_root
from equipoise.stages.second_moment import second_moment


@method(kind="optim", paper="arXiv:1802.09568", equations="Algorithm 1", scope="matrix", state_per_param=5.0,
        see_also=("soap",), tags=("matrix", "adaptive"))  # fmt: skip
def shampoo(
    *,
    lr: float = 1e-2,
    beta1: float = 0.9,
    beta2: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    damping: float = 1e-6,
    exponent: float | None = None,
    accumulate: str = "sum",
    graft: str | None = None,
    refresh_every: int = 10,
    max_dim: int = 10_000,
    block_size: int | None = 1024,
) -> Chain:
    """Equations (1) to (4).

    Args:
        lr, beta1, beta2, eps, weight_decay: beta2 and eps are those of averages, of the graft onto Adam and of vectors.
        damping: e >= 0, in units of the squared gradient.
        exponent: q > 0; None for 1/4, or 1/2 where a side is longer than max_dim.
        accumulate: "sum" or "average".
        graft: None, "sgd" or "adam".
        refresh_every: steps between two eigendecompositions, >= 1.
        max_dim: longest side that gets a preconditioner.
        block_size: longest side of a block; longer sides are cut into blocks, each a matrix of its own to (1). None: no
            side is.

    Raises:
        ArgumentError: a value out of range.
    """
    check_adam(lr, beta1, beta2, eps, weight_decay)
    for name, value, least in (("damping", damping, 0), ("refresh_every", refresh_every, 1), ("max_dim", max_dim, 0)):
        check_at_least(name, value, least)
    if block_size is not None:
        check_at_least("block_size", block_size, 1)
    check_choice("graft", graft, (None, *ONTO))
    root = kronecker_root(accumulate=accumulate, exponent=exponent)
    hyper = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay, "damping": damping}
    sizes = {"refresh_every": refresh_every, "max_dim": max_dim, "block_size": block_size}
    vectors = adamw(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)
    parts = [root, *_graft(graft), ema(), shrink(), apply()]
    return chain(*parts, name="shampoo", hyper={**hyper, **sizes}, otherwise=vectors)


def _graft(onto: str | None) -> list[Stage]:
    if onto is None:
        return []
    return [grafted()] if onto == "sgd" else [second_moment(), grafted(onto="adam")]


@final
class Shampoo(Optimizer):
    """Shampoo as a torch.optim.Optimizer. `options`: see `equipoise.Optimizer`."""

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        damping: float = 1e-6,
        exponent: float | None = None,
        accumulate: str = "sum",
        graft: str | None = None,
        refresh_every: int = 10,
        max_dim: int = 10_000,
        block_size: int | None = 1024,
        **options: Any,
    ) -> None:
        values = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "damping": damping}
        words = {"exponent": exponent, "accumulate": accumulate, "graft": graft}
        sizes = {"refresh_every": refresh_every, "max_dim": max_dim, "block_size": block_size}
        super().__init__(params, factory=shampoo, defaults={**values, **words, **sizes}, **options)
