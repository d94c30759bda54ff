"""Training and validation loss, as the user's loop logs them with `w.log(loss=..., val_loss=...)`.

Rule: the number itself, at the optimizer step it was logged at. Rules that need it are silent without.
"""

import torch

from equipoise._card import method
from equipoise._errors import ArgumentError


@method(kind="probe", scope="run")
def loss(value: object, *, name: str = "loss") -> float | torch.Tensor:
    """A logged scalar: a float, or (on an accelerator) a detached copy that is read later, without a sync now."""
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex():
            raise ArgumentError(
                name, tuple(value.shape), "a real scalar", f"Log {name}=x.mean(), or one value per name."
            )
        scalar = value.detach()
        return scalar.item() if scalar.device.type == "cpu" else scalar.clone()
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            name, value, "a number or a 0-D tensor", "Log numbers; use w.note(...) for text."
        ) from error
