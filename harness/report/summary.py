"""From a run to its summary: the one function that the rest of the report begins with.

Knows how the parts fit together; the parts themselves are in the modules named like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

import msgspec

from harness.config.study import Study
from harness.records.store import Run
from harness.report.answers import (
    agreement_of,
    compare_answers,
    held_against_exact,
    shown_answers,
)
from harness.report.cautions import QUICKSTART, RANDOM, cautions
from harness.report.choice import choose
from harness.report.facts import all_facts, differences
from harness.report.grouping import (
    Same,
    also_called,
    groups_of,
    intended_workloads,
    labels_of,
    same_strategies,
    told_elsewhere,
)
from harness.report.order import order_of, until_stop
from harness.report.peaks import peaks_of
from harness.report.rows import build_row, compare_with
from harness.report.trials import CellTrials, group_trials
from harness.report.values import ModelSummary, Row, Summary


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
    same = same_strategies(cells)
    groups = groups_of(cells, same)
    labels = labels_of(list(groups))
    intended = intended_workloads(study, name)
    elsewhere = told_elsewhere(groups, labels)
    peaks = peaks_of(groups)
    gates = (record.gate for cell in cells for record in cell.records)
    broken = {gate.why for gate in gates if gate is not None and gate.why is not None}
    rows = [
        msgspec.structs.replace(
            build_row(
                labels[key], group, intended.get(key, ()), broken, elsewhere.get(key), peaks[key]
            ),
            also=also_called(key, same),
            variant=key[-1],
        )
        for key, group in groups.items()
    ]
    rows = [_with_reference(row, rows, study, same) for row in rows]
    answers = {labels[key]: shown_answers(_answers_cell(group)) for key, group in groups.items()}
    questions = compare_answers(rows, answers)
    rows = [
        msgspec.structs.replace(row, agreement=agreement_of(row.label, questions)) for row in rows
    ]
    model = ModelSummary(
        name=name,
        weights=_shown_weights(study, name),
        rows=tuple(rows),
        questions=questions,
        by_exact=held_against_exact(rows),
    )
    return msgspec.structs.replace(model, choices=choose(model))


def _with_reference(row: Row, rows: Sequence[Row], study: Study, same: Same) -> Row:
    """Compared with the reference strategy on equal threads and batch, of the first engine."""
    named = study.reference or study.strategies[0]
    wanted = same.get((row.engine, row.threads, named), named)
    candidates = [
        r
        for r in rows
        if r.strategy == wanted
        and (r.threads, r.batch) == (row.threads, row.batch)
        and (r.variant == row.variant or not r.variant or not row.variant)
    ]
    order = {engine: at for at, engine in enumerate(study.engines)}
    candidates.sort(key=lambda r: (r.variant != row.variant, order.get(r.engine, len(order))))
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
