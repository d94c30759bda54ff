"""Peri-LN: a norm before and after each branch, so that what is added to the stream has a known size.

Source: Kim et al. 2025, arXiv 2502.02732, section 3.
Symbols: x [B, T, D] residual stream; N norm over D.
Rule:
  (0) x <- N(embedding), optional
  (1) x <- x + N(Attention(N(x)))
  (2) x <- x + N(FeedForward(N(x)))
  (3) output N(x) after the last block
Invariants: each sub-layer adds RMS 1, so the stream's RMS is about sqrt(1 + 2 l) after block l at the start.
Cost: four norms per block.
"""

from __future__ import annotations

from equipoise._card import method
from equipoise.nn.blocks.slots import BlockSpec, Placement, Slots, same_spec
from equipoise.nn.norm_kinds import NormKind


@method(kind="block", paper="arXiv:2502.02732", equations="section 3", see_also=("pre_ln", "post_ln"))
def peri_ln(*, norm: NormKind = "layer_norm", norm_embedding: bool = True) -> Placement:
    """Peri-LN with the given norm everywhere; `norm_embedding=False` leaves out rule (0)."""
    slots = Slots(norm_in=norm, norm_out=norm)  # (1), (2)
    spec = BlockSpec(attention=slots, feed_forward=slots)
    return Placement(same_spec(spec), norm_embedding=norm if norm_embedding else None, norm_final=norm)  # (0), (3)
