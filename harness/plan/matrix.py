"""The cells of a study, in its order. Pure; knows nothing of machines or files."""

from __future__ import annotations

from collections.abc import Mapping

from harness.config.matrix import SPEED, Axes, combinations
from harness.config.study import Addition, Selector, Study
from harness.plan.cell import Cell


def cells(study: Study) -> tuple[Cell, ...]:
    """The matrix, models outermost, without what is excluded; then what is included."""
    axes = Axes(
        models=tuple(study.models),
        engines=tuple(study.engines),
        strategies=tuple(study.strategies),
        threads=study.thread_counts,
        workloads=study.workloads.names,
        batches=_batches(study),
    )
    matrix = (
        Cell(**point._asdict())
        for point in combinations(axes, [_said(selector) for selector in study.exclude])
    )
    return (*matrix, *(_added(addition, study) for addition in study.include))


def _said(selector: Selector) -> Mapping[str, object]:
    fields = {name: getattr(selector, name) for name in selector.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not None}


def _batches(study: Study) -> tuple[int, ...]:
    return (1,) if study.workloads.speed is None else study.workloads.speed.batch_sizes


def _added(addition: Addition, study: Study) -> Cell:
    return Cell(
        model=addition.model,
        engine=study.engines[0] if addition.engine is None else addition.engine,
        strategy=addition.strategy,
        threads=study.thread_counts[0] if addition.threads is None else addition.threads,
        workload=addition.workload,
        batch=(_batches(study)[0] if addition.workload == SPEED else 1)
        if addition.batch is None
        else addition.batch,
    )
