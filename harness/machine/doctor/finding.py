"""What a check says: a disturbance and how bad it is, that all is fine, or why it cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")  # worst first


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that will disturb a measurement.

    `high`: figures taken now are wrong or differ from trial to trial by more than strategies do;
    `medium`: by some percent, or sometimes by much; `low`: by little, or it hides what happens.
    """

    name: str  # for programs
    severity: Severity
    what: str  # as it is now
    effect: str
    mend: str  # a command where there is one, else what to do
    is_command: bool = True


@dataclass(frozen=True, kw_only=True)
class Fine:
    """A check that found nothing."""

    name: str


@dataclass(frozen=True, kw_only=True)
class NotTold:
    """A check that could not be made, and why."""

    name: str
    why: str


Verdict = Finding | Fine | NotTold


def fact(facts: Mapping[str, Any], name: str) -> Any:
    """A fact's value; None where it is unavailable."""
    value = facts.get(name)
    is_missing = isinstance(value, dict) and value.keys() == {"unavailable"}
    return None if is_missing else value


def why_missing(facts: Mapping[str, Any], name: str) -> str:
    """Why a fact has no value."""
    value = facts.get(name)
    if isinstance(value, dict) and "unavailable" in value:
        return str(value["unavailable"])
    return "not said"
