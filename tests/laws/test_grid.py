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
        ["grad", "before", "after", "prox"], ["zero", "init"], ["l2", "l1"],
        ["lr", "independent", "normalized"], ["all", "cautious"],
    )
)  # fmt: skip
REFUSED = [c for c in CELLS if c[0] == "grad" and (c[3] != "lr" or c[4] != "all")]


def grid(cell):
    return dict(zip(("place", "target", "metric", "law", "mask"), cell, strict=True))


@pytest.mark.parametrize("cell", [c for c in CELLS if c not in REFUSED], ids="-".join)
def test_cell_equals_the_oracle(cell):
    lr, decay, period, peak = 0.1, 0.3, 9, 0.4
    shrink = ep.decay.shrink(**grid(cell))
    items = [shrink, ep.stages.apply()] if cell[0] in ("grad", "before") else [ep.stages.apply(), shrink]
    hyper = {"lr": lr, "weight_decay": decay, "period": period, "peak_lr": peak}
    parameters = start([(5, 3), (7,)])
    grads = [as_numpy(gradients(parameters, step)) for step in range(5)]
    wanted = [
        run(p, [g[i] for g in grads], lr=lr, weight_decay=decay, period=period, peak_lr=peak, **grid(cell))
        for i, p in enumerate(as_numpy(parameters))
    ]
    optimizer = ep.Optimizer(parameters, ep.chain(*items, hyper=hyper), peak_lr=peak)
    train(optimizer, parameters, 5)
    for p, w in zip(as_numpy(parameters), wanted, strict=True):
        assert abs(p - w).max() < EQUAL[torch.float64]


@pytest.mark.parametrize("cell", REFUSED, ids="-".join)
def test_cells_that_mean_nothing_are_refused(cell):
    with pytest.raises(ArgumentError, match="place 'grad'"):
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
