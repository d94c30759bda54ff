"""Law: every cell of the decay grid equals the oracle, which steps coordinate by coordinate."""

import itertools

import pytest
import torch

import equipoise as ep
from equipoise._errors import ArgumentError
from laws.subjects import as_numpy, gradients, start, train
from laws.tolerances import EQUAL
from oracles.decay.shrink import run

CELLS = list(
    itertools.product(
        ["grad", "momentum", "direction", "before", "after", "prox"], ["zero", "init"], ["l2", "l1", "huber"],
        ["lr", "independent", "normalized", "momentum", "corrective"], ["all", "cautious"],
    )
)  # fmt: skip
INSIDE = ("grad", "momentum", "direction")
REFUSED = [c for c in CELLS if (c[0] in INSIDE and c[3] != "lr") or (c[0] in INSIDE[:2] and c[4] != "all")]


def grid(cell):
    delta = {"delta": 0.4} if cell[2] == "huber" else {}  # some weights inside, some outside
    return {**dict(zip(("place", "target", "metric", "law", "mask"), cell, strict=True)), **delta}


@pytest.mark.parametrize("cell", [c for c in CELLS if c not in REFUSED], ids="-".join)
def test_cell_equals_the_oracle(cell):
    lr, peak = 0.1, 0.4
    values = {"weight_decay": 0.3, "period": 9, "momentum": 0.6}
    shrink = ep.decay.shrink(**grid(cell))
    items = [shrink, ep.stages.apply()] if cell[0] in (*INSIDE, "before") else [ep.stages.apply(), shrink]
    hyper = {"lr": lr, "peak_lr": peak, **values}
    parameters = start([(5, 3), (7,)])
    grads = [as_numpy(gradients(parameters, step)) for step in range(5)]
    wanted = [
        run(p, [g[i] for g in grads], lr=lr, peak_lr=peak, **values, **grid(cell))
        for i, p in enumerate(as_numpy(parameters))
    ]
    optimizer = ep.Optimizer(parameters, ep.chain(*items, hyper=hyper), peak_lr=peak)
    train(optimizer, parameters, 5)
    for p, w in zip(as_numpy(parameters), wanted, strict=True):
        assert abs(p - w).max() < EQUAL[torch.float64]


@pytest.mark.parametrize("cell", REFUSED, ids="-".join)
def test_cells_that_mean_nothing_are_refused(cell):
    with pytest.raises(ArgumentError, match=f"place '{cell[0]}'"):
        ep.decay.shrink(**grid(cell))


def test_place_after_differs_from_before_by_eta_c_u():
    outcomes = []
    for place in ("before", "after"):
        (p,) = start([(5, 3)])
        items = [ep.decay.shrink(place=place), ep.stages.apply()]
        chain = ep.chain(*(items if place == "before" else items[::-1]), hyper={"lr": 0.1, "weight_decay": 0.3})
        train(ep.Optimizer([p], chain), [p], 1)
        outcomes.append(p.detach())
    u = gradients([p], 0)[0]
    assert torch.allclose(outcomes[1] - outcomes[0], 0.1 * (0.1 * 0.3) * u, atol=1e-15)


def test_delta_goes_with_huber_only():
    with pytest.raises(ArgumentError, match=r"delta.*huber"):
        ep.decay.shrink(metric="huber")
    with pytest.raises(ArgumentError, match=r"delta.*'l2'"):
        ep.decay.shrink(delta=0.1)


def test_a_huge_delta_is_plain_decay():
    outcomes = []
    for metric in ({"metric": "l2"}, {"metric": "huber", "delta": 100.0}):
        (p,) = start([(5, 3)])
        chain = ep.chain(ep.decay.shrink(**metric), ep.stages.apply(), hyper={"lr": 0.1, "weight_decay": 0.3})
        train(ep.Optimizer([p], chain), [p], 3)
        outcomes.append(p.detach())
    assert torch.allclose(*outcomes, atol=1e-15)


def test_a_stage_that_only_reads_the_coefficient_is_no_decay():
    """LARS has lambda in its ratio besides; the doctor must see one decay, in the gradient."""
    assert [cell["place"] for cell in ep.optim.lars().decay] == ["grad"]
