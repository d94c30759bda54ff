"""Mean log partition function of the output: the shift that softmax cannot see.

Source: Wortsman et al., arXiv 2309.14322 section 3.2 (output logit divergence, cured by z-loss or decay).
Rule: mean log sum_v exp z_v over the model's output [..., V]; near ln V for small logits.
"""

import torch

from equipoise._card import method


@method(kind="probe", paper="2309.14322", equations="section 3.2", scope="run")
def log_partition(logits: torch.Tensor) -> torch.Tensor:
    """mean logsumexp, 0-D."""
    return logits.detach().float().logsumexp(-1).mean()
