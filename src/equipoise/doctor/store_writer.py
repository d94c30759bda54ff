"""The writing end of a run store: buffers points, commits them in batches.

A flush is one transaction. It happens after `FLUSH_ROWS` rows, and at the latest `FLUSH_SECONDS` after the oldest
buffered row, by a daemon timer: also when the training loop is silent for a long time.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

from equipoise._errors import RunError

FLUSH_ROWS = 2000
FLUSH_SECONDS = 2.0


class StoreWriter:
    """Writes one run store. Made by `RunStore.create`. Safe to call from several threads; inert in a forked child."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = connection
        self._pid = os.getpid()
        self._ids: dict[tuple[str, str], int] = {(m, t): i for i, m, t in connection.execute("SELECT * FROM series")}
        self._names: list[tuple[int, str, str]] = []
        self._points: list[tuple[int, int, float]] = []
        self._events: list[tuple[int, str, str]] = []
        self._meta: dict[str, str] = {}
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._failure: RunError | None = None

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return self.path.parent

    def write(self, step: int, metric: str, value: float, tensor: str = "") -> None:
        """Record one point. NaN and infinities are kept; a point written again replaces the old one."""
        with self._lock:
            self._points.append((self._series(metric, tensor), int(step), float(value)))
            self._touched()

    def write_many(self, step: int, rows: Iterable[tuple[str, str, float]]) -> None:
        """Record points of one step: (metric, tensor, value)."""
        with self._lock:
            self._points.extend((self._series(metric, tensor), int(step), float(v)) for metric, tensor, v in rows)
            self._touched()

    def event(self, step: int, kind: str, text: str) -> None:
        """Record something that happened: kind is a word (note, exception, finished ...)."""
        with self._lock:
            self._events.append((int(step), kind, text))
            self._touched()

    def set_meta(self, key: str, value: object) -> None:
        """Set one fact of the run (JSON value)."""
        self.set_many_meta({key: value})

    def set_many_meta(self, meta: dict[str, object]) -> None:
        """Set facts of the run (JSON values)."""
        with self._lock:
            self._meta.update({key: json.dumps(value) for key, value in meta.items()})
            self._touched()

    def truncate_after(self, step: int) -> None:
        """Drop every point and event past `step`: for a run that resumes from an older checkpoint."""
        with self._lock:
            self.flush()
            assert self._connection is not None
            with self._connection:
                self._connection.execute("DELETE FROM point WHERE step > ?", (step,))
                self._connection.execute("DELETE FROM event WHERE step > ?", (step,))

    def _series(self, metric: str, tensor: str) -> int:
        key = (metric, tensor)
        if key not in self._ids:
            self._ids[key] = len(self._ids) + 1
            self._names.append((self._ids[key], metric, tensor))
        return self._ids[key]

    def _touched(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if len(self._points) >= FLUSH_ROWS:
            self.flush()
        elif self._timer is None and self._connection is not None and os.getpid() == self._pid:
            self._timer = threading.Timer(FLUSH_SECONDS, self._flush_late)
            self._timer.daemon = True
            self._timer.start()

    def _flush_late(self) -> None:
        try:
            self.flush()
        except RunError as error:  # raised to the training thread at its next call
            self._failure = error

    def flush(self) -> None:
        """Commit everything buffered, in one transaction. Raises RunError when the disk refuses."""
        with self._lock:
            self._stop_timer()
            if os.getpid() != self._pid:
                return  # a forked data-loader worker holds a copy of this object; the file belongs to the parent
            if self._connection is None:
                raise RunError(f"run store {str(self.path)!r} is closed for writing.")
            try:
                with self._connection:
                    self._commit(self._connection)
            except sqlite3.Error as error:
                raise RunError(f"cannot write run store {str(self.path)!r} ({error}). Is the disk full?") from error
            self._names, self._points, self._events, self._meta = [], [], [], {}

    def _commit(self, connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT INTO series VALUES (?, ?, ?)", self._names)
        connection.executemany("INSERT OR REPLACE INTO point VALUES (?, ?, ?)", self._points)
        connection.executemany("INSERT INTO event (step, kind, text) VALUES (?, ?, ?)", self._events)
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(self._meta.items()))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Flush and close; a second call does nothing."""
        with self._lock:
            if self._connection is None or os.getpid() != self._pid:
                return
            try:
                self.flush()
            finally:
                self._connection.close()
                self._connection = None
