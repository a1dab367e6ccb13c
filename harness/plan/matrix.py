"""The cells of a study, in its order. Pure; knows nothing of machines or files."""

from __future__ import annotations

from harness.config.matrix import study_cells
from harness.config.study import Study
from harness.plan.cell import Cell


def cells(study: Study) -> tuple[Cell, ...]:
    """The matrix, models outermost, without what is excluded; then what is included."""
    return tuple(Cell(**point._asdict()) for point in study_cells(study))
