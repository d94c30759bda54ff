"""What the doctor says of the runs: findings, the same one in several runs told once, and the silent rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from equipoise._errors import EquipoiseError
from equipoise.doctor.finding import Finding
from equipoise.report.chart import Chart
from equipoise.report.numbers import listing
from equipoise.report.runs import Run

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
    """Everything said of all runs: findings (worst first), silent rules, and runs that could not be diagnosed."""

    told: list[Told]
    silent: list[Silent]
    failed: list[str]

    def count(self, severity: str) -> int:
        """How many findings have that severity."""
        return sum(t.finding.severity == severity for t in self.told)


def diagnose_runs(runs: Sequence[Run]) -> Diagnoses:
    """Diagnose every run; one that cannot be diagnosed is named in `failed`, the others are told."""
    from equipoise.doctor.diagnose import diagnose

    told: dict[tuple[object, ...], Told] = {}
    silent: dict[tuple[str, str], Silent] = {}
    failed: list[str] = []
    for run in runs:
        try:
            diagnosis = diagnose(run.path)
        except EquipoiseError as error:
            failed.append(f"{run.label}: {error}")
            continue
        _add_findings(told, run, diagnosis.findings, of=sum(r.arm == run.arm for r in runs))
        _add_silent(silent, run, diagnosis.silent)
    order = sorted(_merged(told.values()), key=lambda t: (_WEIGHT[t.finding.severity], t.places[0].arm))
    return Diagnoses(order, list(silent.values()), failed)


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
