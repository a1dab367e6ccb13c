"""How long a plan will take on this machine: puts together what is known of its strategies.

Knows where paces come from, and what a run does once besides its trials. Reads nothing: records,
the machine's speed and what lies in caches are given.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from harness.config.engines import FAKE
from harness.config.load import LoadedStudy
from harness.config.study import Study
from harness.machine.speed_probe import MachineSpeed
from harness.plan.cell import Cell, PlannedCell
from harness.plan.duration import (
    PROMPT_TOKENS,
    REFERENCES,
    CellTime,
    Once,
    ReferenceSize,
    RunTime,
    answer_tokens,
    trial_seconds,
)
from harness.plan.look import Surroundings
from harness.plan.order import QUALITY
from harness.plan.pace import (
    START_S,
    Kind,
    Pace,
    modelled_pace,
    recorded_pace,
    reference_seconds,
    slowness,
)
from harness.plan.plan import Plan
from harness.records.past import PastCell, PastRecord
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, resolve

GATE_TOKENS = 32  # that are looked at before a strategy is measured
_BEGIN_S = 1.0  # of `run` itself
_REPORT_S = 4.0  # summaries, plots and one page
_LIMITS_S = 3.5  # of finding out what the machine can do at best, its process included
_CAST_PER_S, _QUANTISED_PER_S = 110e6, 600e6  # parameters of a conversion
_MOST_BUSY = 4.0  # times as slow
_FAKE_S = 0.6  # a trial of it: nothing is computed
# What of a workload's settings does not change how long a trial takes.
_OF_THE_STUDY = ("trials", "until", "strategies")

Group = tuple[str, str, str, int]  # model, engine, strategy, threads
Reads = tuple[str, str]  # model, strategy


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What this machine tells: how fast it is, what it measured, and what its caches hold."""

    speed: MachineSpeed
    past: Sequence[PastRecord] = ()
    # Hashes of the models' weights, where they are known: records of others say nothing.
    weights: Mapping[str, str | None] = field(default_factory=dict)
    # Whether the converted weights are there yet; without an entry the original ones are read.
    converted: Mapping[Reads, bool] = field(default_factory=dict)
    reference_rows: Mapping[str, int] = field(default_factory=dict)  # kept, by model


def foresee_time(planned: Plan, loaded: LoadedStudy, seen: Surroundings, known: Known) -> RunTime:
    """The time of every cell and of the whole run, from a cold start of the command on."""
    study = loaded.study
    records = _by_group(known)
    paces = {
        one.cell: _pace(one.cell, loaded, seen, known, records[_group(one.cell)])
        for one in planned.running
    }
    cells = tuple(
        _cell_time(one, planned, loaded, paces[one.cell], records[_group(one.cell)])
        for one in planned.running
    )
    known = _under_its_load(known, paces.values())
    slow = slowness(known.speed)
    once = [Once(what="starting", s=_BEGIN_S * slow)]
    once += _limits(planned, study, slow)
    once += _conversions(planned, seen, known, slow)
    references, made = _references(planned, loaded, seen, known, paces)
    once += made
    once.append(Once(what="report", s=_REPORT_S * slow, at_end=True))
    return RunTime(cells=cells, once=tuple(once), references=references)


def _under_its_load(known: Known, paces: Iterable[Pace | None]) -> Known:
    """What is known, as it is on a machine that is as busy as it was when it made its records.

    Starting a process takes about as long everywhere, but for that.
    """
    usual = START_S * slowness(known.speed)
    starts = [one.start_s for one in paces if one is not None and one.source == "records"]
    busy = min(max(1.0, statistics.median(starts) / usual), _MOST_BUSY) if starts else 1.0
    python_s = known.speed.python_s * busy**2  # of which `slowness` is the root
    return replace(known, speed=replace(known.speed, python_s=python_s))


def _cell_time(
    one: PlannedCell,
    planned: Plan,
    loaded: LoadedStudy,
    pace: Pace | None,
    records: Sequence[PastRecord],
) -> CellTime:
    """From records of the same trial, else of the same strategy, else from the model."""
    cell, study = one.cell, loaded.study
    least = one.trials
    if planned.until is not None and cell.workload == "speed":
        least = min(least, planned.until.min_trials)
    same = [record for record in records if _is_same(record, cell, loaded)]
    took = [
        record.took_s
        for record in [one for one in same if one.outcome.kind == "ok"] or same
        if record.took_s is not None
    ]
    if took:
        seconds: float | None = statistics.median(took)
    elif cell.engine == FAKE:
        seconds = _FAKE_S
    else:
        n_questions = len(loaded.questions)
        seconds = None if pace is None else trial_seconds(cell, study, pace, n_questions)
    return CellTime(
        cell=cell,
        trials=one.trials,
        trials_at_least=least,
        trial_s=seconds,
        source="records" if took or pace is None else pace.source,
    )


def _is_same(record: PastRecord, cell: Cell, loaded: LoadedStudy) -> bool:
    """Whether a record is of a trial that did as much work."""
    if (record.cell.workload, record.cell.batch) != (cell.workload, cell.batch):
        return False
    if cell.workload == "answers" and len(record.answers) != len(loaded.questions):
        return False
    of_answers = ("answers",) if cell.workload == QUALITY else ()
    now: dict[str, Any] = msgspec.to_builtins(loaded.study.workloads)
    return all(
        _work(record.asked.get(name)) == _work(now[name]) for name in (cell.workload, *of_answers)
    )


def _work(settings: object) -> dict[str, Any] | None:
    if not isinstance(settings, dict):
        return None
    return {name: value for name, value in settings.items() if name not in _OF_THE_STUDY}


