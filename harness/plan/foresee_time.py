"""How long a plan will take on this machine: puts together what is known of its strategies.

Knows where paces come from, and what a run does once besides its trials. Reads nothing: records and
the machine's speed are given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness.config.engines import FAKE, TORCH
from harness.config.load import LoadedStudy
from harness.machine.speed_probe import MachineSpeed
from harness.plan.cell import Cell, PlannedCell
from harness.plan.duration import GATE_TOKENS, RunTime, cell_times
from harness.plan.look import Surroundings
from harness.plan.order import QUALITY
from harness.plan.pace import Pace, modelled_pace, recorded_pace
from harness.plan.plan import Plan
from harness.records.past import PastCell, PastRecord
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, resolve

_REPORT_S = 4.0  # summaries, plots and one page; scales as Python does
_BEGIN_S = 1.5  # of `run` itself
_LIMITS_S = 5.0  # the machine's limits, at the beginning and at the end, per thread count
_FAKE = Pace(start_s=0.6, load_s=0.0, call_s=0.0, prefill_s=0.0, decode_s=0.0)
_ERRAND_S = 2.3  # a process that computes or converts something, its work apart
_REFERENCE_FLOP_PER_S = 60e9  # per thread
_QUANTISED_PER_S = 60e6  # parameters
_ANSWER_TOKENS = 40  # of a question with its prompt, where no record says

Group = tuple[str, str, str, int]  # model, engine, strategy, threads


def foresee_time(
    planned: Plan,
    loaded: LoadedStudy,
    seen: Surroundings,
    speed: MachineSpeed,
    past: Iterable[PastRecord] = (),
    weights: Mapping[str, str | None] | None = None,
) -> RunTime:
    """The time of every cell and of the whole run.

    `weights` are the hashes of the models' weights, where they are known: records of other weights
    say nothing.
    """
    records = _by_group(past, weights or {})
    paces = {
        one.cell: _pace(one, loaded, seen, speed, records.get(_group(one.cell), []))
        for one in planned.running
    }
    cells = cell_times(planned.running, loaded.study, paces, len(loaded.questions))
    python = speed.python_s / 1.5e-3
    once = {"starting": _BEGIN_S * python, "report": _REPORT_S * python}
    threads = {one.cell.threads for one in planned.running if one.cell.workload == "speed"}
    if loaded.study.roofline and threads:
        once["limits of the machine"] = _LIMITS_S * len(threads)
    once.update(_references(planned, loaded, seen, python))
    once.update(_conversions(planned, seen, paces, python))
    return RunTime(cells=cells, once_s=once)


def _references(
    planned: Plan, loaded: LoadedStudy, seen: Surroundings, python: float
) -> Iterator[tuple[str, float]]:
    """The exact reference of each model, where none is kept: texts once, and the answers once."""
    study = loaded.study
    workloads = {one.cell.workload for one in planned.running}
    if not study.gate and QUALITY not in workloads:
        return
    for model in dict.fromkeys(one.cell.model for one in planned.running):
        shape = seen.shapes.get(model)
        if shape is None:
            continue
        scored = [
            one
            for one in planned.running
            if (one.cell.model, one.cell.workload) == (model, QUALITY)
        ]
        tokens, sweeps = GATE_TOKENS, 1
        quality, answers = study.workloads.quality, study.workloads.answers
        if scored and quality is not None:
            tokens += quality.max_tokens
            if quality.answers and answers is not None:
                tokens += len(scored) * len(loaded.questions) * _ANSWER_TOKENS
                sweeps = 2
        work = 2 * shape.n_params * tokens / (_REFERENCE_FLOP_PER_S * max(study.thread_counts))
        yield f"reference of {model}", python * (sweeps * _ERRAND_S + work)


def _conversions(
    planned: Plan, seen: Surroundings, paces: Mapping[Cell, Pace | None], python: float
) -> Iterator[tuple[str, float]]:
    """Quantising each model for each strategy that never ran here; it is kept from then on."""
    seconds: dict[str, float] = {}
    done: set[tuple[str, str]] = set()
    for one in planned.running:
        cell, pace = one.cell, paces[one.cell]
        shape = seen.shapes.get(cell.model)
        if cell.engine != TORCH or shape is None or pace is None or pace.source == "records":
            continue
        slots = resolve(cell.strategy, shape.n_layer)
        share = sum(slot.weight_dtype == UINT8 for slot in slots) / len(slots)
        if share and (cell.model, cell.strategy) not in done:
            done.add((cell.model, cell.strategy))
            took = python * (_ERRAND_S + share * shape.n_params / _QUANTISED_PER_S)
            seconds[cell.model] = seconds.get(cell.model, 0.0) + took
    yield from ((f"converting {model}", took) for model, took in seconds.items())


def _group(cell: Cell | PastCell) -> Group:
    return (cell.model, cell.engine, cell.strategy, cell.threads)


def _pace(
    one: PlannedCell,
    loaded: LoadedStudy,
    seen: Surroundings,
    speed: MachineSpeed,
    records: list[PastRecord],
) -> Pace | None:
    cell = one.cell
    if cell.engine == FAKE:
        return _FAKE
    shape = seen.shapes.get(cell.model)
    if shape is None:
        return None
    modelled = modelled_pace(
        shape,
        resolve(cell.strategy, shape.n_layer),
        speed,
        threads=cell.threads,
        file_bytes=_file_bytes(loaded, cell, shape),
    )
    return recorded_pace(records, modelled) or modelled


def _file_bytes(loaded: LoadedStudy, cell: Cell, shape: ModelShape) -> int | None:
    path = loaded.files[cell.model].weights
    if not isinstance(path, Path):
        return None
    return 2 * shape.n_params


def _by_group(
    past: Iterable[PastRecord], weights: Mapping[str, str | None]
) -> dict[Group, list[PastRecord]]:
    found: dict[Group, list[PastRecord]] = defaultdict(list)
    for record in past:
        known = weights.get(record.cell.model)
        if known is None or record.weights_sha256 in (None, known):
            found[_group(record.cell)].append(record)
    return found
