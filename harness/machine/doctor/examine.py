"""All checks together, the worst finding first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.machine.doctor import gpus, moment, settings
from harness.machine.doctor.finding import SEVERITIES, Finding, Fine, NotTold
from harness.machine.doctor.moment import Moment


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What was found."""

    findings: tuple[Finding, ...]  # worst first
    fine: tuple[str, ...]  # names of checks that found nothing
    not_told: dict[str, str] = field(default_factory=dict)  # check -> why it could not be made


def examine(facts: Mapping[str, Any], now: Moment) -> Examined:
    """Judge the facts of a machine, and what was seen of it. Pure."""
    verdicts = [
        *(check(now) for check in moment.CHECKS),
        *(check(facts) for check in settings.CHECKS),
        *(check(facts, now.seen) for check in gpus.CHECKS),
    ]
    findings = [one for one in verdicts if isinstance(one, Finding)]
    return Examined(
        findings=tuple(sorted(findings, key=lambda one: SEVERITIES.index(one.severity))),
        fine=tuple(one.name for one in verdicts if isinstance(one, Fine)),
        not_told={one.name: one.why for one in verdicts if isinstance(one, NotTold)},
    )
