"""What a rule says: symptom, evidence, cause, remedy and source, as plain values.

A `Finding` is data. The terminal, the report and the tests read the same fields; `str(finding)` prints it plainly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from equipoise._errors import ArgumentError

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[str, ...] = get_args(Severity)


@dataclass(frozen=True)
class Evidence:
    """One measured or configured fact behind a finding.

    Attributes:
        text: the fact in words, with its number and unit.
        metric: store metric it was read from, "" for configuration.
        tensor: parameter or module name, "" for run-level facts.
        value: the number itself.
        step: optimizer step at which it was seen.
    """

    text: str
    metric: str = ""
    tensor: str = ""
    value: float | None = None
    step: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {k: getattr(self, k) for k in ("text", "metric", "tensor", "value", "step")}


@dataclass(frozen=True)
class Remedy:
    """The exact change to make.

    Attributes:
        text: the change and its expected effect, in words.
        code: the line to write instead, "" when no single line does it.
        recipe_fields: fields of an equipoise recipe to replace, as `{"optimizer": "adamw"}`.
    """

    text: str
    code: str = ""
    recipe_fields: dict[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {"text": self.text, "code": self.code, "recipe_fields": dict(self.recipe_fields)}


@dataclass(frozen=True)
class Finding:
    """One diagnosis of one symptom.

    Attributes:
        rule: name of the rule that fired (its Card's name).
        severity: "info", "warning" or "error".
        symptom: what is seen, one sentence.
        evidence: the numbers behind it.
        cause: the mechanism, one or two sentences.
        remedy: the exact change.
        source: paper, law or convention the threshold comes from, with its trust tag.
        tensors: parameters or modules concerned, () for the whole run.
        step: first step at which the predicate held, None for configuration.
    """

    rule: str
    severity: Severity
    symptom: str
    evidence: tuple[Evidence, ...]
    cause: str
    remedy: Remedy
    source: str
    tensors: tuple[str, ...] = ()
    step: int | None = None

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ArgumentError("severity", self.severity, "one of " + ", ".join(SEVERITIES))

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON; `from_dict` is the inverse."""
        plain = {k: getattr(self, k) for k in ("rule", "severity", "symptom", "cause", "source", "step")}
        plain["evidence"] = [e.to_dict() for e in self.evidence]
        plain["remedy"] = self.remedy.to_dict()
        plain["tensors"] = list(self.tensors)
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, object]) -> Finding:
        """The finding that `to_dict` described."""
        fields = dict(plain)
        evidence = cast("list[dict[str, object]]", fields.pop("evidence"))
        remedy = cast("dict[str, object]", fields.pop("remedy"))
        tensors = cast("list[str]", fields.pop("tensors"))
        made = {
            "evidence": tuple(Evidence(**e) for e in evidence),  # pyright: ignore[reportArgumentType]
            "remedy": Remedy(**remedy),  # pyright: ignore[reportArgumentType]
            "tensors": tuple(tensors),
        }
        return cls(**fields, **made)  # pyright: ignore[reportArgumentType]

    def __str__(self) -> str:
        lines = [f"[{self.severity}] {self.rule}: {self.symptom}"]
        lines += [f"    evidence  {e.text}" for e in self.evidence]
        lines += [f"    cause     {self.cause}", f"    remedy    {self.remedy.text}"]
        if self.remedy.code:
            lines.append(f"    code      {self.remedy.code}")
        return "\n".join([*lines, f"    source    {self.source}"])
