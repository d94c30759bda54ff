"""Largest absolute output logit on the probe batch.

Rule: max |z| over the model's output [..., V].
"""

import torch

from equipoise._card import method


@method(kind="probe", scope="run", see_also=("log_partition",))
def logit_max(logits: torch.Tensor) -> torch.Tensor:
    """max |z|, 0-D."""
    return logits.detach().float().abs().max()
