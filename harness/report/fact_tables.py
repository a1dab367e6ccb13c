"""The tables of facts: what they are, group by group, and what did not stay the same.

Turns a summary's facts into texts; decides nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.machine.facts import FACTS, GROUPS
from harness.report.facts import DISTRIBUTIONS
from harness.report.format import count, size
from harness.report.table import Table, columns, figure, words
from harness.report.values import Fact, FactDifference, Summary

_OF_STUDY = "Study and engine"  # facts that the machine does not have by itself


def fact_tables(facts: Iterable[Fact]) -> tuple[Table, ...]:
    """Every fact with what it is, one table per group; what the study adds comes last."""
    groups: dict[str, list[Fact]] = {group: [] for group in (*GROUPS, _OF_STUDY)}
    for fact in facts:
        groups[_group(fact)].append(fact)
    return tuple(
        Table(
            caption=group,
            columns=columns("Fact", "Value"),
            rows=tuple(
                (words(fact.name, tag=_what(fact)), figure(_fact_text(fact), fact.why_missing))
                for fact in members
            ),
        )
        for group, members in groups.items()
        if members
    )


def distribution_list(facts: Iterable[Fact]) -> tuple[str, ...]:
    """`numpy 1.24.2` for each installed distribution; none where they are not known."""
    return tuple(
        f"{name} {version}"
        for fact in facts
        if fact.name == DISTRIBUTIONS
        for name, version in fact.listed.items()
    )


def difference_table(summary: Summary) -> Table | None:
    """Facts that are not the same in all records; None where all are."""
    if not summary.differences:
        return None
    return Table(
        caption="Facts that differ between the records of this run",
        columns=columns("Fact", "Values", "Explained by"),
        rows=tuple(
            (
                words(change.name),
                words(changed_values(change)),
                words(f"the {change.follows}" if change.follows else "nothing: it changed"),
            )
            for change in summary.differences
        ),
    )


def changed_values(change: FactDifference) -> str:
    """Each value with its number of records, or what differs and in how many."""
    if change.says is not None:
        return f"{change.says} ({' / '.join(count(n, 'record') for n in change.values.values())})"
    return "; ".join(f"{value} ({count(n, 'record')})" for value, n in change.values.items())


def _group(fact: Fact) -> str:
    about = FACTS.get(fact.name.split(".")[0])
    return _OF_STUDY if about is None else about.group


def _what(fact: Fact) -> str | None:
    about = FACTS.get(fact.name.split(".")[0])
    return None if about is None else about.what


def _fact_text(fact: Fact) -> str | None:
    in_bytes = any(part.endswith("_bytes") for part in fact.name.split("."))
    if in_bytes and fact.value is not None and fact.value.isdigit():
        return size(int(fact.value))
    return fact.value
