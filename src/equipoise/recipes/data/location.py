"""Where a data source is looked for: an argument, then the environment variable EQUIPOISE_DATA, then a package."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from equipoise._errors import DataError

VARIABLE = "EQUIPOISE_DATA"


def given_folder(source: str, directory: str | Path | None) -> Path | None:
    """The folder the user named for this source, by argument or by `EQUIPOISE_DATA/<source>`; None when neither.

    Raises DataError when a named folder does not exist.
    """
    if directory is not None:
        folder = Path(directory).expanduser()
        if not folder.is_dir():
            raise DataError(f"data folder for {source!r}: {str(folder)!r} is not a folder. Give an existing one.")
        return folder
    root = os.environ.get(VARIABLE)
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise DataError(f"{VARIABLE}={root!r} is not a folder. Unset the variable or give an existing folder.")
    folder = Path(root).expanduser() / source
    return folder if folder.is_dir() else None


def given_file(source: str, directory: str | Path | None, name: str) -> Path | None:
    """The file `name` in the user's folder for this source; None when no folder was named. DataError when absent."""
    folder = given_folder(source, directory)
    if folder is None:
        return None
    if not (folder / name).is_file():
        raise DataError(f"data source {source!r}: no file {name!r} in {str(folder)!r}. Put it there.")
    return folder / name


def package_file(source: str, package: str, *parts: str, install: str) -> Path:
    """A data file inside an installed package, found without importing it. DataError names the install line."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder, *parts)
        if path.is_file():
            return path
    raise DataError(missing(source, install))


def missing(source: str, install: str) -> str:
    """The message for a source that is nowhere on this machine."""
    return f"data source {source!r} is not on this machine. Run: {install}   (or put it in ${VARIABLE}/{source})"
