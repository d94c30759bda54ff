"""A headless Chromium for the tests of the page: it opens a file and tells the DOM and everything on its console."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CONSOLE = re.compile(r":CONSOLE[:(\]].*")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", "--dump-dom",
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A page after its scripts have run: the DOM as HTML text, and the console's lines."""

    dom: str
    console: list[str]

    @property
    def charts(self) -> str:
        """What the page says of its charts: `drawn`, `failed` or nothing yet."""
        found = re.search(r'<html[^>]*\bdata-charts="(\w+)"', self.dom)
        return found.group(1) if found else ""


@dataclass(frozen=True)
class Browser:
    """Opens pages, each in a profile of its own."""

    program: str
    folder: Path

    def open(self, page: Path, *flags: str, width: int = 1280) -> Opened:
        """Open a page and wait (in virtual time) until nothing is left to do."""
        profile = self.folder / f"profile-{len(list(self.folder.iterdir()))}"
        profile.mkdir()
        where = (f"--user-data-dir={profile}", f"--window-size={width},2000", "--virtual-time-budget=30000")
        command = [self.program, *FLAGS, *where, *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return Opened(done.stdout, CONSOLE.findall(done.stderr))


@pytest.fixture
def browser(require: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(require("chromium"), tmp_path_factory.mktemp("browser"))
