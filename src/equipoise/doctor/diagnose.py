"""Diagnose a recorded run: what is wrong, how it is known, why, and the exact change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from equipoise.doctor.finding import SEVERITIES, Finding, Severity
from equipoise.doctor.rules import EXPLAINED_BY, RULES, Rule
from equipoise.doctor.run_facts import CannotTellError, RunFacts
from equipoise.doctor.store import RunStore


@dataclass(frozen=True)
class Diagnosis(Sequence[Finding]):
    """Findings of one run, the worst first; a sequence of `Finding`.

    Attributes:
        findings: what the rules found.
        silent: (rule, why) for rules that lacked a signal; silence is no clean bill.
        suppressed: (rule, upstream rule) for findings that only describe another one's consequence.
        subject: the run's folder, or what was checked.
    """

    findings: tuple[Finding, ...]
    silent: tuple[tuple[str, str], ...] = ()
    suppressed: tuple[tuple[str, str], ...] = ()
    subject: str = ""

    @property
    def worst(self) -> Severity | None:
        """The worst severity among the findings, None without any."""
        worst = max(self.findings, key=lambda f: SEVERITIES.index(f.severity), default=None)
        return None if worst is None else worst.severity

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return self.findings[index]

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {
            "subject": self.subject,
            "worst": self.worst,
            "findings": [f.to_dict() for f in self.findings],
            "silent": [list(pair) for pair in self.silent],
            "suppressed": [list(pair) for pair in self.suppressed],
        }

    def __str__(self) -> str:
        lines = [
            f"{self.subject}: {len(self.findings)} findings" if self.findings else f"{self.subject}: nothing found"
        ]
        lines += [str(f) for f in self.findings]
        lines += [f"left out  {rule}: explained by {cause}" for rule, cause in self.suppressed]
        lines += [f"silent    {rule}: {why}" for rule, why in self.silent]
        return "\n".join(lines)


def diagnose(run: str | Path | RunStore) -> Diagnosis:
    """Apply every rule to a recorded run.

    Args:
        run: the run folder (it may still be training), or an open store.

    Raises:
        RunError: no such run, or a store that cannot be read.

    Example:
        >>> for finding in diagnose("runs/a"):  # doctest: +SKIP
        ...     print(finding)
    """
    if isinstance(run, RunStore):
        return apply(RULES, RunFacts(run.meta, run), str(run.path.parent))
    with RunStore.open(run) as store:
        return apply(RULES, RunFacts(store.meta, store), str(run))


def apply(rules: Mapping[str, Rule], facts: RunFacts, subject: str) -> Diagnosis:
    """Run rules in order, keep the silent ones apart, drop consequences of what was found upstream."""
    found: list[Finding] = []
    silent: list[tuple[str, str]] = []
    suppressed: list[tuple[str, str]] = []
    for name, rule in rules.items():
        try:
            findings = rule(facts)
        except CannotTellError as error:
            silent.append((name, str(error)))
            continue
        cause = _explained(name, found)
        if findings and cause:
            suppressed.append((name, cause))
        else:
            found.extend(findings)
    order = sorted(found, key=lambda f: -SEVERITIES.index(f.severity))  # stable: causes stay before consequences
    return Diagnosis(tuple(order), tuple(silent), tuple(suppressed), subject)


def _explained(name: str, found: list[Finding]) -> str:
    causes = EXPLAINED_BY.get(name, ())
    return next((f.rule for f in found if f.rule in causes and f.severity != "info"), "")
