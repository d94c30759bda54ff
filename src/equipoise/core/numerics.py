"""Number formats: what a step computes in, and how it is rounded back."""

from __future__ import annotations

import torch
from torch import Tensor

LOW_PRECISION = (torch.bfloat16, torch.float16)
SUPPORTED = (torch.float32, torch.float64, *LOW_PRECISION)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that registers have: float32 for 16-bit parameters, else the parameter's own."""
    return torch.float32 if dtype in LOW_PRECISION else dtype


def real_view(tensor: Tensor) -> Tensor:
    """Complex tensors as real ones with a last axis of 2; others as they are. Shares storage."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill one block of memory without gaps or overlap, in any axis order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= max(size, 1)
    return True


def rows(tensor: Tensor) -> Tensor:
    """A contiguous tensor of two or more axes as [rows, rest]. Shares storage."""
    return tensor.view(tensor.shape[0], -1)


def flat(tensor: Tensor) -> Tensor:
    """A dense tensor as 1-D in memory order. Shares storage; an axis order such as channels-last is kept.

    Args:
        tensor: dense (see `is_dense`), any shape.
    """
    if tensor.is_contiguous():
        return tensor.view(-1)
    return tensor.as_strided((tensor.numel(),), (1,))
