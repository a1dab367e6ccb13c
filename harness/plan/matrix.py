"""The cells of a study, in its order. Pure; knows nothing of machines or files."""

from __future__ import annotations

from harness.config.matrix import ANSWERS, Combination, sampling_names, study_cells
from harness.config.study import Study
from harness.plan.cell import Cell


def cells(study: Study) -> tuple[Cell, ...]:
    """The matrix, models outermost, without what is excluded; then what is included."""
    return tuple(
        Cell(**point._asdict(), variant=_variant(study, point)) for point in study_cells(study)
    )


def _variant(study: Study, point: Combination) -> str:
    """What tells a cell from those that differ in sampling and prompt alone."""
    if point.workload != ANSWERS:
        return ""
    prompts = study.models[point.model].prompt
    several_prompts = isinstance(prompts, dict) and len(prompts) > 1
    names = (
        point.sampling if len(sampling_names(study)) > 1 else None,
        point.prompt if several_prompts else None,
    )
    return "/".join(name for name in names if name is not None)
