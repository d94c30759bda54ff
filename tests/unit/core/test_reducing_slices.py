"""Chains that reduce, slice by slice: sums of slices make the sum of a tensor, and nothing is written too early."""

import pytest
import torch

import equipoise as ep
from equipoise.core import lockstep, program, run_blocked
from equipoise.core.chain import complete
from equipoise.core.optimizer import Optimizer
from equipoise.core.places import Places
from equipoise.core.program import program_for
from equipoise.core.trace import Layout
from laws.subjects import chain_of, start, train

# Longer than a slice, of several sizes; small ones alike, which are stacked, and one by itself.
SHAPES = [(31, 7), (6, 50), (200,), (5,), (5,), (3, 2, 2), (3, 2, 2), (4,)]
KINDS = ["lamb", "adamp", "adams", "ranger21", "lawn", "stable_spam", "prodigy", "fadam", "agc_sgd", "novograd"]
SLICE = 40


@pytest.fixture
def short_slices(monkeypatch):
    monkeypatch.setattr(run_blocked, "BLOCK", SLICE)
    monkeypatch.setattr(program, "_PROGRAMS", {})


def difference(name, steps=4):
    ends = []
    for runner in ("blocked", "reference"):
        parameters = start(SHAPES)
        optimizer = Optimizer(parameters, chain_of(name), runner=runner)
        train(optimizer, parameters, steps)
        state = [t for p in parameters for t in optimizer.state[p].values()]
        ends.append([*(p.detach() for p in parameters), *state])
        if runner == "blocked":
            assert not optimizer._stepper.last.reference
    return max(((a - b).abs() / b.abs().clamp_min(1)).max().item() for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_sums_of_slices_make_the_sum_of_a_tensor(name, short_slices):
    assert difference(name) < 1e-12


def only_the_first_slice(segment, sums, values):
    for (place, _), first in zip(segment.sums, sums[0].tolist() if len(sums) else (), strict=False):
        values[place] = first


fill = run_blocked.Slices._fill


def sizes_of_something_else(self, unit, program, values):
    fill(self, unit, program, values)
    values[self.layout.width : self.layout.width + 2] = [1.0, 1.0]


FAULTS = {
    "sums of other slices are lost": (run_blocked, "_learn", only_the_first_slice),
    "what a later segment reads is not kept": (Places, "_crosses", lambda self, value: False),
    "tensors of a stack are summed together": (run_blocked.Slices, "_alone", False),
    "sizes are those of something else": (run_blocked.Slices, "_fill", sizes_of_something_else),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault, short_slices, monkeypatch):
    owner, name, wrong = FAULTS[fault]
    monkeypatch.setattr(owner, name, wrong)
    assert not max(difference(kind, steps=2) for kind in ("lamb", "fadam")) < 1e-9


def segments_of(chain):
    count = len(complete(chain).kernel_keys())
    layout = Layout(chain, 1, torch.float32, torch.float32, (torch.float32,) * count, torch.device("cpu"))
    made = program_for(layout)
    return made, [segment.run.__self__.code for segment in made.segments]


def test_lamb_is_two_segments_that_hand_on_one_tensor():
    made, (first, second) = segments_of(ep.optim.lamb(lr=1e-3))
    assert first.count("torch.dot(") == 2, "squares are summed without being computed"
    assert "torch.sum(" not in first
    assert second.count(" = torch.") == 1, "the ratio is a number of the host, and goes in with the learning rate"
    assert len(made.kept) == 1
    assert len(made.scratch) <= 3


def test_squares_over_a_tensor_need_no_memory():
    made, (first, _) = segments_of(ep.optim.novograd(lr=1e-3))
    assert first.count(" = torch.") == 1
    assert not made.kept


@pytest.mark.parametrize("runner", ["blocked", "reference"])
def test_without_an_answer_nothing_is_written(runner, short_slices, monkeypatch):
    """AdamS waits for a mean over all parameters."""
    parameters = start(SHAPES)
    optimizer = Optimizer(parameters, chain_of("adams"), runner=runner)
    train(optimizer, parameters, 2)
    state = [t for p in parameters for key, t in optimizer.state[p].items() if key != "step"]
    before = [t.detach().clone() for t in (*parameters, *state)]

    def broken(waits, elsewhere):
        raise RuntimeError("no answer")

    monkeypatch.setattr(lockstep, "answers", broken)
    with pytest.raises(RuntimeError, match="no answer"):
        train(optimizer, parameters, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, (*parameters, *state), strict=True))


def test_small_tensors_of_one_size_are_stacked():
    parameters = start(SHAPES)
    optimizer = Optimizer(parameters, chain_of("lamb"), runner="blocked")
    train(optimizer, parameters, 1)
    (batch,) = optimizer._stepper.last.batches
    stacked = sorted(unit.members for unit in batch.engine.units if unit.stacked)
    assert stacked == [[3, 4], [5, 6]]


@pytest.mark.parametrize("name", ["muon", "gsm", "shampoo"])
def test_matrices_and_thresholds_are_stepped_phase_by_phase_as_traced(name):
    parameters = start([(6, 4), (6, 4), (5, 3)])
    optimizer = Optimizer(parameters, chain_of(name), runner="blocked")
    train(optimizer, parameters, 1)
    plan = optimizer._stepper.last
    assert {batch.engine.backend for batch in plan.batches} == {"eager"}
    assert not plan.reference
    assert "reference" not in optimizer.plan()
