"""GaLore: Adam whose averages are those of the gradient's leading singular directions, a fraction of Adam's state.

Source     Zhao et al. 2024, arXiv:2403.03507, Algorithm 2; order, eps and defaults as the authors' code (learning rate,
           rank, scale and interval as in its README).
Differs    See `stages.low_rank_adam`. Of a model the authors project the matrices of attention and MLP by name; here,
           by role, all matrices but embeddings and the head. A convolution is a matrix [out, in x kh x kw].
Symbols    W, U: a matrix [rows, columns]; eta = lr, lambda = weight_decay.
Rule       U_t as in `stages/low_rank_adam.py`                             (1)
           W_t = (1 - eta lambda) (W_{t-1} - eta U_t)                      (2)
           everything else: Adam with eps before the bias correction, then (2)    (3)
Order      Decay after the step: it differs from AdamW's by eta^2 lambda U.
Invariant  Without decay a step changes W by a matrix of rank `rank` at most; over many refreshes W moves in all
           directions. The scale is on projected matrices alone: their learning rate against (3) is scale eta.
Cost       Per matrix [m, n], m >= n: rank (2 m + n) numbers of state; 0.75 per parameter for a rank of a quarter of a
           square's side. Two thin products per step, an SVD every refresh_every steps.
Avoid      Small models, where state is not what fills memory: it is a worse Adam. rank near the shorter side.
"""

from __future__ import annotations

from typing import Any, final

from torch import nn

from equipoise._card import method
from equipoise.core.chain import Chain, chain
from equipoise.core.checks import check_at_least
from equipoise.core.groups import Given, Overrides
from equipoise.core.optimizer import Optimizer
from equipoise.core.roles import NOT_DECAYED, Role
from equipoise.core.select import Rule
from equipoise.decay.shrink import shrink
from equipoise.optim._by_role import rules_over
from equipoise.optim._checks import check_adam
from equipoise.optim._parts import adam_direction
from equipoise.stages.apply import apply
from equipoise.stages.low_rank_adam import low_rank_adam

_BASE = [
    Rule(tuple(role.value for role in NOT_DECAYED), {"weight_decay": 0.0}, loud=False),
    Rule((Role.EMBEDDING.value, Role.HEAD.value), {"low_rank": False}, loud=False),
]


@method(kind="optim", paper="arXiv:2403.03507", equations="Algorithm 2", scope="matrix", state_per_param=0.75,
        see_also=("soap", "adafactor", "dion"), tags=("matrix", "adaptive"))  # fmt: skip
def galore(
    *,
    lr: float = 1e-2,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    rank: int = 128,
    scale: float = 0.25,
    refresh_every: int = 200,
    low_rank: bool = True,
) -> Chain:
    """Equations (1) to (3); (3) for tensors with fewer than two axes, and for all when not `low_rank`.

    Args:
        lr, beta1, beta2, eps, weight_decay: of matrices and of Adam.
        rank: directions of each matrix, >= 1; a shorter side bounds it.
        scale: of the projected matrices' steps, >= 0.
        refresh_every: steps between singular value decompositions, >= 1.
        low_rank: False for a group of embeddings or heads.

    Raises:
        ArgumentError: a value out of range.
    """
    check_adam(lr, beta1, beta2, eps, weight_decay)
    for name, value, least in (("rank", rank, 1), ("scale", scale, 0.0), ("refresh_every", refresh_every, 1)):
        check_at_least(name, value, least)
    hyper = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay}
    words = {"rank": rank, "scale": scale, "refresh_every": refresh_every}
    last = (apply(), shrink(place="after"))
    adam = chain(adam_direction(eps_place="hat"), *last, name="adam", hyper=hyper)
    return chain(low_rank_adam(), *last, name="galore", hyper={**hyper, **words}, otherwise=adam) if low_rank else adam


@final
class GaLore(Optimizer):
    """GaLore as a torch.optim.Optimizer. Given a model, its embeddings, head and vectors get Adam with decay.

    `options`: see `equipoise.Optimizer`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        rank: int = 128,
        scale: float = 0.25,
        refresh_every: int = 200,
        low_rank: bool = True,
        rules: Overrides | None = None,
        **options: Any,
    ) -> None:
        values = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        words = {"rank": rank, "scale": scale, "refresh_every": refresh_every, "low_rank": low_rank}
        own = rules_over(params, rules, options.get("roles"), _BASE) if isinstance(params, nn.Module) else rules
        super().__init__(params, factory=galore, defaults={**values, **words}, rules=own, **options)  # type: ignore[arg-type]
