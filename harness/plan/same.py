"""Which cells are the same computation under two names: of those, one is measured. Pure.

`cuda fp16i8 *0 -> cuda fp16` is `cuda fp16`, and every count beyond the last layer is the whole
model. That shows where a model's layers are known; elsewhere each strategy is taken at its word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from harness.plan.cell import Cell, PlannedCell
from harness.runtime.strategy import LayerPlan, device_key, rescale_layer

Slots = tuple[LayerPlan, ...]


def measured_once(
    planned: Iterable[tuple[PlannedCell, Slots | None]], reference: str | None
) -> tuple[PlannedCell, ...]:
    """The cells in their order; one that another is measured for names it, and has no trials.

    The one that is measured is the reference strategy's, or else the first of those that are run
    for most workloads: answers and their quality stand under one name where there is one for both.
    What cannot run keeps its reasons. To be given all cells of a study, also where a part is run.
    """
    cells = list(planned)
    workloads: dict[object, set[str]] = defaultdict(set)
    for one, _ in cells:
        if one.skip_reason is None:
            workloads[_loaded(one.cell)].add(one.cell.workload)

    def rank(each: tuple[PlannedCell, Slots | None]) -> tuple[bool, int]:
        cell = each[0].cell
        return cell.strategy != reference, -len(workloads[_loaded(cell)])

    measured: dict[object, Cell] = {}
    for one, slots in sorted(cells, key=rank):
        if slots is not None and one.skip_reason is None:
            measured.setdefault(_computation(one.cell, slots), one.cell)
    return tuple(
        one
        if slots is None or one.skip_reason is not None
        else _named(one, measured[_computation(one.cell, slots)])
        for one, slots in cells
    )


def _named(one: PlannedCell, measured: Cell) -> PlannedCell:
    return one if measured == one.cell else replace(one, same_as=measured.id, trials=0)


def _loaded(cell: Cell) -> object:
    """Equal for the cells of one strategy, whatever is then done with it."""
    return cell.model, cell.engine, cell.strategy, cell.threads


def _computation(cell: Cell, slots: Slots) -> object:
    """Equal for two cells that do the same: all but the words of the strategy."""
    placed = tuple(replace(slot, device=device_key(slot.device)) for slot in slots)
    # Halving the activations follows from the words, not from the slots.
    return replace(cell, strategy=""), placed, rescale_layer(cell.strategy)
