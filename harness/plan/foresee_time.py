"""How long a plan will take on this machine: puts together what is known of its strategies.

Knows where paces come from. Reads nothing: records, the machine's speed and what lies in caches are
given (`known.py`). What a run does once besides its trials is `foresee_once.py`'s.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from harness.config.engines import FAKE
from harness.config.load import LoadedStudy
from harness.config.study import Study
from harness.plan.cell import Cell
from harness.plan.duration import CellTime, CoolingDown, RunTime, Texts, trial_seconds
from harness.plan.foresee_once import OnceInRun, kind_of
from harness.plan.known import Known
from harness.plan.left import Left
from harness.plan.look import Surroundings
from harness.plan.order import QUALITY, order
from harness.plan.pace import START_S, Pace, modelled_pace, recorded_pace, slowness
from harness.plan.plan import Plan
from harness.records.past import PastCell, PastRecord
from harness.runtime.strategy import resolve

_MOST_BUSY = 4.0  # times as slow
_FAKE_S = 0.6  # a trial of it: nothing is computed
# What of a workload's settings does not change how long a trial takes.
_OF_THE_STUDY = ("trials", "until", "strategies")

Group = tuple[str, str, str, int]  # model, engine, strategy, threads


def foresee_time(
    planned: Plan,
    loaded: LoadedStudy,
    seen: Surroundings,
    known: Known,
    left: Left | None = None,
) -> RunTime:
    """The time of every cell and of the whole run, from a cold start of the command on.

    Of a run that goes on, only of what is `left`; the cells that it has done are not among those.
    """
    study = loaded.study
    if left is None:
        left = Left(turns=order(planned.cells, planned.seed, planned.order))
    records = _by_group(known)
    paces = {
        one.cell: _pace(one.cell, loaded, seen, known, records[_group(one.cell)])
        for one in planned.running
    }
    least = left.at_least(planned)
    cells = tuple(
        _cell_time(cell, (least[cell], most), loaded, known, paces[cell], records[_group(cell)])
        for cell, most in ((one.cell, left.by_cell[one.cell]) for one in planned.running)
        if most
    )
    references, once = OnceInRun(
        planned=planned,
        left=left,
        loaded=loaded,
        seen=seen,
        known=_under_its_load(known, paces.values()),
        paces=paces,
    ).all()
    return RunTime(
        cells=cells,
        once=once,
        references=references,
        cooling=_cooling(study, known),
        n_idle=len(planned.cells) - len(planned.running),
        n_done=len(planned.running) - len(cells),
    )


def _cooling(study: Study, known: Known) -> CoolingDown | None:
    """What trials wait for the machine to cool down; as long as trials of the same rule did."""
    if study.cooldown is None:
        return None
    asked = msgspec.to_builtins(study.cooldown)
    waited = [
        one.cooling.waited_s
        for one in known.past
        if one.cooling is not None and one.cooling.waited_s is not None and one.cooldown == asked
    ]
    each = statistics.fmean(waited) if waited else None
    return CoolingDown(most_s=study.cooldown.max_wait_s, each_s=each)


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
    cell: Cell,
    trials: tuple[int, int],
    loaded: LoadedStudy,
    known: Known,
    pace: Pace | None,
    records: Sequence[PastRecord],
) -> CellTime:
    """From records of the same trial, else of the same strategy, else from the model.

    `trials` are how many at least, and at most. None takes longer than its deadline.
    """
    study = loaded.study
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
        texts = Texts(questions=len(loaded.questions), documents=known.lambada_documents)
        seconds = None if pace is None else trial_seconds(cell, study, pace, texts)
    deadline = study.limits.trial_s
    return CellTime(
        cell=cell,
        trials=trials[1],
        trials_at_least=trials[0],
        trial_s=None if seconds is None else min(seconds, deadline),
        is_late=seconds is not None and seconds > deadline,
        source="records" if took else "model" if pace is None else pace.source,
    )


def _is_same(record: PastRecord, cell: Cell, loaded: LoadedStudy) -> bool:
    """Whether a record is of a trial that did as much work."""
    if (record.cell.workload, record.cell.batch) != (cell.workload, cell.batch):
        return False
    if (record.cell.sampling, record.cell.prompt) != (cell.sampling, cell.prompt):
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
        threads=known.at_once(cell.threads),
        loaded="converted" if is_converted else kind_of(loaded, cell.model),
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
