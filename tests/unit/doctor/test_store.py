"""The run store: what goes in comes out, readers meet a live writer, and every broken file says what to do."""

from __future__ import annotations

import csv
import math
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from equipoise._errors import ArgumentError, MissingExtraError, RunError
from equipoise.doctor import store_schema, store_writer
from equipoise.doctor.store import RunStore


def _filled(folder: Path) -> Path:
    with RunStore.create(folder, {"seed": 3, "model": {"name": "gpt"}}) as writer:
        writer.write(1, "loss", 2.5)
        writer.write(3, "loss", math.nan)
        writer.write(2, "loss", math.inf)
        writer.write_many(1, [("weight_norm", "b", 1.0), ("weight_norm", "a", -0.0), ("lr", "", -math.inf)])
        writer.event(2, "note", "half way; <b>bold</b> 'quoted'")
        writer.set_meta("predictions", {"a": {"weight_norm": 1.5}})
    return folder


def test_everything_comes_back(tmp_path: Path) -> None:
    with RunStore.open(_filled(tmp_path / "a")) as run:
        assert run.meta["seed"] == 3
        assert run.meta["predictions"] == {"a": {"weight_norm": 1.5}}
        assert run.metrics() == ["loss", "weight_norm", "lr"]
        assert run.tensors("weight_norm") == ["b", "a"]  # the order of writing, which is the model's
        assert run.tensors("loss") == [""]
        steps, values = run.series("loss")
        assert steps == [1, 2, 3]
        assert values[:2] == [2.5, math.inf]
        assert math.isnan(values[2])
        assert run.last("lr") == -math.inf
        assert math.isnan(run.last("loss") or 0.0)
        assert run.last("loss", "nowhere") is None
        assert run.table("weight_norm") == {"b": ([1], [1.0]), "a": ([1], [0.0])}
        assert run.events() == [(2, "note", "half way; <b>bold</b> 'quoted'")]
        assert run.last_step() == 3
        assert run.series("unknown") == ([], [])


def test_a_point_written_again_replaces_the_old_one(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, {}) as writer:
        writer.write(1, "loss", 1.0)
        writer.flush()
        writer.write(1, "loss", 2.0)
    assert RunStore.open(tmp_path).series("loss") == ([1], [2.0])


def test_a_reader_sees_a_live_writer(tmp_path: Path) -> None:
    writer = RunStore.create(tmp_path, {})
    reader = RunStore.open(tmp_path)
    for step in range(1, 4):
        writer.write(step, "loss", float(step))
        writer.flush()
        assert reader.series("loss")[0] == list(range(1, step + 1))
    writer.write(9, "late", 1.0)
    assert "late" not in reader.metrics()  # buffered
    writer.close()
    assert reader.last("late") == 1.0


def test_a_silent_loop_is_flushed_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "FLUSH_SECONDS", 0.05)
    writer = RunStore.create(tmp_path, {})
    writer.write(1, "loss", 1.0)
    reader = RunStore.open(tmp_path)
    deadline = time.monotonic() + 5
    while reader.last("loss") is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reader.last("loss") == 1.0
    writer.close()


def test_rows_flush_in_one_transaction_when_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "FLUSH_ROWS", 10)
    writer = RunStore.create(tmp_path, {})
    reader = RunStore.open(tmp_path)
    writer.write_many(1, [("m", str(i), 1.0) for i in range(9)])
    assert reader.metrics() == []
    writer.write(1, "m", 1.0, "last")
    assert len(reader.tensors("m")) == 10
    writer.close()


