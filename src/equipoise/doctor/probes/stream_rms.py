"""RMS of the residual stream after each block: signal propagation over depth.

Source: Brock et al., arXiv 2101.08692 (signal propagation plots); pre-norm stacks grow like sqrt(1 + 2 l) at init.
Rule: rms(x_l) of the output of every block of the longest stack of modules of one type.
"""

import torch

from equipoise._card import method


@method(kind="probe", paper="2101.08692", scope="layer")
def stream_rms(hidden: torch.Tensor) -> torch.Tensor:
    """rms of a block's output, 0-D."""
    return hidden.detach().float().square().mean().sqrt()
