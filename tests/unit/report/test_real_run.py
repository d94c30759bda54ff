"""A page about a real run: an MLP on digits, trained with torch's Adam and its coupled decay, recorded by the watch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from equipoise.doctor.watch import watch
from equipoise.report import write_report

STEPS = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(digits)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=0.1)
    folder = tmp_path_factory.mktemp("real") / "digits"
    watched = watch(model, optimizer, run_dir=folder, every=5, inputs=x[:64], total_steps=STEPS, label="digits, Adam")
    with watched as w:
        for _ in range(STEPS):
            batch = torch.randint(0, 1500, (64,))
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.log(loss=loss)
        w.note("trained on 1500 digits")
    return folder


def test_the_page_tells_the_real_runs_story(run: Path, tmp_path: Path) -> None:
    text = write_report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Could not be diagnosed" not in text
    assert "Weight decay is coupled into an adaptive gradient" in text
    for chart in ("loss", "lr", "weight_norm-0", "update_ratio-0", "decay_share-0", "logit_range"):
        assert f'id="chart-{chart}"' in text
    for words in (
        "trained on 1500 digits",
        "Not recorded: val loss",
        "attention entropy",
        "watch overhead",
        "60 steps",
    ):
        assert words in text
