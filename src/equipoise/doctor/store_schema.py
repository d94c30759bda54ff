"""The run store on disk: tables, schema version, and how a file is opened, checked and created.

One SQLite file per run, in WAL mode: readers never block the writer, and a process killed at any moment leaves a file
that opens at its last commit. Names are interned (`series`), so that a point costs three numbers. SQLite has no NaN: a
NULL value is NaN; infinities are stored as they are.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from pathlib import Path

from equipoise._errors import RunError, near

FILE_NAME = "store.sqlite"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x65717073  # "eqps": tells a run store from any other SQLite file

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE series (id INTEGER PRIMARY KEY, metric TEXT NOT NULL, tensor TEXT NOT NULL, UNIQUE (metric, tensor));
CREATE TABLE point (series INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, PRIMARY KEY (series, step))
    WITHOUT ROWID;
CREATE TABLE event (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
"""


def store_path(run_dir: str | Path) -> Path:
    """The store file of a run folder; a path to the file itself is taken as it is."""
    path = Path(run_dir)
    return path if path.name == FILE_NAME else path / FILE_NAME


def damaged(path: Path, error: sqlite3.Error) -> RunError:
    """The error for a store that SQLite cannot read."""
    return RunError(
        f"run store {str(path)!r} is damaged or truncated ({error}). Copy the whole run folder again, with the -wal "
        f"file beside it, or save what is left with: sqlite3 {path} .recover"
    )


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A read-only connection to an existing store of a known schema. Raises RunError."""
    if not path.is_file():
        raise _missing(path)
    try:
        connection = _connect_read_only(path)
    except sqlite3.Error as error:
        raise damaged(path, error) from error
    try:
        _check_schema(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if Path(f"{path}-wal").exists():
            raise
        # A read-only folder cannot hold the -shm file; without a -wal the file is complete and may be read as it is.
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True, check_same_thread=False)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise damaged(path, error) from error
    if application != APPLICATION_ID:
        raise RunError(
            f"{str(path)!r} is not an equipoise run store (or it is empty). Give the folder of a watched run."
        )
    if version > SCHEMA_VERSION:
        raise RunError(
            f"run store {str(path)!r} has schema {version}; this equipoise reads up to {SCHEMA_VERSION}. "
            "Upgrade it: pip install -U equipoise"
        )


def _missing(path: Path) -> RunError:
    folder = path.parent
    siblings = folder.parent.glob(f"*/{FILE_NAME}") if folder.parent.is_dir() else []
    names = [p.parent.name for p in siblings]
    hint = near(folder.name, names) if names else "Record one with: equipoise.watch(model, optimizer, run_dir=...)"
    return RunError(f"no run at {str(folder)!r}: it holds no {FILE_NAME}. {hint}")


def create_file(path: Path, meta: dict[str, object]) -> None:
    """Create a complete, empty store under its final name in one atomic step."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=".store-", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        _fill(scratch, meta)
        Path(scratch).replace(path)
    except (OSError, sqlite3.Error) as error:
        Path(scratch).unlink(missing_ok=True)
        raise unwritable(path, error) from error


def _fill(scratch: str, meta: dict[str, object]) -> None:
    connection = sqlite3.connect(scratch)
    try:
        connection.executescript(
            f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}; {TABLES}"
        )
        rows = [(key, json.dumps(value)) for key, value in {"schema_version": SCHEMA_VERSION, **meta}.items()]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        connection.commit()
    finally:
        connection.close()


def unwritable(path: Path, error: Exception) -> RunError:
    """The error for a run folder that cannot be written."""
    return RunError(f"cannot write run folder {str(path.parent)!r} ({error}). Give a run_dir= that you may write to.")


def remove_file(path: Path) -> None:
    """Delete a store. The main file goes first: a -wal left behind must never meet a new file."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode to an existing store of the current schema. Raises RunError."""
    open_for_reading(path).close()
    try:
        connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # survives kill -9; a power cut may cost the last commits only
    except sqlite3.Error as error:
        raise unwritable(path, error) from error
    return connection
