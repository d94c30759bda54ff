"""Findings of many runs: told once, worst first, linked to the chart that shows them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from equipoise.doctor import diagnose as diagnose_module
from equipoise.doctor.diagnose import Diagnosis
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.report.comparison import read_comparison
from equipoise.report.findings import Diagnoses, chart_links, diagnose_runs, link_for
from equipoise.report.runs import Run, open_runs
from equipoise.report.sections import chart_sections
from equipoise.report.write import write_report


def finding(severity: str, symptom: str, *, code: str = "") -> Finding:
    evidence = (Evidence("a number", metric="update_ratio", tensor="head.weight", value=0.1, step=20),)
    return Finding(f"rule_{severity}", severity, symptom, evidence, "a cause", Remedy("a remedy", code), "a source")


def told(
    compared: Path, answers: dict[str, list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> tuple[Diagnoses, list[Run]]:
    """Diagnoses of the made-up comparison, with `answers` by arm name in place of the doctor's."""

    def answer(store: object) -> Diagnosis:
        name = store.path.parent.name  # pyright: ignore[reportAttributeAccessIssue]
        found = next((f for arm, f in answers.items() if name.startswith(arm)), [])
        return Diagnosis(tuple(found), silent=(("a_rule", "no signal"),))

    monkeypatch.setattr(diagnose_module, "diagnose", answer)
    comparison = read_comparison(compared)
    with ExitStack() as stack:
        runs = open_runs([p for a in comparison.arms for p in a.runs], comparison, stack)
        return diagnose_runs(runs), runs


def test_the_same_words_are_told_once_with_every_place(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remark, fault = finding("info", "no time to act"), finding("error", "coupled")
    found, _ = told(compared, {"adam_l2": [remark, fault], "adamw": [remark]}, monkeypatch)
    assert [t.finding.severity for t in found.told] == ["error", "info"]
    assert found.told[0].where == "Adam, decay in the gradient (3 of 3 runs)"
    assert found.told[1].where == "Adam, decay in the gradient (3 of 3 runs) and AdamW (3 of 3 runs)"
    assert [(s.rule, len(s.where)) for s in found.silent] == [("a_rule", 3)]


def test_different_words_stay_apart(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"adam_l2": [finding("info", "x", code="a")], "adamw": [finding("info", "x", code="b")]}
    found, _ = told(compared, answers, monkeypatch)
    assert len(found.told) == 2


def test_a_store_without_the_watchs_facts_is_named_not_hidden(tmp_path: Path) -> None:
    from equipoise.doctor.store import RunStore

    with RunStore.create(tmp_path / "odd", {"optimizer": {"colour": "red"}}) as store:
        store.write(1, "loss", 1.0)
    with ExitStack() as stack:
        found = diagnose_runs(open_runs([tmp_path / "odd"], None, stack))
    assert len(found.failed) == 1
    assert "odd" in found.failed[0]
    assert found.clear == []


def test_evidence_links_to_the_arms_own_chart(compared: Path) -> None:
    comparison = read_comparison(compared)
    with ExitStack() as stack:
        runs = open_runs([p for a in comparison.arms for p in a.runs], comparison, stack)
        links = chart_links(c for s in chart_sections(runs) for c in s.charts)
    assert link_for(links, "update_ratio", 1) == "update_ratio-1"
    assert link_for(links, "loss", 1) == "loss"
    assert link_for(links, "never_measured", 1) == ""


def test_every_link_of_the_page_has_a_target(compared: Path, tmp_path: Path) -> None:
    import re

    page = write_report(compared, tmp_path / "page.html").read_text(encoding="utf-8")
    ids, links = set(re.findall(r'\bid="([^"]+)"', page)), re.findall(r'href="#([^"]+)"', page)
    assert len(links) > 8
    assert set(links) <= ids
    assert "see chart" in page
