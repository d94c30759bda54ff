"""Keys of param groups: slips are warned of, keys of the user's own and of schedulers are not."""

import warnings

import pytest
import torch
from torch import nn

import equipoise as ep


def groups(**keys):
    return [{"params": [nn.Parameter(torch.ones(3, 3))]}, {"params": [nn.Parameter(torch.ones(2, 2))], **keys}]


@pytest.mark.parametrize(
    ("kind", "slip", "meant"),
    [("AdamW", "weight_deacy", "weight_decay"), ("LAMB", "bettas", "betas"), ("SGD", "momentun", "momentum")],
)
def test_a_slip_is_named_with_what_was_meant(kind, slip, meant):
    with pytest.warns(UserWarning, match=f"{slip!r} = 0.5 is read by nobody. Did you mean {meant!r}"):
        getattr(ep.optim, kind)(groups(**{slip: 0.5}), lr=0.1)


@pytest.mark.parametrize("key", ["name", "lr_scale", "layer", "initial_lr", "max_lr", "weight_decay", "matrix_view"])
def test_other_keys_are_left_alone(key):
    value = "rows" if key == "matrix_view" else 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = ep.optim.AdamW(groups(**{key: value}), lr=0.1)
    assert optimizer.param_groups[1][key] == value


def test_rules_by_role_are_read_the_same_way():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    with pytest.warns(UserWarning, match="Did you mean 'weight_decay'"):
        ep.optim.AdamW(model, rules={"norm_gain": {"weight_deacy": 0.0}, "rest": {}}, verbose=False)
