"""Writing a file so that a reader, or a crash at any moment, sees the old content or the new, never a part."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from equipoise._errors import RunError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, force it to the disk, and move it there in one step.

    Raises RunError when the disk refuses; what stood at `path` before still stands.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"cannot write {str(path)!r} ({error}). Is the disk full, or the folder read-only?") from error
    finally:
        with suppress(OSError):  # of a folder that is none, say, which has been reported
            partial.unlink()


def sync_folder(folder: Path) -> None:
    """Make the move itself last through a power cut, where folders can be synced (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