def test_exports(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    run = RunStore.open(_filled(tmp_path / "a"))
    rows = list(run.rows())
    with run.to_csv(tmp_path / "a.csv").open(newline="") as file:
        read = list(csv.reader(file))
    assert read[0] == ["step", "metric", "tensor", "value"]
    as_csv = [(int(s), m, t, float(v)) for s, m, t, v in read[1:]]
    columns = pq.read_table(run.to_parquet(tmp_path / "a.parquet")).to_pydict()
    as_parquet = list(zip(columns["step"], columns["metric"], columns["tensor"], columns["value"], strict=True))
    assert len(rows) == 6
    for found in (as_csv, as_parquet):
        assert [r[:3] for r in found] == [r[:3] for r in rows]
        assert all(a == b or (a != a and b != b) for a, b in zip(_values(found), _values(rows), strict=True))


def _values(rows: list[tuple]) -> list[float]:
    return [row[3] for row in rows]


def test_an_empty_run_exports_too(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    RunStore.create(tmp_path, {}).close()
    run = RunStore.open(tmp_path)
    assert run.to_csv(tmp_path / "a.csv").read_text() == "step,metric,tensor,value\n"
    assert run.to_parquet(tmp_path / "a.parquet").exists()


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"equipoise\[report\]"):
        RunStore.open(_filled(tmp_path / "a")).to_parquet(tmp_path / "a.parquet")


def test_export_to_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    run = RunStore.open(_filled(tmp_path / "a"))
    with pytest.raises(RunError, match="cannot write"):
        run.to_csv(tmp_path / "no" / "a.csv")


def test_a_missing_run_suggests_its_neighbours(tmp_path: Path) -> None:
    _filled(tmp_path / "first-run")
    with pytest.raises(RunError, match="first-run"):
        RunStore.open(tmp_path / "first-rum")
    with pytest.raises(RunError, match=r"equipoise\.watch"):
        RunStore.open(tmp_path / "nowhere" / "a")


def test_a_newer_schema_says_upgrade(tmp_path: Path) -> None:
    path = store_schema.store_path(_filled(tmp_path))
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={store_schema.SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(RunError, match=r"schema 2.*Upgrade"):
        RunStore.open(tmp_path)
    with pytest.raises(RunError, match="Upgrade"):
        RunStore.create(tmp_path, {}, exists="resume")


@pytest.mark.parametrize("share", [0.0, 0.002, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    with RunStore.create(tmp_path, {}) as writer:
        writer.write_many(1, [("m", f"tensor.{i}", 1.0) for i in range(3000)])
    path = store_schema.store_path(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RunError, match=r"damaged or truncated|not an equipoise run store"):
        list(RunStore.open(tmp_path).rows())


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    store_schema.store_path(tmp_path).write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(RunError, match="damaged"):
        RunStore.open(tmp_path)
    store_schema.store_path(tmp_path).unlink()
    sqlite3.connect(store_schema.store_path(tmp_path)).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(RunError, match="not an equipoise run store"):
        RunStore.open(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="run_dir="):
        RunStore.create(tmp_path / "file" / "run", {})


def test_an_existing_run_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    _filled(tmp_path)
    with pytest.raises(RunError, match="already holds a run"):
        RunStore.create(tmp_path, {})
    with pytest.raises(ArgumentError, match="exists"):
        RunStore.create(tmp_path, {}, exists="append")  # pyright: ignore[reportArgumentType]
    with RunStore.create(tmp_path, {"seed": 4}, exists="resume") as writer:
        writer.truncate_after(2)
        writer.write(4, "loss", 4.0)
    run = RunStore.open(tmp_path)
    assert run.meta["seed"] == 4
    assert run.series("loss") == ([1, 2, 4], [2.5, math.inf, 4.0])
    run.close()
    RunStore.create(tmp_path, {"seed": 5}, exists="overwrite").close()
    assert RunStore.open(tmp_path).metrics() == []


def test_closed_ends_say_so(tmp_path: Path) -> None:
    writer = RunStore.create(tmp_path, {})
    writer.close()
    writer.close()
    with pytest.raises(RunError, match="closed for writing"):
        writer.flush()
    reader = RunStore.open(tmp_path)
    reader.close()
    with pytest.raises(RunError, match="is closed"):
        reader.metrics()


def test_a_forked_child_does_not_touch_the_file(tmp_path: Path) -> None:
    code = (
        "import os, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from equipoise.doctor.store import RunStore\n"
        "w = RunStore.create(sys.argv[1], {})\n"
        "w.write(1, 'loss', 1.0)\n"
        "if os.fork() == 0:\n"
        "    w.write(2, 'loss', 2.0); w.flush(); w.close(); os._exit(0)\n"
        "os.wait(); w.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert RunStore.open(tmp_path).series("loss") == ([1], [1.0])


def test_the_store_needs_no_torch() -> None:
    code = "import sys, equipoise.doctor.store; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
