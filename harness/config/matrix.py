"""The matrix of a study: every combination of its axes, minus what is excluded.

Pure. Used by `checks.py` on a study that may still have problems, and by `plan/` and `report/` on a
good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple, TypeVar

from msgspec.structs import asdict

from harness.config.study import WORKLOADS, Study

T = TypeVar("T")

WITH_TOKENIZER = ("answers", "quality")  # workloads that read or write text
ANSWERS = "answers"
QUALITY = "quality"
SPEED = "speed"  # the workload that several batch sizes are measured of
DEPTH = "depth"  # the workload that may be the reference strategy's alone


# The keys of a selector or an addition, and the axis each belongs to, in the order of a cell.
AXIS_OF = {
    "model": "models",
    "engine": "engines",
    "strategy": "strategies",
    "threads": "threads",
    "workload": "workloads",
    "batch": "batches",
    "sampling": "samplings",
    "prompt": "prompts",
}
# Those of a single workload: a selector with one of them leaves the others alone.
ONLY_OF = {"batch": SPEED, "sampling": ANSWERS, "prompt": ANSWERS}


class Combination(NamedTuple):
    """One point of the matrix."""

    model: str
    engine: str
    strategy: str
    threads: int
    workload: str
    batch: int = 1
    sampling: str | None = None  # names; of the workload `answers` alone
    prompt: str | None = None


class Axes(NamedTuple):
    """The values of each axis, in the order of the study; strategies are canonical.

    `batches` is an axis of the workload `speed` alone: all others run one row at a time.
    Samplings and prompts are axes of `answers` alone: they change no speed.
    `depth_of` is the only strategy that the workload `depth` is run with; None: with all.
    """

    models: tuple[str, ...]
    engines: tuple[str, ...]
    strategies: tuple[str, ...]
    threads: tuple[int, ...]
    workloads: tuple[str, ...]
    batches: tuple[int, ...] = (1,)
    depth_of: str | None = None
    samplings: tuple[str | None, ...] = (None,)
    prompts: Mapping[str, tuple[str | None, ...]] = {}  # by model; one without a name is left out

    def variants(self, model: str, workload: str) -> list[tuple[str | None, str | None]]:
        """Samplings and prompts under which the workload runs on the model."""
        if workload not in WITH_TOKENIZER:
            return [(None, None)]
        found = list(product(self.samplings, self.prompts.get(model, (None,))))
        return found if workload == ANSWERS else found[:1]  # quality scores the first ones'

    def allowed(self, name: str, model: str | None = None) -> tuple[str | int, ...]:
        """What a selector or addition may say under `name`, of one model or of all."""
        if name == "prompt":
            named = self.prompts if model is None else {model: self.prompts.get(model, ())}
            prompts = (prompt for of_model in named.values() for prompt in of_model)
            return tuple(dict.fromkeys(prompt for prompt in prompts if prompt is not None))
        if name == "sampling":
            return tuple(sampling for sampling in self.samplings if sampling is not None)
        values: tuple[str | int, ...] = getattr(self, AXIS_OF[name])
        return values


def study_cells(study: Study) -> tuple[Combination, ...]:
    """All cells of a study: the matrix without what is excluded, then what is included."""
    workloads = study.workloads
    reference = study.reference or study.strategies[0]
    only_reference = workloads.depth is not None and workloads.depth.strategies == "reference"
    axes = Axes(
        models=tuple(study.models),
        engines=tuple(study.engines),
        strategies=tuple(study.strategies),
        threads=study.thread_counts,
        workloads=workloads.names,
        batches=workloads.speed.batch_sizes if workloads.speed else (1,),
        depth_of=reference if only_reference else None,
        samplings=sampling_names(study),
        prompts={
            name: tuple(model.prompt)
            for name, model in study.models.items()
            if isinstance(model.prompt, dict)
        },
    )
    excluded = [
        without_one_row({name: value for name, value in asdict(one).items() if value is not None})
        for one in study.exclude
    ]
    included = (
        Combination(
            model=one.model,
            engine=one.engine or axes.engines[0],
            strategy=one.strategy,
            threads=one.threads or axes.threads[0],
            workload=one.workload,
            batch=one.batch or (axes.batches[0] if one.workload == SPEED else 1),
            sampling=one.sampling or sampling,
            prompt=one.prompt or prompt,
        )
        for one in study.include
        for sampling, prompt in axes.variants(one.model, one.workload)[:1]
    )
    return _as_answered((*combinations(axes, excluded), *included), axes)


def _as_answered(points: tuple[Combination, ...], axes: Axes) -> tuple[Combination, ...]:
    """The points; quality has the first sampling and prompt under which there are answers."""
    answered = {one._replace(workload=QUALITY) for one in points if one.workload == ANSWERS}

    def settled(point: Combination) -> Combination:
        if point.workload != QUALITY:
            return point
        variants = axes.variants(point.model, ANSWERS)
        wanted = (point._replace(sampling=one, prompt=other) for one, other in variants)
        return next((one for one in wanted if one in answered), point)

    return tuple(map(settled, points))


def without_one_row(said: dict[str, T]) -> dict[str, T]:
    """What is said of cells, without a batch of 1 where all of the workload have that."""
    if said.get("batch") == 1 and said.get("workload") in set(WORKLOADS) - {SPEED}:
        return {name: value for name, value in said.items() if name != "batch"}
    return said


def sampling_names(study: Study) -> tuple[str | None, ...]:
    """The names of the study's samplings; None alone where there is one without."""
    answers = study.workloads.answers
    return (None,) if answers is None else tuple(answers.samplings) or (None,)


def combinations(
    axes: Axes, excluded: Iterable[Mapping[str, object]] = ()
) -> tuple[Combination, ...]:
    """The matrix in order, models outermost; a selector leaves out what agrees with all it says."""
    selectors = [dict(selector) for selector in excluded]
    return tuple(
        point
        for point in _points(axes)
        if not any(_matches(point, selector) for selector in selectors)
    )


def _points(axes: Axes) -> Iterator[Combination]:
    for model, engine, strategy, threads, workload in product(
        axes.models, axes.engines, axes.strategies, axes.threads, axes.workloads
    ):
        if workload == DEPTH and axes.depth_of not in (None, strategy):
            continue
        for batch in axes.batches if workload == SPEED else (1,):
            for sampling, prompt in axes.variants(model, workload):
                yield Combination(
                    model, engine, strategy, threads, workload, batch, sampling, prompt
                )


def _matches(point: Combination, selector: Mapping[str, object]) -> bool:
    if any(ONLY_OF.get(name, point.workload) != point.workload for name in selector):
        return False
    return all(getattr(point, name) == value for name, value in selector.items())
