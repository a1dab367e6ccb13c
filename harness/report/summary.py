"""From a run to its summary: the one function that the rest of the report begins with.

Knows how the parts fit together; the parts themselves are in the modules named like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TypeVar

import msgspec

from harness.config.matrix import SPEED, Combination, study_cells
from harness.config.study import Study
from harness.records.record import CellRef
from harness.records.store import Run
from harness.report.answers import (
    agreement_of,
    compare_answers,
    shown_answers,
)
from harness.report.cautions import QUICKSTART, RANDOM, cautions
from harness.report.choice import choose
from harness.report.facts import all_facts, differences
from harness.report.format import count
from harness.report.order import order_of, until_stop
from harness.report.rows import build_row, compare_with
from harness.report.trials import CellTrials, group_trials
from harness.report.values import ModelSummary, Row, Summary

RowKey = tuple[str, str, int, int]  # engine, strategy, threads, batch
T = TypeVar("T")


def summarise(run: Run) -> Summary:
    """What the run says; also of a run without records, with skips only, or with failures only."""
    cells = until_stop(group_trials(run.plan, run.records), run.path)
    counted = [record for cell in cells for record in cell.records]
    times = sorted(r.started_at for r in counted if r.outcome.kind != "skipped")
    to_run = [cell for cell in cells if cell.skip_reason is None]
    models = tuple(
        _summarise_model(name, run.study, [cell for cell in cells if cell.cell.model == name])
        for name in dict.fromkeys(cell.cell.model for cell in cells)
    )
    summary = Summary(
        run=run.path.resolve().name,
        study=run.study.name,
        description=run.study.description,
        started_at=times[0] if times else None,
        last_started_at=times[-1] if times else None,
        trials_planned=sum(max(cell.planned, len(cell.records)) for cell in to_run),
        trials_recorded=sum(len(cell.finished) for cell in to_run),
        models=models,
        facts=all_facts(run.facts, counted),
        differences=differences(counted),
        warnings=(),
        notes=run.notes,
        limits=run.limits,
        order=order_of(run.path, cells),
    )
    return msgspec.structs.replace(summary, warnings=tuple(cautions(summary, cells)))


def _summarise_model(name: str, study: Study, cells: Sequence[CellTrials]) -> ModelSummary:
    groups = _groups([(_point(cell.cell), cell) for cell in cells])
    labels = _labels(list(groups))
    intended = _intended(study, name)
    rows = [build_row(labels[key], group, intended.get(key, ())) for key, group in groups.items()]
    rows = [_with_reference(row, rows, study) for row in rows]
    answers = {labels[key]: shown_answers(_answers_cell(group)) for key, group in groups.items()}
    questions = compare_answers(rows, answers)
    rows = [
        msgspec.structs.replace(row, agreement=agreement_of(row.label, questions)) for row in rows
    ]
    return ModelSummary(
        name=name,
        weights=_shown_weights(study, name),
        rows=tuple(rows),
        questions=questions,
        # Rows of a batch together are always faster: the choice is between rows of equal batch.
        choices=choose([row for row in rows if row.batch == min(r.batch for r in rows)]),
    )


def _point(cell: CellRef) -> Combination:
    return Combination(
        model=cell.model,
        engine=cell.engine,
        strategy=cell.strategy,
        threads=cell.threads,
        workload=cell.workload,
        batch=cell.batch,
    )


def _groups(points: Sequence[tuple[Combination, T]]) -> dict[RowKey, list[T]]:
    """What belongs to each row, in order; what runs one row at a time goes to the least batch."""
    least: dict[tuple[str, str, int], int] = {}
    for point, _ in points:
        if point.workload == SPEED:
            place = (point.engine, point.strategy, point.threads)
            least[place] = min(point.batch, least.get(place, point.batch))
    groups: dict[RowKey, list[T]] = {}
    for point, one in points:
        place = (point.engine, point.strategy, point.threads)
        batch = point.batch if point.workload == SPEED else least.get(place, 1)
        groups.setdefault((*place, batch), []).append(one)
    return groups


def _intended(study: Study, model: str) -> dict[RowKey, list[str]]:
    """The workloads that the study has for each row, be they in this run or not."""
    points = [point for point in study_cells(study) if point.model == model]
    return _groups([(point, point.workload) for point in points])


def _labels(keys: Sequence[RowKey]) -> dict[RowKey, str]:
    """The strategy, with engine, threads and batch only where the model has several of them."""
    several_engines = len({engine for engine, *_ in keys}) > 1
    several_threads = len({threads for _, _, threads, _ in keys}) > 1
    several_batches = len({batch for *_, batch in keys}) > 1
    labels = {}
    for engine, strategy, threads, batch in keys:
        parts = [strategy]
        if several_engines:
            parts.append(engine)
        if several_threads:
            parts.append(count(threads, "thread"))
        if several_batches:
            parts.append(f"batch {batch}")
        labels[engine, strategy, threads, batch] = ", ".join(parts)
    return labels


def _with_reference(row: Row, rows: Sequence[Row], study: Study) -> Row:
    """Compared with the reference strategy on equal threads and batch, of the first engine."""
    wanted = study.reference or study.strategies[0]
    candidates = [
        r for r in rows if r.strategy == wanted and (r.threads, r.batch) == (row.threads, row.batch)
    ]
    order = {engine: at for at, engine in enumerate(study.engines)}
    candidates.sort(key=lambda r: order.get(r.engine, len(order)))
    return compare_with(row, candidates[0] if candidates else None, wanted)


def _answers_cell(group: Iterable[CellTrials]) -> CellTrials | None:
    return next((cell for cell in group if cell.cell.workload == "answers"), None)


def _shown_weights(study: Study, name: str) -> str:
    model = study.models.get(name)
    if model is None:
        return "not in the study"
    if model.weights == QUICKSTART or model.weights.startswith(RANDOM):
        return model.weights
    return PurePath(model.weights).name  # where it lay is nobody's business
