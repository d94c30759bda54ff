"""Mean over rows of the spread between the largest and the smallest output logit.

Rule: mean(max_v z_v - min_v z_v) over the model's output [..., V]. Does not move when all logits shift together.
"""

import torch

from equipoise._card import method


@method(kind="probe", scope="run", see_also=("log_partition",))
def logit_range(logits: torch.Tensor) -> torch.Tensor:
    """Mean spread of a row, 0-D."""
    rows = logits.detach().float()
    return (rows.amax(-1) - rows.amin(-1)).mean()
