"""Entropy of attention rows, as a share of the largest possible: 1 looks everywhere, 0 looks at one key.

Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse", arXiv 2303.06296.
Rule: mean over heads, and over query rows that see >= 8 keys, of H(softmax(z)) / ln(visible keys). <= 64 rows a call.
"""

import torch

from equipoise._card import method
from equipoise.doctor.probes.sample import AttentionView


@method(kind="probe", paper="2303.06296", scope="layer", see_also=("attention_max_logit",))
def attention_entropy(view: AttentionView) -> torch.Tensor:
    """Normalised entropy in [0, 1], 0-D."""
    return view.head_entropy().mean()
