"""One configurable residual block with slots; named placements fill the slots."""

from equipoise.nn.blocks.block import SubLayer, TransformerBlock
from equipoise.nn.blocks.peri_ln import peri_ln
from equipoise.nn.blocks.placements import named_placement
from equipoise.nn.blocks.post_ln import post_ln
from equipoise.nn.blocks.pre_ln import pre_ln
from equipoise.nn.blocks.slots import BlockSpec, Placement, Slots, same_spec

__all__ = [
    "BlockSpec",
    "Placement",
    "Slots",
    "SubLayer",
    "TransformerBlock",
    "named_placement",
    "peri_ln",
    "post_ln",
    "pre_ln",
    "same_spec",
]
