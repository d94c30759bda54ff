"""A run store as CSV or Parquet: one row per point, columns step, metric, tensor, value."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from equipoise._errors import MissingExtraError, RunError

COLUMNS = ("step", "metric", "tensor", "value")
Row = tuple[int, str, str, float]


def write_csv(rows: Iterable[Row], path: str | Path) -> Path:
    """Write rows as CSV (UTF-8, header line; floats in full, nan and inf as `nan`, `inf`)."""
    target = Path(path)
    try:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows((step, metric, tensor, repr(value)) for step, metric, tensor, value in rows)
    except OSError as error:
        raise RunError(
            f"cannot write {str(target)!r} ({error}). Give a path in a folder that you may write to."
        ) from error
    return target


def write_parquet(rows: Iterable[Row], path: str | Path) -> Path:
    """Write rows as Parquet. Raises MissingExtraError without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "report") from error
    target = Path(path)
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    types = (pa.int64(), pa.string(), pa.string(), pa.float64())
    arrays = [pa.array(c, type=t, from_pandas=False) for c, t in zip(columns, types, strict=True)]
    try:
        pq.write_table(pa.table(arrays, names=list(COLUMNS)), target)
    except OSError as error:
        raise RunError(
            f"cannot write {str(target)!r} ({error}). Give a path in a folder that you may write to."
        ) from error
    return target
