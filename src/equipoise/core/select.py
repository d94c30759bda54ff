"""First-match rules over parameters. Loud: a rule without parameters and a parameter without rule are errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from equipoise._errors import SelectionError, near
from equipoise.core.roles import Role

Match = str | re.Pattern[str] | Callable[["Named"], bool] | tuple[str, ...]
T = TypeVar("T")
REST = "rest"


@dataclass(frozen=True, eq=False)
class Named:
    """A parameter with its name and role, as rules see it."""

    name: str
    parameter: Tensor
    role: Role


@dataclass(frozen=True)
class Rule(Generic[T]):
    """What is given to the parameters that match and that no earlier rule claimed.

    Args:
        match: a role word; several as a tuple; "rest"; a compiled regex, searched in the name; or a predicate on Named.
        give: the thing given (a chain, or group options).
        loud: whether claiming nothing is an error.
    """

    match: Match
    give: T
    loud: bool = True

    def claims(self, named: Named) -> bool:
        """Whether this rule matches a parameter; earlier rules are not considered."""
        if isinstance(self.match, re.Pattern):
            return self.match.search(named.name) is not None
        if isinstance(self.match, tuple):
            return named.role.value in self.match
        if isinstance(self.match, str):
            return self.match in (REST, named.role.value)
        return bool(self.match(named))

    def __str__(self) -> str:
        if isinstance(self.match, re.Pattern):
            return f"regex {self.match.pattern!r}"
        return repr(self.match) if isinstance(self.match, str | tuple) else getattr(self.match, "__name__", "predicate")


def rules_of(given: Mapping[Match, T] | Sequence[Rule[T]]) -> list[Rule[T]]:
    """Rules from a mapping {match: give}, in its order, with unknown role words refused."""
    rules = [Rule(match, give) for match, give in given.items()] if isinstance(given, Mapping) else list(given)
    words = [role.value for role in Role] + [REST]
    for rule in rules:
        for word in (
            (rule.match,) if isinstance(rule.match, str) else rule.match if isinstance(rule.match, tuple) else ()
        ):
            if word not in words:
                cure = near(word, words) + " For a pattern over names use re.compile(...)."
                raise SelectionError("rule", word, "a role, 'rest', a regex or a predicate", cure)
    return rules


def select(parameters: Sequence[Named], rules: Sequence[Rule[T]]) -> list[int]:
    """The index of the first rule that claims each parameter.

    Raises:
        SelectionError: a parameter that no rule claims, or a loud rule that claims nothing.
    """
    chosen = [next((i for i, rule in enumerate(rules) if rule.claims(named)), -1) for named in parameters]
    orphans = [f"{n.name} ({n.role})" for n, i in zip(parameters, chosen, strict=True) if i < 0]
    if orphans:
        cure = 'Add a rule for them, or {"rest": ...} as the last one.'
        raise SelectionError("parameters without a rule", orphans, "every parameter claimed by a rule", cure)
    for i, rule in enumerate(rules):
        if rule.loud and i not in chosen:
            counts = sorted({n.role.value for n in parameters})
            cure = f"Roles in this model: {', '.join(counts)}. An earlier rule may have claimed them all."
            raise SelectionError(f"rule {rule}", "no parameter matched", "at least one parameter", cure)
    return chosen
