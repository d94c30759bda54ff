"""Chains of single stages that no ready optimizer has give on parts of parameters what they give on whole ones.

`make test` runs few steps on rows, columns and mixtures by the reference runner; `make test-all` twenty steps by all
runners, and on four processes.
"""

from __future__ import annotations

import pytest
import torch

from dist.processes import run
from dist.sharded_stages import CHAINS
from laws.tolerances import EQUAL

pytestmark = pytest.mark.dist

NAMES = list(CHAINS)
TWO, FOUR = ("rows", "columns", "mixed"), ("rows", "hsdp", "both", "strided", "submesh")
LIMIT = 600
BOUND = EQUAL[torch.float64]


def job(layout: str, runner: str = "reference", names: list[str] = NAMES, steps: int = 20, **more: object) -> dict:
    return {"layout": layout, "runner": runner, "names": names, "steps": steps, **more}


def assert_equal(world: int, jobs: list[dict], limit: float = LIMIT) -> None:
    for found in run("sharded_stages.py", world, jobs, limit=limit):
        assert len(found) == sum(len(one["names"]) for one in jobs)
        far = [f"{o['name']} ({o['layout']}, {o['runner']}): {o['error']}" for o in found if not o["error"] <= BOUND]
        assert not far, "\n".join(far)
        assert all(one["moved"] > 1e-3 for one in found), "weights that do not move are stepped by anything"


def test_every_stage_on_two_processes() -> None:
    assert_equal(2, [job(layout, steps=3) for layout in TWO])


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["reference", "blocked", "fused"])
@pytest.mark.parametrize(("world", "layouts"), [(2, TWO), (4, FOUR)])
def test_twenty_steps(world: int, layouts: tuple[str, ...], runner: str) -> None:
    assert_equal(world, [job(layout, runner) for layout in layouts], 3600)


SUMMED = [
    "clip_global", "gradient_distance", "gradient_distance of tensors", "squash", "spheres", "unit_length",
    "d_adaptation",
]  # fmt: skip
BY_ROW = ["cap_rows", "spheres of rows", "tangents of rows", "unit_length of rows"]
OF_MATRICES = ["keep_pattern", "spectral_hard", "orthogonalize by svd", "low_rank_adam", "normalize_columns"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "layout", "names"),
    [("nobody sums", "rows", SUMMED), ("nobody sums", "columns", BY_ROW), ("rows turned", "rows", OF_MATRICES)],
)
def test_faults_are_seen(fault: str, layout: str, names: list[str]) -> None:
    found, _ = run("sharded_stages.py", 2, [job(layout, names=names, fault=fault)], limit=LIMIT)
    assert [one["name"] for one in found if not one["error"] > 10 * BOUND] == []
