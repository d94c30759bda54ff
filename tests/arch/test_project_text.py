"""The project's text fits any machine: no registry's address, no path of somebody's computer."""

from __future__ import annotations

import re
from pathlib import Path

from arch.source_tree import tracked_files

TEXT = {".py", ".md", ".toml", ".cff", ".yml", ".yaml", ".txt", ".html", ".j2", ".css", ".js", ".cfg", ""}
# Written in pieces, so that this file does not name what it forbids.
HOSTS = [
    "pypi" + ".org",
    "python" + "hosted",
    "download." + "pytorch",
    "npmjs" + ".org",
    "--index" + "-url",
    "--find" + "-links",
]
PATHS = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + r"me/\w", "/opt" + "/py", "/opt" + "/wheels", "C:" + r"\\Users"]
FORBIDDEN = re.compile("|".join([*map(re.escape, HOSTS), *PATHS]))


def _offences(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="ignore")
    return [f"{path.name}: {line.strip()[:100]}" for line in text.splitlines() if FORBIDDEN.search(line)]


def test_no_registry_and_no_machine_is_named() -> None:
    found = [line for path in tracked_files() if path.suffix in TEXT for line in _offences(path)]
    assert not found


def test_the_check_is_able_to_fail(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"see {HOSTS[0]}\nin /wo" + "rk/main\nclean\n", encoding="utf-8")
    assert len(_offences(tmp_path / "a.md")) == 2
