"""What users get: the installed package is what is tested, and the wheel holds what it should."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import equipoise
from arch.source_tree import ROOT, SRC


def _is_editable() -> bool:
    text = metadata.distribution("equipoise").read_text("direct_url.json") or "{}"
    return bool(json.loads(text).get("dir_info", {}).get("editable"))


def test_tests_meet_the_installed_package() -> None:
    if _is_editable():
        pytest.skip("an editable install; `make test` installs the package as a user gets it")
    place = Path(equipoise.__file__).resolve()
    assert "site-packages" in place.parts, f"equipoise came from {place}"
    assert str(SRC.parent) not in [str(Path(entry).resolve()) for entry in sys.path if entry]


def test_version_is_said_once() -> None:
    assert metadata.version("equipoise") == equipoise.__version__
    assert f"version: {equipoise.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {equipoise.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl"))).namelist()


def test_wheel_holds_types_licence_and_every_source_file(wheel: list[str]) -> None:
    assert "equipoise/py.typed" in wheel
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    wanted = [p for p in SRC.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    missing = {f"equipoise/{p.relative_to(SRC).as_posix()}" for p in wanted} - set(wheel)
    assert not missing, "something (a line in .gitignore?) keeps these out of the wheel"


def test_wheel_holds_nothing_else(wheel: list[str]) -> None:
    foreign = [n for n in wheel if not n.startswith(("equipoise/", f"equipoise-{equipoise.__version__}.dist-info/"))]
    assert not foreign
    assert not [name for name in wheel if "test" in name.split("/")[1] or name.endswith(".pyc")]
