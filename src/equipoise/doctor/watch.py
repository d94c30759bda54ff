"""Watch a training run: one line before the loop, and the scale of everything is in the run store.

The watch hangs two hooks on the optimizer. On most steps they count; on every `every`-th step they copy the parameters
before the step and reduce the exact update after it; every `forward_every`-th step they run the probe batch through the
model. Nothing of the training run changes: weights, gradients, random generators, buffers and modes stay bit for bit.
"""

from __future__ import annotations

import atexit
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from equipoise._errors import ArgumentError, RunError
from equipoise.doctor.adapter import unwrap_model, unwrap_optimizer
from equipoise.doctor.described import describe_run, track
from equipoise.doctor.probes.loss import loss as read_scalar
from equipoise.doctor.sampling import ForwardSampler, StepSampler, batch_copy
from equipoise.doctor.store import Exists, RunStore
from equipoise.doctor.store_schema import store_path
from equipoise.doctor.store_writer import StoreWriter
from equipoise.doctor.tracer import Inputs

MAX_PENDING = 256  # logged scalars that wait on an accelerator before one transfer


class Watch:
    """A running watch. Use it as a context manager, or call `close()`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        store: StoreWriter,
        *,
        every: int,
        steps: StepSampler,
        forward: ForwardSampler | None,
        first_step: int,
    ) -> None:
        self.step = first_step
        self._store = store
        self._every = every
        self._steps = steps
        self._forward = forward
        self._seconds = 0.0
        self._begun = self._ticked = time.perf_counter()
        self._ticked_step, self._ticked_seconds = first_step, 0.0
        self._pending: list[tuple[int, str, torch.Tensor]] = []
        self._open = True
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        atexit.register(self.close)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if kind is None:
            self.close()
            return
        word = "interrupted" if issubclass(kind, KeyboardInterrupt) else "exception"
        self._close(word, f"{kind.__name__}: {error}")

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return self._store.run_dir

    @property
    def overhead(self) -> dict[str, float]:
        """Own time so far: `seconds`, and its `share` of the training time without it."""
        elapsed = time.perf_counter() - self._begun
        return {"seconds": self._seconds, "share": self._seconds / max(elapsed - self._seconds, 1e-9)}

    def log(self, step: int | None = None, /, **scalars: object) -> None:
        """Record run-level numbers, as `w.log(loss=loss, val_loss=...)`, at the optimizer step just made.

        Args:
            step: another step to record them at.
            **scalars: floats or 0-D tensors; on an accelerator they are read later, without a sync now.
        """
        begun = time.perf_counter()
        self._must_be_open("log")
        at = self.step if step is None else step
        for name, value in scalars.items():
            number = read_scalar(value, name=name)
            if isinstance(number, torch.Tensor):
                self._pending.append((at, name, number))
            else:
                self._keep(at, [(name, "", number)])
        if len(self._pending) >= MAX_PENDING:
            self._read_pending()
        self._seconds += time.perf_counter() - begun

    def note(self, text: str) -> None:
        """Record a remark at the present step."""
        self._must_be_open("note")
        self._store.event(self.step, "note", str(text))

    def set_meta(self, key: str, value: object) -> None:
        """Record a fact of the run (JSON value), as a recipe's name or a label."""
        self._must_be_open("set_meta")
        self._store.set_meta(key, value)

    def flush(self) -> None:
        """Commit everything recorded so far, so that a reader sees it."""
        self._read_pending()
        self._store.flush()

    def close(self) -> None:
        """Detach from the optimizer and close the store; a second call does nothing."""
        self._close("finished", f"{self.step} steps")

    def _must_be_open(self, what: str) -> None:
        if not self._open:
            raise RunError(f"this watch is closed; {what}() has nowhere to write. Make a new one: equipoise.watch(...)")

    def _is_sampled(self, step: int) -> bool:
        return step % self._every == 0 or step == 1

    def _before_step(self, *_: object) -> None:
        if self._is_sampled(self.step + 1):
            begun = time.perf_counter()
            self._steps.before()
            self._seconds += time.perf_counter() - begun

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        begun = time.perf_counter()
        if was_skipped(optimizer):
            self._steps.forget()
            return
        self.step += 1
        self._steps.count()
        if self._is_sampled(self.step):
            self._sample(begun)
        self._seconds += time.perf_counter() - begun

    def _sample(self, begun: float) -> None:
        steps = max(1, self.step - self._ticked_step)
        wall = begun - self._ticked - (self._seconds - self._ticked_seconds)
        step_seconds = max(wall, 0.0) / steps
        rows = list(self._steps.after())
        rows.append(("step_seconds", "", step_seconds))
        if self._forward is not None and self._forward.is_due(self.step):
            rows.extend(self._forward.sample(self.step, step_seconds))
            self._store.set_many_meta(self._steps.to_meta())
        rows.append(("watch_seconds", "", self._seconds + time.perf_counter() - begun))
        self._keep(self.step, rows)
        self._read_pending()
        self._ticked_step, self._ticked_seconds = self.step, self._seconds
        self._ticked = begun

    def _keep(self, step: int, rows: list[tuple[str, str, float]]) -> None:
        try:
            self._store.write_many(step, rows)
        except RunError as error:  # a full disk must not end a training run
            warnings.warn(f"equipoise.watch lost a few records: {error}", stacklevel=4)

    def _read_pending(self) -> None:
        waiting, self._pending = self._pending, []
        for step, name, value in waiting:
            self._keep(step, [(name, "", float(value))])

    def _close(self, kind: str, text: str) -> None:
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        for hook in self._hooks:
            hook.remove()
        self._steps.forget()
        try:
            self._read_pending()
            self._store.set_many_meta({**self._steps.to_meta(), "overhead": self.overhead, "last_step": self.step})
            self._store.event(self.step, kind, text)
        finally:
            self._store.close()


