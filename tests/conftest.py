"""What every test shares: parts of the machine that may be missing, and a quiet, repeatable torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _fashion_mnist() -> str | None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    return str(folder) if any(folder.glob("train-images*")) else None


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)


def _package(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        spec = importlib.util.find_spec(name)
        return None if spec is None else spec.origin

    return find


# part -> (how to find it, what to install)
PARTS: dict[str, tuple[Callable[[], str | None], str]] = {
    "chromium": (_chromium, "a Chromium or Chrome on PATH (Debian: apt-get install chromium)"),
    "fashion-mnist": (_fashion_mnist, "the Fashion-MNIST files (Debian: apt-get install dataset-fashion-mnist)"),
    "timm": (_package("timm"), "timm, which the extra `test` names"),
    "transformers": (_package("transformers"), "transformers, which the extra `test` names"),
    "compiler": (_compiler, "a C++ compiler (Debian: apt-get install g++)"),
}


def find_part(part: str) -> str:
    """The place of a part of this machine, or a skip that says what is missing."""
    finder, cure = PARTS[part]
    found = finder()
    return found or pytest.skip(f"{part} is not on this machine; install {cure}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under EQUIPOISE_REQUIRE=all nothing is skipped: what is missing is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("EQUIPOISE_REQUIRE") == "all":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and EQUIPOISE_REQUIRE=all: {call.excinfo and call.excinfo.value}"
    return report


@pytest.fixture
def require() -> Callable[[str], str]:
    """Call `require("chromium")` in a test that needs that part; it returns where the part is."""
    return find_part


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Two workers share two cores; more threads only wait for each other, and sums would depend on their number."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state, whichever tests ran before it."""
    import random

    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # for libraries that draw from the global state
    torch.manual_seed(0)


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of compiled code of the test's own, empty."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _patched_code_is_not_kept(request: pytest.FixtureRequest) -> None:
    """What a test compiles with parts exchanged must not be found by later processes, as if it were the package's."""
    if "monkeypatch" in request.fixturenames and "own_cache" not in request.fixturenames:
        from equipoise.core import kept

        request.getfixturevalue("monkeypatch").setattr(kept, "_place", lambda question: None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT
