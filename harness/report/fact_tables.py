"""The tables of facts: what they are, group by group, and what did not stay the same.

Turns a summary's facts into texts; decides nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.machine.declared import GROUPS, OF_STUDY, about
from harness.report.facts import DISTRIBUTIONS
from harness.report.format import MISSING, count, listing
from harness.report.table import Table, columns, figure, words
from harness.report.values import Fact, FactDifference, Summary


def fact_tables(facts: Iterable[Fact]) -> tuple[Table, ...]:
    """Every fact with what it is, one table per group; what the study adds comes last."""
    groups: dict[str, list[Fact]] = {group: [] for group in GROUPS}
    for fact in facts:
        groups[_group(fact)].append(fact)
    return tuple(
        Table(
            caption=group,
            columns=columns("Fact", "Value"),
            rows=tuple(
                (
                    words(fact.name, tag=_what(fact)),
                    figure(fact.shown or fact.value, fact.why_missing),
                )
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
        columns=columns("Fact", "Values", "Matters for", "Explained by"),
        rows=tuple(
            (
                words(change.name),
                words(changed_values(change)),
                words(_matters(change)),
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
    declared = about(fact.declared_as or fact.name)
    return OF_STUDY if declared is None else declared.group  # not declared: an engine's own


def _what(fact: Fact) -> str | None:
    declared = about(fact.declared_as or fact.name)
    return None if declared is None else declared.what


def _matters(change: FactDifference) -> str:
    if change.must_match is None:
        return MISSING
    return listing(change.must_match) or "nothing by itself"
