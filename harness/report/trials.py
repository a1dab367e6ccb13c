"""From records to cells: which attempt counts, and how a cell's trials ended as a whole.

Knows outcomes, not numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    earlier: tuple[Record, ...] = ()  # attempts that others came after
    skip_reason: str | None = None
    same_as: str | None = None  # the id of the cell that was measured for it
    weight_bytes: dict[str, int] = {}
    forecast_bytes: dict[str, int] = {}  # peaks
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> tuple[Record, ...]:
        """The trials that ended well."""
        return tuple(record for record in self.records if record.outcome.kind == "ok")

    @property
    def counted(self) -> tuple[Record, ...]:
        """The trials that figures are made of: the good ones, or the noisy where none is good."""
        return self.ok or tuple(r for r in self.records if r.outcome.kind == "noisy")

    @property
    def left_out(self) -> int:
        """How many noisy attempts do not count."""
        counted = self.counted
        attempts = (*self.earlier, *self.records)
        return sum(r.outcome.kind == "noisy" and r not in counted for r in attempts)

    @property
    def finished(self) -> tuple[Record, ...]:
        """The trials that came to an end of their own, good or bad."""
        return tuple(r for r in self.records if r.outcome.kind != INTERRUPTED)


def group_trials(
    plan: Iterable[Mapping[str, Any]], records: Iterable[Record]
) -> tuple[CellTrials, ...]:
    """One value per cell: the planned ones in their order, then any others that have records."""
    latest: dict[str, dict[int, Record]] = {}
    earlier: dict[str, list[Record]] = {}
    cells: dict[str, CellRef] = {}
    for record in records:
        trials = latest.setdefault(record.cell.id, {})
        cells.setdefault(record.cell.id, record.cell)
        last, *others = sorted(
            filter(None, (record, trials.get(record.trial))), key=_rank, reverse=True
        )
        trials[record.trial] = last
        earlier.setdefault(record.cell.id, []).extend(others)
    grouped = [_planned_cell(entry, latest, earlier) for entry in plan]
    planned = {group.cell.id for group in grouped}
    grouped.extend(
        CellTrials(
            cell=cell,
            planned=len(latest[cell_id]),
            records=_in_order(latest[cell_id]),
            earlier=tuple(earlier[cell_id]),
        )
        for cell_id, cell in cells.items()
        if cell_id not in planned
    )
    return tuple(grouped)


def judge(group: CellTrials, broken: Collection[str] = ()) -> CellOutcome:
    """The outcome of a cell from those of its trials.

    `broken` are the reasons of the gates that strategies of the model did not pass.
    """
    problems = tuple(
        Problem(
            trial=record.trial,
            attempt=record.attempt,
            kind=record.outcome.kind,
            reason=_reason(record, broken),
            detail=record.outcome.detail,
        )
        for record in group.records
        if record.outcome.kind != "ok"
    )
    ok = len(group.ok)
    skipped = [problem for problem in problems if problem.kind == "skipped"]
    noisy = [problem for problem in problems if problem.kind == "noisy"]
    failed = [p for p in problems if p.kind not in ("skipped", "noisy", INTERRUPTED)]
    first = next(iter([*failed, *noisy, *problems]), None)
    kind, reason = (None, None) if first is None else (first.kind, first.reason)
    if ok:
        state = "partial" if problems or ok < group.planned else "ok"
        if not problems and state == "partial":
            reason = f"{group.planned - ok} of {group.planned} trials not run yet"
    elif failed:
        state = "failed"
    elif noisy:
        state = "disturbed"
    elif len(skipped) < len(problems):
        state = "not finished"
    elif skipped or group.skip_reason is not None:
        state, kind, reason = "skipped", "skipped", reason or group.skip_reason
    else:
        state, reason = "not run", f"no trial of '{group.cell.workload}' was run yet"
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


def _reason(record: Record, broken: Collection[str]) -> str | None:
    """Why a trial did not end well; what was left out for a broken gate has that gate's words."""
    reason = record.outcome.reason
    return next((why for why in broken if reason is not None and reason.endswith(why)), reason)


def _rank(record: Record) -> tuple[bool, int]:
    """The last attempt counts, unless it was broken off and an earlier one has figures."""
    return record.outcome.kind not in ("skipped", INTERRUPTED), record.attempt


def _planned_cell(
    entry: Mapping[str, Any],
    latest: Mapping[str, Mapping[int, Record]],
    earlier: Mapping[str, Sequence[Record]],
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
            batch=cell.get("batch", 1),
            sampling=cell.get("sampling"),
            prompt=cell.get("prompt"),
        ),
        planned=entry["trials"],
        records=_in_order(latest.get(cell["id"], {})),
        earlier=tuple(earlier.get(cell["id"], ())),
        skip_reason=entry.get("skip_reason"),
        same_as=entry.get("same_as"),
        weight_bytes=dict(entry.get("weight_bytes") or {}),
        forecast_bytes=dict(entry.get("forecast_bytes") or {}),
        warnings=tuple(entry.get("warnings") or ()),
    )


def _in_order(trials: Mapping[int, Record]) -> tuple[Record, ...]:
    return tuple(trials[number] for number in sorted(trials))
