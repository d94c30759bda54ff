"""The activation norms that a slot of a block may hold, by name.

`layer_norm` and `rms_norm` are torch's own layers; `unit` is x / ||x|| without a gain.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equipoise._errors import ArgumentError, near

NormKind = Literal["layer_norm", "rms_norm", "unit"]
NORM_KINDS: tuple[NormKind, ...] = ("layer_norm", "rms_norm", "unit")


class UnitNorm(nn.Module):
    """x / ||x||_2 over the last axis, no gain and no state. Input and output `[..., D]`; the zero vector stays zero."""

    def forward(self, x: Tensor) -> Tensor:
        """x `[..., D]` at length 1."""
        return F.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)


def build_norm(kind: NormKind | None, width: int, *, eps: float = 1e-5) -> nn.Module:
    """A norm over the last axis of size `width`; the identity for None.

    Layer norms come without a bias: a bias after the mean is subtracted is what the next linear layer already has.
    Raises ArgumentError with near names for an unknown kind.
    """
    if kind is None:
        return nn.Identity()
    if kind == "layer_norm":
        return nn.LayerNorm(width, eps=eps, bias=False)
    if kind == "rms_norm":
        return nn.RMSNorm(width, eps=eps)
    if kind == "unit":
        return UnitNorm()
    raise ArgumentError("norm", kind, "one of " + ", ".join(NORM_KINDS), near(str(kind), list(NORM_KINDS)))
