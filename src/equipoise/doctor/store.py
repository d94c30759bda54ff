"""The run store: one SQLite file per run that holds every measured number, event and fact of the run.

`RunStore.create(run_dir, meta)` gives a `StoreWriter`, `RunStore.open(run_dir)` a `RunStore` to read, also while the
writer lives. Points are buffered and committed in batches, every `FLUSH_ROWS` rows or `FLUSH_SECONDS`: a process killed
at any moment loses at most that.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from equipoise._errors import ArgumentError, RunError
from equipoise.doctor import store_schema as schema
from equipoise.doctor.store_export import write_csv, write_parquet
from equipoise.doctor.store_writer import StoreWriter

Exists = Literal["error", "overwrite", "resume"]
Series = tuple[list[int], list[float]]
_JOIN = "FROM point JOIN series ON id = series"


class RunStore:
    """A run store, open for reading. Every call sees the writer's last commit.

    Example:
        >>> run = RunStore.open("runs/a")  # doctest: +SKIP
        >>> steps, values = run.series("loss")  # doctest: +SKIP
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @staticmethod
    def create(run_dir: str | Path, meta: dict[str, object], *, exists: Exists = "error") -> StoreWriter:
        """Create the store of a run folder (made if absent) and open it for writing.

        Args:
            run_dir: the run's folder.
            meta: JSON-able facts of the run (model, optimizer, seed, ...).
            exists: what to do with a store that is already there: "error", "overwrite" or "resume" (keep its points and
                update its meta).

        Raises:
            RunError: the folder cannot be written, or already holds a run and `exists` is "error".
        """
        if exists not in ("error", "overwrite", "resume"):
            raise ArgumentError("exists", exists, '"error", "overwrite" or "resume"')
        path = schema.store_path(run_dir)
        there = path.exists()
        if there and exists == "error":
            raise RunError(
                f"{str(path.parent)!r} already holds a run. Give another run_dir=, or exists='overwrite' to "
                "replace it, or exists='resume' to go on with it."
            )
        if there and exists == "overwrite":
            schema.remove_file(path)
        if not there or exists == "overwrite":
            schema.create_file(path, meta)
        writer = StoreWriter(path, schema.open_for_writing(path))
        if there and exists == "resume":
            writer.set_many_meta(meta)
        return writer

    @classmethod
    def open(cls, run_dir: str | Path) -> RunStore:
        """Open a run folder's store for reading. Raises RunError: missing, damaged, or of a newer schema."""
        path = schema.store_path(run_dir)
        return cls(path, schema.open_for_reading(path))

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the reader; the file stays as it is."""
        self._connection.close()

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.ProgrammingError as error:
            raise RunError(f"run store {str(self.path)!r} is closed. Open it again with RunStore.open().") from error
        except sqlite3.Error as error:
            raise schema.damaged(self.path, error) from error

    @property
    def meta(self) -> dict[str, object]:
        """Facts of the run as JSON values: model, optimizer, every, versions, recipe, seed, predictions, timescale."""
        return {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM meta ORDER BY key")}

    def metrics(self) -> list[str]:
        """Names of the metrics recorded, in the order of their first point."""
        return [m for (m,) in self._rows("SELECT metric FROM series GROUP BY metric ORDER BY min(id)")]

    def tensors(self, metric: str) -> list[str]:
        """Parameter or module names that have `metric`, in model order; `[""]` for a run-level metric."""
        return [t for (t,) in self._rows("SELECT tensor FROM series WHERE metric = ? ORDER BY id", (metric,))]

    def series(self, metric: str, tensor: str = "") -> Series:
        """Steps (ascending) and values of one curve; two empty lists when there is none."""
        query = f"SELECT step, value {_JOIN} WHERE metric = ? AND tensor = ? ORDER BY step"
        rows = self._rows(query, (metric, tensor))
        return [step for step, _ in rows], [_number(value) for _, value in rows]

    def table(self, metric: str) -> dict[str, Series]:
        """All curves of one metric: tensor -> (steps, values)."""
        found: dict[str, Series] = {name: ([], []) for name in self.tensors(metric)}
        query = f"SELECT tensor, step, value {_JOIN} WHERE metric = ? ORDER BY series, step"
        for tensor, step, value in self._rows(query, (metric,)):
            # A live writer may add a tensor between the two queries.
            steps, values = found.setdefault(tensor, ([], []))
            steps.append(step)
            values.append(_number(value))
        return found

    def last(self, metric: str, tensor: str = "") -> float | None:
        """The newest value of one curve, None when there is none."""
        query = f"SELECT value {_JOIN} WHERE metric = ? AND tensor = ? ORDER BY step DESC LIMIT 1"
        rows = self._rows(query, (metric, tensor))
        return _number(rows[0][0]) if rows else None

    def last_step(self) -> int:
        """The largest step of any point, 0 for an empty run."""
        return self._rows("SELECT coalesce(max(step), 0) FROM point")[0][0]

    def events(self) -> list[tuple[int, str, str]]:
        """Events in the order they were written: (step, kind, text)."""
        return self._rows("SELECT step, kind, text FROM event ORDER BY id")

    def rows(self) -> Iterator[tuple[int, str, str, float]]:
        """Every point: (step, metric, tensor, value), curve by curve."""
        query = f"SELECT step, metric, tensor, value {_JOIN} ORDER BY series, step"
        for step, metric, tensor, value in self._rows(query):
            yield step, metric, tensor, _number(value)

    def to_csv(self, path: str | Path) -> Path:
        """Write all points as CSV: step, metric, tensor, value."""
        return write_csv(self.rows(), path)

    def to_parquet(self, path: str | Path) -> Path:
        """Write all points as Parquet. Raises MissingExtraError without pyarrow."""
        return write_parquet(self.rows(), path)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