def _limits(planned: Plan, study: Study, slow: float) -> Iterator[Once]:
    """What the machine can do at best, before the first speeds, and at the end."""
    by_threads: dict[int, set[str]] = defaultdict(set)
    for one in planned.running:
        if study.roofline and one.cell.workload == "speed" and one.cell.engine != FAKE:
            by_threads[one.cell.threads].add(one.cell.id)
    for ids in by_threads.values():
        yield Once(what="limits of the machine", s=_LIMITS_S * slow, before=frozenset(ids))
        yield Once(what="limits of the machine", s=_LIMITS_S * slow, at_end=True)


def _conversions(planned: Plan, seen: Surroundings, known: Known, slow: float) -> Iterator[Once]:
    """Converting each model for each strategy that it lies in no cache for."""
    for (model, strategy), is_there in known.converted.items():
        shape = seen.shapes.get(model)
        cells = [
            one.cell.id
            for one in planned.running
            if (one.cell.model, one.cell.strategy) == (model, strategy)
        ]
        if shape is None or is_there or not cells:
            continue
        slots = resolve(strategy, shape.n_layer)
        share = sum(slot.weight_dtype == UINT8 for slot in slots) / len(slots)
        work = shape.n_params * (1 / _CAST_PER_S + share / _QUANTISED_PER_S)
        yield Once(what="converting weights", s=slow * (START_S + work), before=frozenset(cells))


def _references(
    planned: Plan,
    loaded: LoadedStudy,
    seen: Surroundings,
    known: Known,
    paces: Mapping[Cell, Pace | None],
) -> tuple[tuple[ReferenceSize, ...], list[Once]]:
    """The exact reference of each model, where none is kept: texts once, and the answers once."""
    study = loaded.study
    sizes, once = [], []
    for model in dict.fromkeys(one.cell.model for one in planned.running):
        shape = seen.shapes.get(model)
        cells = [one.cell for one in planned.running if one.cell.model == model]
        scoring = [cell for cell in cells if cell.workload == QUALITY]
        if shape is None or not (study.gate or scoring):
            continue
        text = _text_rows(loaded, model)
        answers, fed = _answer_rows(loaded, scoring, paces)
        kept = known.reference_rows.get(model, 0)
        # How long answers are can only be guessed, but not whether there are any.
        text_kept, answers_kept = kept >= text, kept >= text + answers / (2 * len(cells))
        rows = text + answers
        sizes.append(
            ReferenceSize(
                model=model,
                rows=rows,
                n_vocab=shape.n_vocab,
                is_kept=text_kept and answers_kept,
            )
        )
        if not text_kept:
            took = _reference_s(shape, loaded, model, known, tokens=text, rows=text)
            once.append(Once(what=REFERENCES, s=took, before=frozenset(c.id for c in cells)))
        if answers and not answers_kept:
            took = _reference_s(shape, loaded, model, known, tokens=fed, rows=answers)
            once.append(Once(what=REFERENCES, s=took, before=frozenset(c.id for c in scoring)))
    return tuple(sizes), once


def _text_rows(loaded: LoadedStudy, model: str) -> int:
    """Rows of the gate and the text; a text has at most as many tokens as bytes."""
    quality, text = loaded.study.workloads.quality, loaded.quality_text
    if quality is None or text is None or loaded.files[model].tokenizer is None:
        return GATE_TOKENS
    return GATE_TOKENS + min(quality.max_tokens, len(text.encode("utf-8")))


def _answer_rows(
    loaded: LoadedStudy, scoring: Sequence[Cell], paces: Mapping[Cell, Pace | None]
) -> tuple[int, int]:
    """Rows of all answers, each strategy's its own, and the tokens that are fed for them."""
    quality = loaded.study.workloads.quality
    if quality is None or not quality.answers or loaded.study.workloads.answers is None:
        return 0, 0
    # One more than the answer has tokens: that which ended it.
    each = [1 + round(answer_tokens(loaded.study, paces[cell])) for cell in scoring]
    rows = len(loaded.questions) * sum(each)
    return rows, rows + len(loaded.questions) * len(each) * PROMPT_TOKENS


def _reference_s(
    shape: ModelShape, loaded: LoadedStudy, model: str, known: Known, *, tokens: int, rows: int
) -> float:
    return reference_seconds(
        shape,
        known.speed,
        tokens=tokens,
        rows=rows,
        threads=max(loaded.study.thread_counts),
        loaded=_kind(loaded, model),
    )


def _kind(loaded: LoadedStudy, model: str) -> Kind:
    return "random" if isinstance(loaded.files[model].weights, str) else "file"


def _group(cell: Cell | PastCell) -> Group:
    return (cell.model, cell.engine, cell.strategy, cell.threads)


def _pace(
    cell: Cell,
    loaded: LoadedStudy,
    seen: Surroundings,
    known: Known,
    records: Sequence[PastRecord],
) -> Pace | None:
    shape = seen.shapes.get(cell.model)
    if cell.engine == FAKE or shape is None:
        return None
    is_converted = (cell.model, cell.strategy) in known.converted
    modelled = modelled_pace(
        shape,
        resolve(cell.strategy, shape.n_layer),
        known.speed,
        threads=cell.threads,
        loaded="converted" if is_converted else _kind(loaded, cell.model),
    )
    return recorded_pace(records, modelled) or modelled


def _by_group(known: Known) -> dict[Group, list[PastRecord]]:
    """Records of the same weights, where both hashes are known."""
    found: dict[Group, list[PastRecord]] = defaultdict(list)
    for record in known.past:
        now = known.weights.get(record.cell.model)
        if None in (now, record.weights_sha256) or now == record.weights_sha256:
            found[_group(record.cell)].append(record)
    return found
