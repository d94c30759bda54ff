"""The watch: counts right, leaves no trace in training, detaches cleanly, and says what it does not get."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equipoise._errors import ArgumentError, RunError
from equipoise.doctor import sampling, tracer
from equipoise.doctor.store import RunStore
from equipoise.doctor.watch import Watch, watch
from unit.doctor.small_models import digits_batch, gpt, mlp, normalised_net, record, text_batch, train

STEPS = 23


def _trained(run_dir: Path | None, optimizer_class: type, every: int = 4, **options: object) -> tuple[object, ...]:
    model = normalised_net()
    optimizer = optimizer_class(model.parameters(), **options)
    x = digits_batch(999)[0]
    if run_dir is None:
        losses = train(model, optimizer, STEPS)
    else:
        with watch(model, optimizer, run_dir=run_dir, every=every, inputs=x, forward_every=every, max_share=1e9) as w:
            losses = train(model, optimizer, STEPS, w)
    state = [copy.deepcopy(s) for s in optimizer.state_dict()["state"].values()]
    grads = [p.grad for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    return losses, model.state_dict(), state, grads, modes, torch.get_rng_state()


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(_same, a, b))
    return a == b


OPTIMIZERS = [
    (torch.optim.AdamW, {"lr": 1e-2, "weight_decay": 0.1}),
    (torch.optim.Adam, {"lr": 1e-2, "weight_decay": 0.1}),
    (torch.optim.SGD, {"lr": 1e-1, "momentum": 0.9, "weight_decay": 1e-3}),
]


@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
def test_training_bits_are_the_same_with_and_without(tmp_path: Path, optimizer_class: type, options: dict) -> None:
    assert _same(_trained(tmp_path, optimizer_class, **options), _trained(None, optimizer_class, **options))
    assert len(RunStore.open(tmp_path).series("logit_max")[0]) > 4  # the forward did run


def test_the_bit_test_catches_a_careless_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = contextlib.contextmanager(lambda model: iter([{}]))  # training mode, own generator, live buffers
    monkeypatch.setattr(tracer, "undisturbed", careless)
    monkeypatch.setattr(sampling, "undisturbed", careless)
    options = {"lr": 1e-2}
    assert not _same(_trained(tmp_path, torch.optim.AdamW, **options), _trained(None, torch.optim.AdamW, **options))


def test_no_hook_stays_on_the_model_and_none_between_samples(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    w = watch(model, optimizer, run_dir=tmp_path, every=4, inputs=digits_batch(0)[0])
    train(model, optimizer, 6, w)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    w.close()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_sampled_steps_and_run_facts(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    run = RunStore.open(record(tmp_path / "named", model, optimizer, 12, every=5))
    assert run.series("update_ratio", "0.weight")[0] == [1, 5, 10]
    assert run.series("logit_max")[0] == [0, 5, 10]
    assert run.series("loss")[0] == list(range(1, 13))
    assert run.tensors("weight_norm") == [name for name, _ in model.named_parameters()]
    assert run.meta["label"] == "named"
    assert run.meta["vocabulary"] == 10
    assert run.meta["last_step"] == 12
    assert run.meta["timescale"] == {
        "steps": pytest.approx(10_000),
        "epochs": pytest.approx(10_000 / 28),
        "horizon": pytest.approx(12e-4),
        "survival": pytest.approx(0.9988, abs=1e-4),
    }
    assert run.events() == [(12, "finished", "12 steps")]


def test_a_resumed_watch_goes_on(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    record(tmp_path, model, optimizer, 10)
    with pytest.raises(RunError, match="already holds a run"):
        record(tmp_path, model, optimizer, 10)
    record(tmp_path, model, optimizer, 10, exists="resume", first_step=10)
    run = RunStore.open(tmp_path)
    assert run.series("loss")[0] == list(range(1, 21))
    assert run.series("weight_norm", "0.weight")[0] == [1, 5, 10, 15, 20]
    assert run.meta["horizon_so_far"] == pytest.approx(20 * 1e-4)


def test_gradient_accumulation_counts_optimizer_steps(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, run_dir=tmp_path, every=2) as w:
        for micro in range(12):
            x, y = digits_batch(micro)
            (F.cross_entropy(model(x), y) / 4).backward()
            if micro % 4 == 3:
                total = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None) ** 0.5
                optimizer.step()
                optimizer.zero_grad()
                if w.step == 2:
                    accumulated = total
        assert w.step == 3
    run = RunStore.open(tmp_path)
    assert run.series("grad_norm_total")[0] == [1, 2]
    assert run.last("grad_norm_total") == pytest.approx(accumulated, rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])  # a fused optimizer is called also for a step that is skipped
def test_steps_that_a_scaler_skips_do_not_count(tmp_path: Path, fused: bool) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, fused=fused)
    scaler = torch.amp.GradScaler(device="cpu", init_scale=2.0)
    with watch(model, optimizer, run_dir=tmp_path, every=1) as w:
        for step in range(6):
            x, y = digits_batch(step)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            if step in (2, 3):
                next(model.parameters()).grad.fill_(float("inf"))  # pyright: ignore[reportOptionalMemberAccess]
            scaler.step(optimizer)
            scaler.update()
            w.log(loss=loss)
        assert w.step == 4
    run = RunStore.open(tmp_path)
    assert run.series("grad_norm_total")[0] == [1, 2, 3, 4]
    assert all(value < 1e3 for value in run.series("grad_norm_total")[1])  # unscaled


def test_a_closure_is_fine(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = digits_batch(0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with watch(model, optimizer, run_dir=tmp_path, every=1) as w:
        optimizer.step(closure)
        assert w.step == 1
    assert RunStore.open(tmp_path).last("update_ratio", "0.weight") is not None


def test_an_exception_is_recorded_and_detaches(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def explode() -> None:
        with watch(model, optimizer, run_dir=tmp_path, every=1) as w:
            train(model, optimizer, 3, w)
            raise ZeroDivisionError("batch of none")

    with pytest.raises(ZeroDivisionError):
        explode()
    assert not optimizer._optimizer_step_post_hooks
    run = RunStore.open(tmp_path)
    assert run.events() == [(3, "exception", "ZeroDivisionError: batch of none")]
    assert run.series("loss")[0] == [1, 2, 3]


def test_ctrl_c_is_an_interruption(tmp_path: Path) -> None:
    model = mlp()

    def stop() -> None:
        with watch(model, torch.optim.SGD(model.parameters(), lr=0.1), run_dir=tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert RunStore.open(tmp_path).events()[0][1] == "interrupted"


def test_log_and_note(tmp_path: Path) -> None:
    model = mlp()
    w = watch(model, torch.optim.SGD(model.parameters(), lr=0.1), run_dir=tmp_path)
    w.log(loss=torch.tensor(2.0, requires_grad=True), val_loss=3)
    w.log(7, accuracy=0.5)
    w.note("changed the data")
    w.set_meta("recipe", "mine")
    w.flush()
    run = RunStore.open(tmp_path)
    assert run.series("loss") == ([0], [2.0])
    assert run.series("accuracy") == ([7], [0.5])
    assert run.meta["recipe"] == "mine"
    with pytest.raises(ArgumentError, match="scalar"):
        w.log(loss=torch.ones(3))
    with pytest.raises(ArgumentError, match=r"w\.note"):
        w.log(loss="low")
    w.close()
    w.close()
    assert run.events()[0] == (0, "note", "changed the data")
    with pytest.raises(RunError, match="closed"):
        w.log(loss=1.0)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    model, other = mlp(), mlp(1)
    with pytest.raises(ArgumentError, match="every"):
        watch(model, torch.optim.SGD(model.parameters()), run_dir=tmp_path, every=0)
    with pytest.raises(ArgumentError, match="parameters of this model"):
        watch(model, torch.optim.SGD(other.parameters()), run_dir=tmp_path)
    with pytest.raises(ArgumentError, match="optimizer"):
        watch(model, object(), run_dir=tmp_path)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match=r"inputs.*tensor \(4, 3\).*RuntimeError"):
        watch(model, torch.optim.SGD(model.parameters()), run_dir=tmp_path, inputs=torch.ones(4, 3))
    assert not (tmp_path / "store.sqlite").exists()


class Wrapper:
    """What accelerators do: an object that keeps the optimizer inside."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        self.optimizer.step()


