"""Matrices of one shape are stepped a few tensors at a time, and stages of one chain do not share memory."""

import pytest
import torch

import equipoise as ep
from equipoise.core.stacks import parted
from laws.subjects import start, train


@pytest.mark.parametrize(
    ("sizes", "largest", "lengths"),
    [
        ([], 0, []),
        ([4] * 12, 48, [12]),  # small: at once
        ([1 << 18] * 12, 12 << 18, [3, 3, 3, 3]),  # a quarter at a time
        ([1 << 18] * 12, 96 << 18, [6, 6]),  # beside larger ones, as much as stays in cache
        ([1 << 18] * 3, 3 << 18, [1, 1, 1]),
        ([1 << 24] * 2, 1 << 25, [1, 1]),  # none is cut
        ([1 << 24], 1 << 24, [1]),
        ([0, 0], 0, [2]),
    ],
)
def test_parts_cover_everything_in_order(sizes, largest, lengths):
    runs = parted(sizes, largest)
    assert [len(run) for run in runs] == lengths
    assert [k for run in runs for k in run] == list(range(len(sizes)))


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize(
    ("kind", "words"),
    [("SPECTRA", {"gradient_clip": 0.1, "clip": 0.2}), ("NorMuon", {"precision": "parameter"}), ("Dion", {})],
)
def test_stacks_of_two_stages_are_kept_apart(kind, words, require):
    """Large enough that results lie where their input lay. SPECTRA's last phase needs what both of its stages gave."""
    require("compiler")
    outcomes = []
    for runner in ("reference", "fused"):
        parameters = start([(300, 400)] * 7)
        train(getattr(ep.optim, kind)(parameters, lr=0.1, runner=runner, **words), parameters, 4)
        outcomes.append(torch.cat([p.detach().flatten() for p in parameters]))
    assert torch.allclose(*outcomes, rtol=0, atol=1e-9)
