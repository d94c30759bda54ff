"""Which weights are scale-invariant, found by test and not by name.

Source: arXiv 2305.17212 and 1706.05350. A weight w is scale-invariant when the output does not change under w -> c w,
c > 0; then <grad, w> = 0. Both are tested, for the whole tensor and for each row (axis 0) by itself: weights before a
normalization over all their outputs are invariant as a whole, before a normalization per channel row by row.

The scalar that is differentiated is a fixed random projection of the outputs. Batch normalization runs on batch
statistics, dropout is off. The model is never touched: scaled weights and buffers are handed in for the call.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from equipoise._errors import ArgumentError
from equipoise.doctor.adapter import unwrap_model
from equipoise.doctor.tracer import Inputs, call, first_tensor, undisturbed

MAX_COS = 1e-2  # screen only: normalization's own eps leaves a small radial gradient
MAX_CHANGE = 1e-2  # relative change of the output; a weight that is not invariant changes it by the order of FACTOR - 1
FACTOR = 2.0
_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


@dataclass(frozen=True)
class Invariance:
    """What the test found for one parameter.

    Attributes:
        whole: invariant when the whole tensor is scaled by one factor.
        rows: invariant when each row (axis 0) is scaled by its own factor.
        cos: |<g, w>| / (|g| |w|).
        row_cos: the largest |<g_i, w_i>| / (|g_i| |w_i|) over rows; nan below two axes.
        change: relative change of the output when the tensor is doubled.
        row_change: relative change of the output when each row gets its own factor; nan when not tested.
    """

    whole: bool
    rows: bool
    cos: float
    row_cos: float
    change: float
    row_change: float


def find_scale_invariant(model: nn.Module, inputs: Inputs) -> dict[str, Invariance]:
    """Test every parameter of `model` for scale invariance on a batch.

    Args:
        model: any module; its weights, gradients, buffers, modes and random state stay bit for bit.
        inputs: a batch: a tensor, a tuple of arguments or a dict of keyword arguments. BatchNorm needs two samples.

    Returns:
        name -> `Invariance`, in model order, for every floating parameter that needs a gradient.

    Raises:
        ArgumentError: the output holds no floating tensor, or nothing needs a gradient.
    """
    inner = unwrap_model(model)
    weights = {n: p for n, p in inner.named_parameters() if p.requires_grad and p.is_floating_point() and p.numel()}
    if not weights:
        raise ArgumentError("model", type(inner).__name__, "a model with parameters that need a gradient")
    with undisturbed(inner) as buffers, _batch_statistics(inner):
        test = _Test(inner, inputs, buffers)
        gradients = test.gradients(weights)
        return {name: test.of(name, weights[name].detach(), gradients[name]) for name in weights}


class _batch_statistics:  # noqa: N801 - a context manager
    """BatchNorm in training mode for the call: by running statistics no weight would be invariant."""

    def __init__(self, model: nn.Module) -> None:
        self._norms = [m for m in model.modules() if isinstance(m, _BATCH_NORMS)]

    def __enter__(self) -> None:
        for module in self._norms:
            module.training = True

    def __exit__(self, *_: object) -> None:
        for module in self._norms:
            module.training = False  # `undisturbed` restores the user's modes after this


class _Test:
    def __init__(self, model: nn.Module, inputs: Inputs, buffers: dict[str, torch.Tensor]) -> None:
        self._model, self._inputs, self._buffers = model, inputs, buffers
        with torch.no_grad():
            self._output = self._run({})
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self._output.shape, generator=generator, dtype=torch.float32)
        self._projection = noise.to(self._output.device, self._output.dtype)

    def _run(self, replaced: dict[str, torch.Tensor]) -> torch.Tensor:
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        out = first_tensor(call(self._model, self._inputs, {**buffers, **replaced}))
        if out is None:
            raise ArgumentError("model output", "no floating tensor", "logits or features")
        return out

    def gradients(self, weights: dict[str, nn.Parameter]) -> dict[str, torch.Tensor | None]:
        copies = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        with torch.enable_grad():
            scalar = (self._run(dict(copies)) * self._projection).sum()
            found = torch.autograd.grad(scalar, list(copies.values()), allow_unused=True)
        return dict(zip(copies, found, strict=True))

    def of(self, name: str, weight: torch.Tensor, grad: torch.Tensor | None) -> Invariance:
        nan = float("nan")
        if grad is None or not float(weight.norm()) * float(grad.norm()) > 0:
            return Invariance(False, False, nan, nan, nan, nan)
        cos = _cos(grad.flatten()[None], weight.flatten()[None])
        row_cos = _cos(grad.flatten(1), weight.flatten(1)) if weight.ndim > 1 else nan
        change = self._change(name, weight * FACTOR) if cos < MAX_COS else nan
        whole = change < MAX_CHANGE
        row_change = self._change(name, weight * _row_factors(weight)) if whole and row_cos < MAX_COS else nan
        return Invariance(whole, row_change < MAX_CHANGE, cos, row_cos, change, row_change)

    def _change(self, name: str, weight: torch.Tensor) -> float:
        with torch.no_grad():
            out = self._run({name: weight})
        return float((out - self._output).norm() / self._output.norm().clamp(min=1e-30))


def _cos(grads: torch.Tensor, weights: torch.Tensor) -> float:
    g, w = grads.double(), weights.double()
    size = g.norm(dim=1) * w.norm(dim=1)
    # A dead row has no direction; against the largest row its cosine is noise.
    known = size > 1e-6 * size.max()
    return float(((g * w).sum(1).abs() / size)[known].max()) if bool(known.any()) else float("nan")


def _row_factors(weight: torch.Tensor) -> torch.Tensor:
    factors = torch.linspace(0.5, 2.0, weight.shape[0], device=weight.device, dtype=weight.dtype)
    return factors.reshape(-1, *[1] * (weight.ndim - 1))
