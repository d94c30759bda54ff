"""A number in front of a signal: fixed, one learned scalar, or one learned value per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equipoise._errors import ArgumentError

Learned = Literal["no", "scalar", "channel"]


@dataclass(frozen=True)
class Scale:
    """What a multiplier slot holds: its initial value and whether it learns (`no`, `scalar`, or one per `channel`)."""

    value: float = 1.0
    learned: Learned = "no"

    def __post_init__(self) -> None:
        if self.learned not in ("no", "scalar", "channel"):
            raise ArgumentError("learned", self.learned, "'no', 'scalar' or 'channel'")


class Multiplier(nn.Module):
    """x times the scale; `[..., D] -> [..., D]`. A fixed 1 costs nothing."""

    def __init__(self, scale: Scale, width: int) -> None:
        super().__init__()
        self.value = float(scale.value)
        if scale.learned == "no":
            self.register_parameter("weight", None)
        else:
            shape = () if scale.learned == "scalar" else (width,)
            self.weight = nn.Parameter(torch.full(shape, self.value))

    def forward(self, x: Tensor) -> Tensor:
        """x `[..., D]` times the scale."""
        if self.weight is not None:
            return x * self.weight
        return x if self.value == 1.0 else x * self.value
