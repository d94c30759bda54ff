"""What the doctor says of the runs: findings, the same one in several runs told once, and the silent rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from equipoise._errors import EquipoiseError
from equipoise.doctor.finding import Finding
from equipoise.report.chart import Chart
from equipoise.report.numbers import listing
from equipoise.report.runs import Run

if TYPE_CHECKING:
    from equipoise.doctor.diagnose import Diagnosis

_WEIGHT = {"error": 0, "warning": 1, "info": 2}


@dataclass
class Place:
    """Where a finding was made: an arm, how many of its runs have it, and how many runs of it the page has."""

    arm: int
    arm_label: str
    of: int
    seen: int = 0

    def __str__(self) -> str:
        return f"{self.arm_label} ({self.seen} of {self.of} runs)" if self.of > 1 else self.arm_label


@dataclass
class Told:
    """A finding as the page tells it: as the first run has it, with all the arms it was made in."""

    finding: Finding
    places: list[Place] = field(default_factory=list)

    @property
    def where(self) -> str:
        """The arms, in words."""
        return listing([str(p) for p in self.places])


@dataclass
class Silent:
    """A rule that said nothing, why, and in which arms."""

    rule: str
    why: str
    where: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Diagnoses:
    """Everything said of all runs.

    Attributes:
        told: findings, worst first.
        silent: rules that could not tell, or whose finding another one explains.
        clear: rules that looked at every run and found nothing.
        failed: a sentence for every run that could not be diagnosed.
    """

    told: list[Told]
    silent: list[Silent]
    clear: list[str]
    failed: list[str]

    def count(self, severity: str) -> int:
        """How many findings have that severity."""
        return sum(t.finding.severity == severity for t in self.told)


def diagnose_runs(runs: Sequence[Run]) -> Diagnoses:
    """Diagnose every run; one that cannot be diagnosed is named in `failed`, the others are told."""
    from equipoise.doctor.rules import RULES

    told: dict[tuple[object, ...], Told] = {}
    silent: dict[tuple[str, str], Silent] = {}
    clear, failed = dict.fromkeys(RULES), []
    for run in runs:
        diagnosis = _diagnosis(run, failed)
        if diagnosis is None:
            clear.clear()
            continue
        left_out = [(rule, f"left out: {cause} explains it") for rule, cause in diagnosis.suppressed]
        quiet = [*diagnosis.silent, *left_out]
        _add_findings(told, run, diagnosis.findings, of=sum(r.arm == run.arm for r in runs))
        _add_silent(silent, run, quiet)
        for rule in {f.rule for f in diagnosis.findings} | {rule for rule, _ in quiet}:
            clear.pop(rule, None)
    order = sorted(_merged(told.values()), key=lambda t: (_WEIGHT[t.finding.severity], t.places[0].arm))
    return Diagnoses(order, list(silent.values()), list(clear), failed)


def _diagnosis(run: Run, failed: list[str]) -> Diagnosis | None:
    from equipoise.doctor.diagnose import diagnose

    try:
        return diagnose(run.store)
    except EquipoiseError as error:
        failed.append(f"{run.label}: {error}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a store that something else wrote
        failed.append(f"{run.label}: its facts are not as the watch writes them ({type(error).__name__}: {error}).")
    return None


def _add_findings(told: dict[tuple[object, ...], Told], run: Run, findings: Iterable[Finding], *, of: int) -> None:
    """Seeds of one arm differ in the numbers of a symptom, so the rule (and its how-manieth finding) is the key."""
    times: dict[tuple[str, str], int] = {}
    for finding in findings:
        name = (finding.rule, finding.severity)
        times[name] = times.get(name, 0) + 1
        entry = told.setdefault((run.arm, *name, times[name]), Told(finding, [Place(run.arm, run.arm_label, of)]))
        entry.places[0].seen += 1


def _merged(told: Iterable[Told]) -> list[Told]:
    """Arms about which the same is said, word for word, share an entry."""
    merged: dict[tuple[object, ...], Told] = {}
    for entry in told:
        f = entry.finding
        key = (f.rule, f.severity, f.symptom, f.remedy.text, f.remedy.code)
        if key in merged:
            merged[key].places.extend(entry.places)
        else:
            merged[key] = entry
    return list(merged.values())


def _add_silent(silent: dict[tuple[str, str], Silent], run: Run, rules: Iterable[tuple[str, str]]) -> None:
    if not run.first:
        return
    for rule, why in rules:
        silent.setdefault((rule, why), Silent(rule, why)).where.append(run.arm_label)


def chart_links(charts: Iterable[Chart]) -> dict[tuple[str, int | None], str]:
    """(metric, arm) -> key of the first chart that draws it; arm None for charts of all arms."""
    links: dict[tuple[str, int | None], str] = {}
    for chart in charts:
        for metric in chart.metrics:
            links.setdefault((metric, chart.arm), chart.key)
    return links


def link_for(links: dict[tuple[str, int | None], str], metric: str, arm: int) -> str:
    """The chart that shows a metric of an arm: the arm's own, else the one of all arms, else none ("")."""
    return links.get((metric, arm)) or links.get((metric, None)) or ""
