"""What to say when the loss is not finite: where, which tensors, what the doctor thinks, and where to go back to."""

from __future__ import annotations

import torch

from equipoise._errors import EquipoiseError
from equipoise.train.checkpoint import checkpoints
from equipoise.train.folder import RunFolder
from equipoise.train.session import Session

SHOWN = 3  # tensors and findings named in the message


def describe_divergence(session: Session, folder: RunFolder, bad_loss: float | None) -> str:
    """The diagnosis of a run whose loss (or held-out loss, when `bad_loss` is None) was not finite."""
    where = "the held-out loss at the end" if bad_loss is None else f"the loss of step {session.done.step + 1}"
    word = "not finite" if bad_loss is None else str(bad_loss)
    kept = checkpoints(folder.checkpoints)
    lines = [
        f"{where} is {word} (learning rate {session.optimizer.param_groups[0]['lr']:.3g}).",
        _tensors(session),
        *_findings(folder),
        f"The last good checkpoint is {kept[-1]}." if kept else "There is no good checkpoint.",
        f"Usual cure: a lower learning rate, as --lr {session.recipe.lr / 3:.2g}, or a longer --warmup.",
    ]
    return "\n".join(lines)


def _tensors(session: Session) -> str:
    """Which weights are not finite; when none is, the largest."""
    named = [(name, p.detach()) for name, p in session.model.named_parameters()]
    broken = [name for name, p in named if not torch.isfinite(p).all()]
    if broken:
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        return f"Weights with NaN or infinite values: {', '.join(broken[:SHOWN])}{more}."
    name, weight = max(named, key=lambda pair: pair[1].abs().max().item() if pair[1].numel() else 0.0)
    return f"All weights are still finite; the largest value is {weight.abs().max().item():.3g}, in {name}."


def _findings(folder: RunFolder) -> list[str]:
    """The doctor's warnings and errors, one line each."""
    from equipoise.doctor.diagnose import diagnose  # all rules: loaded when there is something to explain

    try:
        found = [f for f in diagnose(folder.path) if f.severity != "info"]
    except EquipoiseError as error:
        return [f"The doctor could not read the run: {error}"]
    return [f"[{f.severity}] {f.rule}: {f.symptom}" for f in found[:SHOWN]]
