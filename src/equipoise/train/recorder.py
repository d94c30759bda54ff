"""Who writes a run's numbers down: the doctor's watch, or for unwatched runs the bare store."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import torch
from torch import Tensor, nn

from equipoise.doctor.store import Exists, RunStore
from equipoise.doctor.store_writer import StoreWriter
from equipoise.doctor.watch import watch
from equipoise.recipes import Recipe
from equipoise.train.folder import RunFolder


class Recorder(Protocol):
    """What the trainer needs of the watch."""

    def log(self, step: int | None = None, /, **scalars: object) -> None:
        """Record run-level numbers at a step."""
        ...

    def note(self, text: str) -> None:
        """Record a remark."""
        ...

    def flush(self) -> None:
        """Commit what was recorded."""
        ...

    def __enter__(self) -> Recorder: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


class BareRecorder:
    """Writes scalars to the store and looks at nothing."""

    def __init__(self, writer: StoreWriter, step: int) -> None:
        self._writer, self._step = writer, step

    def __enter__(self) -> BareRecorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        word = "finished" if kind is None else "exception"
        self._writer.event(self._step, word, "" if kind is None else f"{kind.__name__}: {error}")
        self._writer.close()

    def log(self, step: int | None = None, /, **scalars: object) -> None:
        """Record run-level numbers; the step stays the present one until another is given."""
        self._step = self._step if step is None else step
        for name, value in scalars.items():
            self._writer.write(self._step, name, float(value))  # pyright: ignore[reportArgumentType]

    def note(self, text: str) -> None:
        """Record a remark at the present step."""
        self._writer.event(self._step, "note", text)

    def flush(self) -> None:
        """Commit what was recorded."""
        self._writer.flush()


def open_recorder(
    recipe: Recipe,
    folder: RunFolder,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    inputs: Tensor,
    total_steps: int | None,
    steps_per_epoch: int,
    first_step: int,
) -> Recorder:
    """The watch of this run (or the bare store when `watch_every` is 0), going on at `first_step`.

    A run that resumes from an older checkpoint loses what was recorded past it: those steps are made again.
    """
    exists: Exists = "resume" if first_step else "overwrite"
    if first_step:
        _forget_after(folder, first_step)
    meta: dict[str, object] = {"recipe": recipe.to_dict(), "recipe_name": recipe.name, "seed": recipe.seed}
    if recipe.watch_every == 0:
        facts = {**meta, "label": recipe.title, "total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
        return BareRecorder(RunStore.create(folder.path, facts, exists=exists), first_step)
    return watch(
        model,
        optimizer,
        run_dir=folder.path,
        every=recipe.watch_every,
        inputs=inputs,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        label=recipe.title,
        meta=meta,
        exists=exists,
        first_step=first_step,
    )


def _forget_after(folder: RunFolder, step: int) -> None:
    with RunStore.create(folder.path, {}, exists="resume") as writer:
        writer.truncate_after(step)
