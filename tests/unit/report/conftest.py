"""Made-up runs, written once and only read by the tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from web.made_runs import make_comparison, make_run


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("one") / "run-a")


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_comparison(tmp_path_factory.mktemp("compared"))
