"""Options that the laws' test values leave at their defaults: each equals the oracle too, and changes something."""

import pytest
import torch

from equipoise.core.optimizer import Optimizer
from laws.subjects import as_numpy, chain_of, start, train
from laws.test_oracle import run_oracle
from laws.tolerances import EQUAL

OPTIONS = [
    ("cautious_lion", {"form": "mean"}),
    ("fadam", {"eps_rule": "scaled"}),
    ("fadam", {"eps_rule": "scaled", "power": 0.5, "most": 1.0}),
    ("adan", {"place": "before"}),
    ("mars", {"base": "lion"}),
    ("mars", {"base": "shampoo", "precision": "parameter"}),
    ("l2_init", {"coupled": False}),
    ("adam_cpr", {"bound": "inflection", "warm_steps": 1}),
    ("adam_cpr", {"bound": "inflection", "warm_steps": 2}),
    ("adam_hd", {"place": "before"}),
    ("lawn", {"base": "sgd"}),
    ("prodigy", {"guard_warmup": True}),
    ("prodigy", {"bias_correction": False, "beta3": 0.5, "growth": float("inf")}),
    ("dadapt_adam", {"bias_correction": False}),
    ("dadapt_adam", {"growth": float("inf")}),
    ("dog", {"scope": "tensor"}),
    ("galore", {"low_rank": False}),
]


def stepped(name, **changes):
    parameters = start()
    train(Optimizer(parameters, chain_of(name, **changes)), parameters, 12)
    return parameters


@pytest.mark.parametrize(("name", "changes"), OPTIONS)
def test_option_equals_the_oracle(name, changes):
    ours = as_numpy(stepped(name, **changes))
    for p, wanted in zip(ours, run_oracle(name, start(), **changes), strict=True):
        assert abs(p - wanted).max(initial=0) < EQUAL[torch.float64]


@pytest.mark.parametrize(("name", "changes"), OPTIONS)
def test_option_changes_something(name, changes):
    assert not torch.allclose(stepped(name, **changes)[1], stepped(name)[1], atol=1e-6)
