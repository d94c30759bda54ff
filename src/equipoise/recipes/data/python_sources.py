"""The Python standard library's own sources: about 11 MB of real code that is on every machine. Licence: PSF-2.0."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from equipoise._errors import DataError
from equipoise.recipes.data.documents import Documents, split_by_document
from equipoise.recipes.data.location import given_folder, missing

SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def python_files(root: Path) -> list[Path]:
    """All .py files below root, sorted by relative path, without tests and installed packages."""
    found = []
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if n not in SKIPPED and not n.startswith("config-")]
        found += [Path(folder, f) for f in files if f.endswith(".py")]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def load_python_sources(directory: str | None = None) -> Documents:
    """Every source file of the standard library (or of `directory`), split by file; the same files, the same bytes."""
    folder = given_folder("python", directory)
    root = folder if folder is not None else Path(sysconfig.get_paths()["stdlib"])
    files = python_files(root)
    if not files:
        raise DataError(missing("python", "apt-get install libpython3-stdlib"))
    return split_by_document(_texts(root, files), source="python")


def _texts(root: Path, files: list[Path]) -> Iterator[tuple[str, bytes]]:
    return ((path.relative_to(root).as_posix(), path.read_bytes()) for path in files)
