"""Layers whose business is scale: norms, attention, and one residual block with slots for them."""

from torch.nn import LayerNorm, RMSNorm

from equipoise.nn.attention import Attention, AttentionSpec
from equipoise.nn.blocks import (
    BlockSpec,
    Placement,
    Slots,
    TransformerBlock,
    named_placement,
    peri_ln,
    post_ln,
    pre_ln,
    same_spec,
)
from equipoise.nn.feed_forward import FeedForward, FeedForwardSpec
from equipoise.nn.multiplier import Multiplier, Scale
from equipoise.nn.norm_kinds import UnitNorm, build_norm

__all__ = [
    "Attention",
    "AttentionSpec",
    "BlockSpec",
    "FeedForward",
    "FeedForwardSpec",
    "LayerNorm",
    "Multiplier",
    "Placement",
    "RMSNorm",
    "Scale",
    "Slots",
    "TransformerBlock",
    "UnitNorm",
    "build_norm",
    "named_placement",
    "peri_ln",
    "post_ln",
    "pre_ln",
    "same_spec",
]