def test_wrapped_optimizers_and_models(tmp_path: Path) -> None:
    inner = mlp()
    model = nn.DataParallel(inner)
    wrapper = Wrapper(torch.optim.SGD(inner.parameters(), lr=0.1))
    with watch(model, wrapper, run_dir=tmp_path, every=1, inputs=digits_batch(0)[0]) as w:  # pyright: ignore
        x, y = digits_batch(0)
        F.cross_entropy(inner(x), y).backward()
        wrapper.step()
        assert w.step == 1
    assert RunStore.open(tmp_path).tensors("weight_norm")[0] == "0.weight"


def test_frozen_unused_and_sparse_parameters(tmp_path: Path) -> None:
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4), "rows": nn.Embedding(8, 4, sparse=True)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, run_dir=tmp_path, every=1):
        model["used"](model["rows"](torch.tensor([1, 2]))).sum().backward()
        optimizer.step()
    run = RunStore.open(tmp_path)
    assert run.tensors("weight_norm") == ["used.weight", "used.bias", "rows.weight"]
    assert run.tensors("grad_norm") == ["used.weight", "used.bias"]


def test_groups_added_in_mid_run(tmp_path: Path) -> None:
    model = mlp()
    layers = list(model.children())
    optimizer = torch.optim.SGD(layers[0].parameters(), lr=0.1)
    with watch(model, optimizer, run_dir=tmp_path, every=1) as w:
        train(model, optimizer, 2, w)
        optimizer.add_param_group({"params": list(layers[2].parameters())})
        train(model, optimizer, 2, w)
        assert w.step == 4


def test_a_probe_that_starts_to_fail_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, run_dir=tmp_path, every=1, inputs=digits_batch(0)[0], max_share=1.0) as w:
        monkeypatch.setattr(sampling, "run_trace", lambda *_: 1 / 0)
        with pytest.warns(UserWarning, match="probe forward failed at step 2"):
            train(model, optimizer, 6, w)
    assert RunStore.open(tmp_path).series("weight_norm", "0.weight")[0] == [1, 2, 3, 4, 5, 6]


def test_dear_forwards_thin_themselves_out(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, run_dir=tmp_path, every=1, inputs=digits_batch(0)[0], max_share=1e-6) as w:
        train(model, optimizer, 33, w)
    assert RunStore.open(tmp_path).series("logit_max")[0] == [0, 2, 4, 8, 16, 32]


def test_overhead_is_told(tmp_path: Path) -> None:
    model = gpt()
    optimizer = torch.optim.AdamW(model.parameters())
    with watch(model, optimizer, run_dir=tmp_path, inputs=text_batch(0)[0]) as w:
        train(model, optimizer, 41, w)
        told = w.overhead
    assert isinstance(w, Watch)
    assert 0 < told["seconds"] < 5
    assert 0 < told["share"] < 1
    assert RunStore.open(tmp_path).meta["overhead"]["seconds"] >= told["seconds"]  # pyright: ignore