def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    run_dir: str | Path,
    every: int = 20,
    inputs: Inputs = None,
    forward_every: int | None = None,
    max_share: float = 0.02,
    total_steps: int | None = None,
    steps_per_epoch: float | None = None,
    label: str = "",
    meta: dict[str, object] | None = None,
    exists: Exists = "error",
    first_step: int = 0,
) -> Watch:
    """Watch a training run; the loop itself stays as it is.

    Args:
        model: the model that is trained.
        optimizer: a torch.optim.Optimizer (torch's or equipoise's), or a wrapper that keeps it as `.optimizer`.
        run_dir: folder of this run; made if absent.
        every: optimizer steps between samples of norms, updates and rotations (a sampled step holds a copy of the
            parameters while it runs). Accumulated micro-batches, and steps that a GradScaler skips, do not count.
        inputs: a fixed probe batch: a tensor, a tuple of arguments or a dict of keyword arguments of `model.forward`.
            Without it the probes of attention, logits, stream and dead units are silent.
        forward_every: optimizer steps between probe forwards; default 2 * every.
        max_share: probe forwards are thinned out (interval doubled) until they take at most this share of the time.
        total_steps: planned optimizer steps, for the horizon of the decay.
        steps_per_epoch: optimizer steps per pass over the data, for time-scales in epochs.
        label: name of the run in reports; default the folder's name.
        meta: further facts to keep (JSON values).
        exists: what to do when `run_dir` holds a run: "error", "overwrite" or "resume".
        first_step: optimizer steps made before (a resumed run).

    Raises:
        ArgumentError: not an optimizer, no common parameters, or `model(inputs)` fails.
        RunError: the folder cannot be written, or holds a run.

    Example:
        >>> with watch(model, optimizer, run_dir="runs/a", inputs=x[:8]) as w:  # doctest: +SKIP
        ...     for x, y in loader:
        ...         loss = step(x, y)
        ...         w.log(loss=loss)
    """
    inner, optim = unwrap_model(model), unwrap_optimizer(optimizer)
    tracked = track(inner, optim)
    _check(inner, tracked, every)
    batch = None if inputs is None else batch_copy(inputs)
    forward = None if batch is None else ForwardSampler(inner, batch, forward_every or 2 * every, every, max_share)
    first = [] if forward is None else forward.first()  # says so at once when the model does not take the batch
    steps = StepSampler(optim, tracked, inner, batch, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    if exists == "resume":
        steps.resume(_meta_of(run_dir))
    facts = {
        **describe_run(inner, optim, tracked),
        "label": label or Path(run_dir).resolve().name,
        "every": every,
        "forward_every": 0 if forward is None else forward.every,
        "total_steps": total_steps,
        "steps_per_epoch": steps_per_epoch,
        "vocabulary": None if forward is None else forward.vocabulary,
        "scale_invariant": steps.invariant,
        **(meta or {}),
    }
    store = RunStore.create(run_dir, facts, exists=exists)
    store.write_many(first_step, first)
    store.set_many_meta(steps.to_meta())
    return Watch(inner, optim, store, every=every, steps=steps, forward=forward, first_step=first_step)


def _meta_of(run_dir: str | Path) -> dict[str, object]:
    if not store_path(run_dir).exists():
        return {}
    with RunStore.open(run_dir) as earlier:
        return earlier.meta


def was_skipped(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a GradScaler told a fused optimizer to leave the weights: it calls step() all the same."""
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, torch.Tensor) and bool(found > 0)


def _check(model: nn.Module, tracked: list, every: int) -> None:
    if every < 1:
        raise ArgumentError("every", every, "a number of steps >= 1")
    mine = {id(p) for p in model.parameters()}
    if not any(id(t.parameter) in mine for t in tracked):
        raise ArgumentError(
            "optimizer", f"{len(tracked)} parameters", "parameters of this model", "Build it from model.parameters()."
        )
