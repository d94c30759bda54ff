"""Largest absolute attention score before the softmax.

Source: Wortsman et al., arXiv 2309.14322 section 3.1: 50 is usual, from 1e3 the loss suffers, at 1e4 all runs diverged.
Rule: max |z_ij| over batch, heads and visible keys, scale included, for at most 64 query rows.
"""

import torch

from equipoise._card import method
from equipoise.doctor.probes.sample import AttentionView


@method(kind="probe", paper="2309.14322", equations="section 3.1", scope="layer", see_also=("attention_entropy",))
def attention_max_logit(view: AttentionView) -> torch.Tensor:
    """Largest |z|, 0-D."""
    return view.scores.masked_fill(view.scores.isneginf(), 0.0).abs().max()
