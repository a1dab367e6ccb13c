"""Which cells make up one row of a table, and what the row is called.

A row is one computation with what was measured of it; a strategy that is the same computation as
another stands in that one's row. Knows names, not numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from harness.config.matrix import ANSWERS, SPEED, WITH_TOKENIZER, Combination, study_cells
from harness.config.study import Study
from harness.records.record import CellRef
from harness.report.format import count
from harness.report.trials import CellTrials

RowKey = tuple[str, str, int, int, str]  # engine, strategy, threads, batch, variant
Place = tuple[str, int, str]  # engine, threads, strategy
Same = Mapping[Place, str]  # -> the strategy in whose row it stands
T = TypeVar("T")


def same_strategies(cells: Sequence[CellTrials]) -> Same:
    """Strategies of a model whose cells others were measured for.

    Not those that have trials of their own, as in runs that are older than the question.
    """
    by_id = {cell.cell.id: cell.cell for cell in cells}
    own = {_place(cell.cell) for cell in cells if cell.same_as is not None and cell.records}
    same: dict[Place, str] = {}
    for cell in cells:
        other = by_id.get(cell.same_as or "")
        if other is not None and _place(cell.cell) not in own:
            same.setdefault(_place(cell.cell), other.strategy)
    return same


def groups_of(cells: Sequence[CellTrials], same: Same) -> dict[RowKey, list[CellTrials]]:
    """The cells of each row, in order; those that were measured as another are in none."""
    points = []
    for cell in cells:
        strategy = same.get(_place(cell.cell))
        if strategy is None:
            points.append((_point(cell.cell), cell))
        elif cell.same_as is None:
            points.append((_point(cell.cell)._replace(strategy=strategy), cell))
    # The strategy that gives the row its name comes first.
    return {
        key: sorted(group, key=lambda cell, name=key[1]: cell.cell.strategy != name)  # type: ignore[misc]
        for key, group in _groups(points).items()
    }


def also_called(key: RowKey, same: Same) -> tuple[str, ...]:
    """The other strategies that stand in a row."""
    engine, strategy, threads, *_ = key
    return tuple(
        name
        for (of_engine, of_threads, name), other in same.items()
        if (of_engine, of_threads, other) == (engine, threads, strategy)
    )


def _place(cell: CellRef) -> Place:
    return cell.engine, cell.threads, cell.strategy


def _point(cell: CellRef) -> Combination:
    return Combination(
        model=cell.model,
        engine=cell.engine,
        strategy=cell.strategy,
        threads=cell.threads,
        workload=cell.workload,
        batch=cell.batch,
        sampling=cell.sampling,
        prompt=cell.prompt,
    )


def _groups(points: Sequence[tuple[Combination, T]]) -> dict[RowKey, list[T]]:
    """What belongs to each row, in order.

    What runs one row at a time goes to the least batch; what asks no question goes, in that batch,
    to the first of the samplings and prompts.
    """
    variants = _variants([point for point, _ in points])
    first: dict[tuple[str, str, int], str] = {}
    for point, _ in points:
        if point.workload == ANSWERS:
            first.setdefault((point.engine, point.strategy, point.threads), variants[point])
    least: dict[tuple[str, str, int], int] = {}
    for point, _ in points:
        if point.workload == SPEED:
            place = (point.engine, point.strategy, point.threads)
            least[place] = min(point.batch, least.get(place, point.batch))
    groups: dict[RowKey, list[T]] = {}
    for point, one in points:
        place = (point.engine, point.strategy, point.threads)
        batch = point.batch if point.workload == SPEED else least.get(place, 1)
        variant = variants.get(point)
        if variant is None:
            variant = first.get(place, "") if batch == least.get(place, 1) else ""
        groups.setdefault((*place, batch, variant), []).append(one)
    return groups


def _variants(points: Sequence[Combination]) -> dict[Combination, str]:
    """What answers are told apart by: names of samplings and prompts, where there are several."""
    asked = [point for point in points if point.workload == ANSWERS]
    samplings = {point.sampling for point in asked}
    prompts = {point.prompt for point in asked}
    return {
        point: ", ".join(
            name
            for name, all_of_them in ((point.sampling, samplings), (point.prompt, prompts))
            if name is not None and len(all_of_them) > 1
        )
        for point in points
        if point.workload in WITH_TOKENIZER
    }


def told_elsewhere(
    groups: Mapping[RowKey, Sequence[CellTrials]], labels: Mapping[RowKey, str]
) -> dict[RowKey, dict[str, str]]:
    """For each row, the workloads that were run in another row for both, with that one's label.

    Speed is of one batch size. All others stand with the least, of which they were run one row at a
    time, and what asks no question with the first of the samplings and prompts.
    """
    found: dict[RowKey, dict[str, str]] = {}
    for key, cells in groups.items():
        own = {one.cell.workload for one in cells}
        for other, its_cells in groups.items():
            if other == key or other[:3] != key[:3]:
                continue
            for one in its_cells:
                workload = one.cell.workload
                if workload not in own and (workload != SPEED or other[3] == key[3]):
                    found.setdefault(key, {}).setdefault(workload, labels[other])
    return found


def intended_workloads(study: Study, model: str) -> dict[RowKey, list[str]]:
    """The workloads that the study has for each row, be they in this run or not."""
    points = [point for point in study_cells(study) if point.model == model]
    return _groups([(point, point.workload) for point in points])


def labels_of(keys: Sequence[RowKey]) -> dict[RowKey, str]:
    """The strategy; engine, threads, batch and variant only where the model has several."""
    several_engines = len({engine for engine, *_ in keys}) > 1
    several_threads = len({threads for _, _, threads, *_ in keys}) > 1
    several_batches = len({batch for *_, batch, _ in keys}) > 1
    labels = {}
    for engine, strategy, threads, batch, variant in keys:
        parts = [strategy]
        if several_engines:
            parts.append(engine)
        if several_threads:
            parts.append(count(threads, "thread"))
        if several_batches:
            parts.append(f"batch {batch}")
        if variant:
            parts.append(variant)
        labels[engine, strategy, threads, batch, variant] = ", ".join(parts)
    return labels
