"""From records to cells: which attempt counts, and how a cell's trials ended as a whole.

Knows outcomes, not numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from harness.records.record import CellRef, Record
from harness.report.values import CellOutcome, Problem

INTERRUPTED = "interrupted"


class CellTrials(Struct, frozen=True, kw_only=True):
    """A cell, what was planned for it, and the record that counts of each of its trials."""

    cell: CellRef
    planned: int
    records: tuple[Record, ...]  # the last attempt of each trial, in the order of the trials
    skip_reason: str | None = None
    weight_bytes: dict[str, int] = {}
    forecast_bytes: dict[str, int] = {}  # peaks
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> tuple[Record, ...]:
        """The trials that ended well."""
        return tuple(record for record in self.records if record.outcome.kind == "ok")

    @property
    def finished(self) -> tuple[Record, ...]:
        """The trials that came to an end of their own, good or bad."""
        return tuple(r for r in self.records if r.outcome.kind != INTERRUPTED)


def group_trials(
    plan: Iterable[Mapping[str, Any]], records: Iterable[Record]
) -> tuple[CellTrials, ...]:
    """One value per cell: the planned ones in their order, then any others that have records."""
    latest: dict[str, dict[int, Record]] = {}
    cells: dict[str, CellRef] = {}
    for record in records:
        trials = latest.setdefault(record.cell.id, {})
        cells.setdefault(record.cell.id, record.cell)
        other = trials.get(record.trial)
        if other is None or other.attempt < record.attempt:
            trials[record.trial] = record
    grouped = [_planned_cell(entry, latest) for entry in plan]
    planned = {group.cell.id for group in grouped}
    grouped.extend(
        CellTrials(cell=cell, planned=len(latest[cell_id]), records=_in_order(latest[cell_id]))
        for cell_id, cell in cells.items()
        if cell_id not in planned
    )
    return tuple(grouped)


def judge(group: CellTrials) -> CellOutcome:
    """The outcome of a cell from those of its trials."""
    problems = tuple(
        Problem(
            trial=record.trial,
            attempt=record.attempt,
            kind=record.outcome.kind,
            reason=record.outcome.reason,
            detail=record.outcome.detail,
        )
        for record in group.records
        if record.outcome.kind != "ok"
    )
    ok = len(group.ok)
    skipped = [problem for problem in problems if problem.kind == "skipped"]
    failed = [p for p in problems if p.kind not in ("skipped", INTERRUPTED)]
    first = next(iter([*failed, *problems]), None)
    kind, reason = (None, None) if first is None else (first.kind, first.reason)
    if ok:
        state = "partial" if problems or ok < group.planned else "ok"
        if not problems and state == "partial":
            reason = f"{group.planned - ok} of {group.planned} trials not run yet"
    elif failed:
        state = "failed"
    elif len(skipped) < len(problems):
        state = "not finished"
    elif skipped or group.skip_reason is not None:
        state, kind, reason = "skipped", "skipped", reason or group.skip_reason
    else:
        state, reason = "not run", "the run ended before it"
    return CellOutcome(
        id=group.cell.id,
        workload=group.cell.workload,
        state=state,  # type: ignore[arg-type]
        ok=ok,
        trials=max(group.planned, len(group.records)),
        kind=kind,
        reason=reason,
        problems=problems,
    )


def _planned_cell(
    entry: Mapping[str, Any], latest: Mapping[str, Mapping[int, Record]]
) -> CellTrials:
    cell = entry["cell"]
    return CellTrials(
        cell=CellRef(
            id=cell["id"],
            model=cell["model"],
            engine=cell["engine"],
            strategy=cell["strategy"],
            workload=cell["workload"],
            threads=cell["threads"],
        ),
        planned=entry["trials"],
        records=_in_order(latest.get(cell["id"], {})),
        skip_reason=entry.get("skip_reason"),
        weight_bytes=dict(entry.get("weight_bytes") or {}),
        forecast_bytes=dict(entry.get("forecast_bytes") or {}),
        warnings=tuple(entry.get("warnings") or ()),
    )


def _in_order(trials: Mapping[int, Record]) -> tuple[Record, ...]:
    return tuple(trials[number] for number in sorted(trials))
