"""Thresholds: the value that sorting would give, over several passes, pieces, processes and runs of tensors."""

import pytest
import torch

import equipoise as ep
from equipoise.core import again, threshold
from equipoise.core.entry import RunnerChoice
from equipoise.core.threshold import kept
from laws.subjects import SHAPES, start, train

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def numbers(dtype, *, seed=0):
    """Numbers of both signs and many sizes, with ties, zeros of both signs and infinities."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(3000, generator=generator, dtype=torch.float64) * 10 ** torch.linspace(-6, 4, 3000)
    special = torch.tensor([0.0, -0.0, 1.0, 1.0, 1.0, -1.0, torch.inf, -torch.inf])
    return [
        drawn[:2000].view(40, 50).mT.to(dtype),
        drawn[2000:].to(dtype),
        special.to(dtype),
        torch.empty(0, dtype=dtype),
    ]


def sorted_out(values, keep):
    flat = torch.cat([value.flatten() for value in values])
    return flat.sort(descending=True).values[kept(flat.numel(), keep) - 1]


@pytest.mark.parametrize("keep", [1e-9, 0.01, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_what_sorting_gives(dtype, keep):
    values = numbers(dtype)
    found = threshold.threshold(lambda: values, keep, dtype)
    assert found.dtype == dtype
    assert found == sorted_out(values, keep)


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_it_is_that_of_all_processes(keep):
    """Each counts its own; one that has nothing takes part."""
    shares = [numbers(torch.float64, seed=1), [], numbers(torch.float64, seed=2)]
    waiting = []

    def counted(mine, counts):
        counts = counts.clone()
        low = waiting[-1]
        return counts + sum(threshold._histogram(v, *low) for v in shares if v is not mine)

    real = threshold._histogram

    def noted(values, *where):
        waiting.append(where)
        return real(values, *where)

    for mine in shares:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threshold, "_histogram", noted)
            found = threshold.threshold(lambda own=mine: own, keep, torch.float64, lambda c, own=mine: counted(own, c))
        assert found == sorted_out(shares[0] + shares[2], keep)


def in_file_order(bits):
    return bits.clone()


def one_digit_too_few(values, kind, shift, low):
    return real_histogram(values, kind, max(shift, 16), low if shift else low >> 16)


real_histogram = threshold._histogram
FAULTS = {
    "bits are taken as they are": ("_ordered", in_file_order),
    "the last digit is lost": ("_histogram", one_digit_too_few),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault, monkeypatch):
    values = numbers(torch.float32)
    monkeypatch.setattr(threshold, *FAULTS[fault])
    wrong = [threshold.threshold(lambda: values, keep, torch.float32) for keep in (0.3, 0.6, 0.9)]
    assert wrong != [sorted_out(values, keep) for keep in (0.3, 0.6, 0.9)]


def masked(runner, monkeypatch, at_once):
    """Steps of a chain that sums over all parameters before it chooses among their entries."""
    monkeypatch.setattr(again, "_AT_ONCE", at_once)
    chain = ep.chain(
        ep.stages.clip_global(), ep.stages.mask_top(), ep.stages.ema(), ep.stages.apply(),
        hyper={"lr": 0.1, "keep": 0.3, "max_norm": 0.5, "betas": (0.9, 0.99)},
    )  # fmt: skip
    parameters = start([*SHAPES, (30, 20), (9, 40)])
    optimizer = ep.Optimizer(parameters, chain, verbose=False)
    optimizer._choice = runner
    train(optimizer, parameters, 4)
    return parameters


@pytest.mark.parametrize("at_once", [1, 700, 1 << 20])
@pytest.mark.parametrize("length", [1, 3])
def test_runs_of_tensors_give_what_all_at_once_give(at_once, length, monkeypatch):
    lists = masked(RunnerChoice("fused", "test", length=length, backend="aot_eager"), monkeypatch, at_once)
    plain = masked(RunnerChoice("reference", "test"), monkeypatch, at_once)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=0) for a, b in zip(lists, plain, strict=True))


@pytest.mark.compile
@pytest.mark.parametrize("at_once", [1, 700])
def test_compiled_runs_do_too(at_once, monkeypatch, require):
    """The phase that chooses is the second, which runs from the last tensor to the first."""
    require("compiler")
    driven = masked(RunnerChoice("fused", "test"), monkeypatch, at_once)
    plain = masked(RunnerChoice("reference", "test"), monkeypatch, at_once)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=0) for a, b in zip(driven, plain, strict=True))


def test_runs_hold_whole_lists_and_every_tensor_once():
    sizes = [300_000, 900_000, 5, 2_000_000, 7, 8, 9, 600_000]
    for length in (1, 3, 8):
        runs = again.runs_of(sizes, length)
        assert [i for run in runs for i in run] == [*range(len(sizes))]
        assert all(run.start % length == 0 for run in runs)
    assert again.runs_of(sizes, 1) == [range(1), range(1, 3), range(3, 4), range(4, 8)]
