"""The file: self-contained, sealed by its policy, put in place in one move, with errors that help."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from equipoise._errors import ArgumentError, MissingExtraError, RunError
from equipoise.report import scripts
from equipoise.report.write import write_report
from web.made_runs import make_run

MEGABYTE = 1_000_000


class Elements(HTMLParser):
    """Collects start tags with attributes, and the text of script elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._script: dict[str, str | None] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs) if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts.append((self._script, data))
            self._script = None


@pytest.fixture(scope="module")
def page(compared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(compared, tmp_path_factory.mktemp("out") / "page.html").read_text(encoding="utf-8")


def test_nothing_outside_the_file_is_asked_for(page: str) -> None:
    for tag, attributes in Elements(page).tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "form", "video", "audio"}
        assert not attributes.get("src")
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_names_exactly_the_scripts_that_run(page: str) -> None:
    found = Elements(page)
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    scripts_policy = re.search(r"script-src ([^;]+)", policy).group(1)
    assert "unsafe-inline" not in scripts_policy
    own = [text for attributes, text in found.scripts if "type" not in attributes]
    packed = next(text for attributes, text in found.scripts if attributes.get("id") == "plotly")
    sources = [*own, gzip.decompress(base64.b64decode(packed)).decode()]
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in sources]
    assert scripts_policy.split() == [f"'sha256-{d}'" for d in digests]


def test_size_and_repeatability(page: str, compared: Path, tmp_path: Path) -> None:
    assert len(page.encode()) < 3 * MEGABYTE
    assert write_report(compared, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_figures_are_json_with_a_place_for_each(page: str) -> None:
    found = Elements(page)
    figures = json.loads(next(text for attributes, text in found.scripts if attributes.get("id") == "figures"))
    places = {a["id"] for _, a in found.tags if (a.get("class") or "") == "plot"}
    assert {f"chart-{c['id']}" for c in figures["charts"]} == places
    assert set(figures["schemes"]) == {"light", "dark"}


def test_accessible_structure(page: str) -> None:
    tags = Elements(page).tags
    assert [t for t, _ in tags].count("h1") == 1
    assert all(a.get("aria-label") for _, a in tags if a.get("class") == "plot")
    tables, captions = ([t for t, _ in tags].count(name) for name in ("table", "caption"))
    assert tables == captions >= 4
    assert ("html", {"lang": "en"}) in tags


def test_one_run_and_several(one_run: Path, compared: Path, tmp_path: Path) -> None:
    single = write_report(str(one_run), str(tmp_path / "deep" / "er" / "a.html"))
    assert single == tmp_path / "deep" / "er" / "a.html"
    assert 'id="comparison"' not in single.read_text(encoding="utf-8")
    both = write_report([one_run, compared / "adamw-0", one_run], tmp_path / "b.html", title="Two runs")
    text = both.read_text(encoding="utf-8")
    assert "Two runs" in text
    assert "AdamW (2)" in text  # equal labels are told apart


def test_runs_with_their_comparison_given_apart(compared: Path, tmp_path: Path) -> None:
    runs = [compared / "adam_l2-0", compared / "adamw-0"]
    text = write_report(runs, tmp_path / "c.html", comparison=compared / "comparison.json").read_text(encoding="utf-8")
    assert 'id="comparison"' in text
    assert "All runs:" not in text


def test_the_page_replaces_an_older_one_and_leaves_no_litter(one_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("old")
    write_report(one_run, target)
    assert target.read_text(encoding="utf-8") != "old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_is_an_error_that_names_it(one_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/page\.html"):
        write_report(one_run, tmp_path / "file" / "page.html")


def test_bad_arguments(one_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="at least one run folder"):
        write_report([], tmp_path / "a.html")
    with pytest.raises(ArgumentError, match=r"report\.html"):
        write_report(one_run, tmp_path)
    with pytest.raises(RunError, match="missing"):
        write_report(tmp_path / "missing", tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_missing_extras_say_how_to_get_them(one_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts.plotly_source.cache_clear()
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtraError, match=r"equipoise\[report\]"):
        write_report(one_run, tmp_path / "a.html")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match="jinja2"):
        write_report(one_run, tmp_path / "a.html")


def test_a_live_run_can_be_reported(tmp_path: Path) -> None:
    from equipoise.doctor.store import RunStore

    folder = make_run(tmp_path / "live")
    with RunStore.create(folder, {}, exists="resume") as store:
        store.write(400, "loss", 2.0)
        store.flush()
        text = write_report(folder, tmp_path / "live.html").read_text(encoding="utf-8")
    assert "400 steps" in text


def test_templates_lie_beside_the_code() -> None:
    names = {p.name for p in scripts.TEMPLATES.iterdir()}
    assert {"page.html.j2", "page.js", "style.css"} <= names
