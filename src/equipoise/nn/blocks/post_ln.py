"""Post-LN: the norm stands on the sum of skip and branch, as in the first transformer.

Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.1; named and analysed by Xiong et al. 2020, arXiv 2002.04745.
Symbols: x [B, T, D] residual stream; N norm over D.
Rule:
  (1) x <- N(x + Attention(x))
  (2) x <- N(x + FeedForward(x))
Invariants: the stream has RMS 1 after every block while gains are 1; no final norm.
Cost: two norms per block.
Avoid: training deep stacks without warm-up; gradients of early layers grow with depth.
"""

from __future__ import annotations

from equipoise._card import method
from equipoise.nn.blocks.slots import BlockSpec, Placement, Slots, same_spec
from equipoise.nn.norm_kinds import NormKind


@method(kind="block", paper="arXiv:1706.03762", equations="section 3.1", see_also=("pre_ln", "peri_ln"))
def post_ln(*, norm: NormKind = "layer_norm") -> Placement:
    """Post-LN with the given norm in both sub-layers."""
    slots = Slots(norm_post=norm)  # (1), (2)
    return Placement(same_spec(BlockSpec(attention=slots, feed_forward=slots)))
