"""What a step needs beside parameters, gradients and state is no more than the largest group of one shape."""

import gc

import pytest
import torch
from torch import nn

import equipoise as ep

# As in a transformer: the largest group is that of the feed-forward layers, four times as long as wide.
SHAPES = [(256, 1024)] * 12 + [(256, 256)] * 12 + [(256,)] * 12
LARGEST = 12 * 256 * 1024 * 4
# Where products of a matrix with itself are as large as the matrix.
SQUARE, ALL_SQUARE = [(512, 512)] * 8 + [(512,)] * 8, 8 * 512 * 512 * 4
# A square of the first one's longer side is larger than the largest group.
TALL, OF_TALL = [(4096, 128), *SHAPES], LARGEST


def beside_state(make, shapes=SHAPES, step=3):
    """Bytes that live at most during a step, of all that was allocated since before the optimizer was made."""
    parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in parameters:
        p.grad = torch.randn_like(p)
    gc.collect()  # what is freed while it is measured counts, whoever made it
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer = make(parameters)
        for _ in range(step - 1):
            optimizer.step()
        gc.collect()
        with torch.profiler.record_function("measured step"):
            optimizer.step()
    state = sum(t.numel() * t.element_size() for own in optimizer.state.values() for t in own.values())
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    return _peak(profile.profiler.kineto_results.events()) - state


def _peak(events):
    (begin,) = (event.start_ns() for event in events if event.name() == "measured step")
    live, most = 0, 0
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live) if event.start_ns() >= begin else most
    return most


def test_slices_keep_a_few_pieces_of_fixed_size():
    assert 0 < beside_state(lambda ps: ep.optim.AdamW(ps, runner="blocked")) < LARGEST


@pytest.mark.parametrize("kind", ["LAMB", "Muon"])
def test_without_a_compiler_chains_that_reduce_keep_the_bound(kind):
    assert beside_state(lambda ps: getattr(ep.optim, kind)(ps, lr=1e-3, runner="blocked")) <= LARGEST


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["AdamP", "AdamS", "Ranger21", "FAdam", "StableSPAM", "MuonH", "Adafactor", "GSM"])
def test_without_a_compiler_others_keep_it_too(kind):
    assert beside_state(lambda ps: getattr(ep.optim, kind)(ps, lr=1e-3, runner="blocked")) <= LARGEST


def test_nor_does_one_large_tensor_cost_several_of_its_size():
    """A threshold over all values is computed anew for every tensor, and of a large one block by block."""
    made = lambda ps: ep.optim.GSM(ps, lr=1e-3, runner="blocked")
    assert beside_state(made, [*SHAPES, (1024, 2048)]) <= LARGEST


def test_the_bound_can_be_missed():
    """The reference runner holds what it computed of every tensor until the last one is ready."""
    assert beside_state(lambda ps: ep.optim.LAMB(ps, lr=1e-3, runner="reference")) > LARGEST


def test_the_measure_sees_temporaries():
    """torch's foreach keeps some of the size of everything."""
    assert beside_state(lambda ps: torch.optim.AdamW(ps, foreach=True)) > LARGEST


ELEMENTWISE = ("AdamW", "LAMB", "AdamP", "AdamS", "Ranger21", "GSM")
MATRIX = (
    "Muon",
    "NorMuon",
    "CautiousMuon",
    "MuonH",
    "LipschitzMuon",
    "SPECTRA",
    "SteepestDescent",
    "Dion",
    "Adafactor",
)
WITH_SIDES = ("SOAP", "Shampoo")


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("kind", [*ELEMENTWISE, *MATRIX, *WITH_SIDES])
def test_a_compiled_step_needs_no_more_than_the_largest_group(kind, require):
    require("compiler")
    assert beside_state(lambda ps: getattr(ep.optim, kind)(ps, lr=1e-3, runner="fused")) <= LARGEST


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("shapes", [SHAPES, SQUARE])
@pytest.mark.parametrize("kind", WITH_SIDES)
def test_nor_does_a_step_that_decomposes(kind, shapes, require):
    """The third step does: besides state it takes at most twice the memory of what it decomposes."""
    require("compiler")
    most = LARGEST if shapes is SHAPES else ALL_SQUARE
    assert (
        beside_state(lambda ps: getattr(ep.optim, kind)(ps, lr=1e-3, runner="fused", refresh_every=2), shapes) <= most
    )


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("runner", ["fused", "blocked"])
@pytest.mark.parametrize("kind", WITH_SIDES)
def test_nor_where_a_side_is_long(kind, runner, step, require):
    """SOAP finds a basis from the shorter side and turns it in place, a few rows at a time; Shampoo cuts the side."""
    require("compiler")
    made = lambda ps: getattr(ep.optim, kind)(ps, lr=1e-3, runner=runner, refresh_every=2)
    assert OF_TALL < 4096 * 4096 * 4
    beside_state(made, TALL, 1)  # what compiling or tracing takes
    assert beside_state(made, TALL, step) <= OF_TALL


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("kind", [*MATRIX, *WITH_SIDES])
def test_neither_do_square_matrices(kind, require):
    require("compiler")
    assert beside_state(lambda ps: getattr(ep.optim, kind)(ps, lr=1e-3, runner="fused"), SQUARE) <= ALL_SQUARE


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("shapes", [SHAPES, SQUARE])
@pytest.mark.parametrize(
    ("kind", "words"),
    [("Muon", {"precision": "parameter"}), ("NorMuon", {"precision": "parameter", "adjust_lr_fn": "update_norm"})]
    + [("LipschitzMuon", {"cap": cap}) for cap in ("hard", "stiefel", "hammer", "normalize", "decay")],
)
def test_nor_do_other_words(kind, words, shapes, require):
    require("compiler")
    most = LARGEST if shapes is SHAPES else ALL_SQUARE
    assert beside_state(lambda ps: getattr(ep.optim, kind)(ps, lr=1e-3, runner="fused", **words), shapes) <= most
