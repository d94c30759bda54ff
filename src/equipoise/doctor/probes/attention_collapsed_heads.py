"""Share of heads of a layer whose attention entropy has collapsed.

Source: arXiv 2303.06296 (the criterion is qualitative there; 0.1 of the largest entropy is a heuristic).
Rule: mean over heads of [ normalised entropy < 0.1 ].
"""

import torch

from equipoise._card import method
from equipoise.doctor.probes.sample import AttentionView

COLLAPSED = 0.1


@method(kind="probe", paper="2303.06296", scope="layer", see_also=("attention_entropy",))
def attention_collapsed_heads(view: AttentionView) -> torch.Tensor:
    """Share in [0, 1], 0-D; nan when no row sees 8 keys."""
    entropy = view.head_entropy()
    return torch.where(entropy.isfinite(), (entropy < COLLAPSED).float(), entropy).mean()
