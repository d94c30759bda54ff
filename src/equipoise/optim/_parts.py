"""Parts that several ready optimizers share."""

from __future__ import annotations

from equipoise.core.chain import Chain, chain
from equipoise.stages.divide import divide
from equipoise.stages.ema import ema
from equipoise.stages.second_moment import second_moment


def adam_direction(*, amsgrad: bool = False, eps_place: str = "outside") -> Chain:
    """Adam's direction: momentum over denominator. Its state is under the part name "adam"."""
    return chain(ema(), second_moment(amsgrad=amsgrad, eps_place=eps_place), divide(), name="adam")
