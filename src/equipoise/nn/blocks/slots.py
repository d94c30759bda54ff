"""What stands where in a transformer block: the slots, as values.

A placement (post_ln, pre_ln, peri_ln, ...) is nothing but a filling of these slots; one block reads them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from equipoise._errors import ArgumentError
from equipoise.nn.attention import AttentionSpec
from equipoise.nn.feed_forward import FeedForwardSpec
from equipoise.nn.multiplier import Scale
from equipoise.nn.norm_kinds import NormKind

ONE = Scale(1.0)
SMALL_STEP = Scale(0.05)  # the first lambda of arXiv 2410.01131, of the order of 1/layers


@dataclass(frozen=True)
class Slots:
    """The slots of one sub-layer (attention or feed-forward). Everything left out is the identity.

    Attributes:
        norm_in: N_in, on the input of the core.
        depth_scale: c, a fixed number after N_in.
        norm_out: N_out, on the output of the core.
        branch_scale: b, after N_out.
        norm_skip: N_skip, on the skip path.
        skip_scale: a, after N_skip.
        join: `add` (skip + branch) or `lerp` (skip + lambda (branch - skip)).
        lerp_scale: lambda, used when join is `lerp`; a learned one is read as its absolute value.
        norm_post: N_post, on the sum.
    """

    norm_in: NormKind | None = None
    depth_scale: float = 1.0
    norm_out: NormKind | None = None
    branch_scale: Scale = ONE
    norm_skip: NormKind | None = None
    skip_scale: Scale = ONE
    join: Literal["add", "lerp"] = "add"
    lerp_scale: Scale = SMALL_STEP
    norm_post: NormKind | None = None

    def __post_init__(self) -> None:
        if self.join not in ("add", "lerp"):
            raise ArgumentError("join", self.join, "'add' or 'lerp'")
        if self.join == "lerp" and (self.norm_out != "unit" or self.norm_skip != "unit"):
            got = f"norm_out={self.norm_out!r}, norm_skip={self.norm_skip!r}"
            raise ArgumentError("join='lerp'", got, "'unit' for both", "Both ends of a lerp must lie on the sphere.")


@dataclass(frozen=True)
class BlockSpec:
    """One transformer block: the slots of its two sub-layers and of the cores inside them."""

    attention: Slots = field(default_factory=Slots)
    feed_forward: Slots = field(default_factory=Slots)
    attention_core: AttentionSpec = field(default_factory=AttentionSpec)
    feed_forward_core: FeedForwardSpec = field(default_factory=FeedForwardSpec)


def same_spec(spec: BlockSpec) -> Callable[[int, int], BlockSpec]:
    """A `per_layer` function that gives every block the same spec."""
    return lambda layer, layers: spec


@dataclass(frozen=True)
class Placement:
    """Where a whole model normalizes.

    Attributes:
        per_layer: (layer counted from 1, number of layers) -> the block's spec.
        norm_embedding: norm on the sum of token and position embeddings.
        norm_final: norm before the output head. Placements whose blocks end in a norm need none.
    """

    per_layer: Callable[[int, int], BlockSpec]
    norm_embedding: NormKind | None = None
    norm_final: NormKind | None = None
