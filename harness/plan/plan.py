"""Study + machine → plan: what will run, what will be skipped and why, what it will weigh.

Pure: the same study, machine and surroundings give the same plan. Nothing is loaded and torch is
not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.config.engines import ENGINES, FAKE, RWKV, TORCH
from harness.config.load import LoadedStudy
from harness.config.matrix import QUALITY, WITH_TOKENIZER
from harness.config.order_settings import OrderKind, Until
from harness.config.problem import listed
from harness.errors import BadInput
from harness.machine import Machine
from harness.plan.cell import Cell, ConvertedOnce, PlannedCell
from harness.plan.look import Surroundings, by_name, look
from harness.plan.matrix import cells
from harness.plan.memory import foresee, hopeless, tight
from harness.plan.missing import LAMBADA, MissingFile, kinds_needed
from harness.plan.original import stored_bytes, why_original
from harness.plan.same import measured_once
from harness.runtime.converted import NO_SOURCE
from harness.runtime.forecast import weight_bytes
from harness.runtime.stored import stored_plan
from harness.runtime.strategy import LayerPlan, Stage, device_key, parse, resolve, warnings
from harness.sizes import size

HOST = "cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every cell of a study with what can be said of it before it runs."""

    study: str
    seed: int  # of the order of trials (`order.py`)
    cells: tuple[PlannedCell, ...]
    missing: tuple[MissingFile, ...] = ()
    order: OrderKind = "randomised"
    until: Until | None = None  # given: the trials of `speed` cells are at most what is planned
    longest_trial_s: float | None = None  # its deadline, and the longest wait before it
    cools_down: bool = False  # there is such a wait
    settings: tuple[str, ...] = ()  # `key=value`: what `--set` changed of the study

    @property
    def running(self) -> tuple[PlannedCell, ...]:
        """The cells that will run."""
        return tuple(
            planned
            for planned in self.cells
            if planned.skip_reason is None and planned.same_as is None
        )

    @property
    def n_trials(self) -> int:
        """Trials of all cells that will run; with `until` at most."""
        return sum(planned.trials for planned in self.running)

    @property
    def n_trials_at_least(self) -> int:
        """The same where all is known as soon as `until` allows; without it, `n_trials`."""
        least = self.n_trials if self.until is None else self.until.min_trials
        return sum(
            min(planned.trials, least) if planned.cell.workload == "speed" else planned.trials
            for planned in self.running
        )


def plan(
    loaded: LoadedStudy,
    machine: Machine,
    surroundings: Surroundings | None = None,
    *,
    only: str | None = None,
    trials: int | None = None,
    converts: bool = True,
) -> Plan:
    """Plan every cell of a study for `machine`.

    `surroundings` are looked up unless given. `only` keeps one workload, `trials` overrides the
    study's number of speed trials, and its `until`; unless it `converts`, weights are read as they
    are. Raises `BadInput` where the study lacks the workload `only`.
    """
    study = loaded.study
    if only is not None and only not in study.workloads.names:
        raise BadInput(
            f"study {study.name} has no workload '{only}'; it has: {listed(study.workloads.names)}"
        )
    seen = look(loaded) if surroundings is None else surroundings
    # Of all workloads, so that each part of a study is measured under the same names as the whole.
    everything = measured_once(
        (_plan_cell(cell, loaded, machine, seen, trials) for cell in cells(study)), study.reference
    )
    kept = tuple(
        one if converts else replace(one, converted=None)
        for one in everything
        if only in (None, one.cell.workload)
    )
    speed = study.workloads.speed
    return Plan(
        study=study.name,
        seed=study.seed,
        settings=loaded.settings.lines,
        cells=kept,
        missing=tuple(_missed_by([one.cell for one in kept], seen.missing)),
        order=study.order,
        until=None if trials is not None or speed is None else speed.until,
        longest_trial_s=study.limits.trial_s
        + (0.0 if study.cooldown is None else study.cooldown.max_wait_s),
        cools_down=study.cooldown is not None,
    )


def _missed_by(kept: Sequence[Cell], missing: Iterable[MissingFile]) -> Iterator[MissingFile]:
    """The missing files that these cells need, with the models that need them."""
    needed = {(cell.model, file.path) for file in missing for cell in kept if _needs(cell, file)}
    for file in missing:
        models = tuple(model for model in file.models if (model, file.path) in needed)
        if models:
            yield replace(file, models=models)


def _needs(cell: Cell, file: MissingFile) -> bool:
    return cell.model in file.models and file.kind in kinds_needed(cell.workload)


def _plan_cell(
    cell: Cell, loaded: LoadedStudy, machine: Machine, seen: Surroundings, trials: int | None
) -> tuple[PlannedCell, tuple[LayerPlan, ...] | None]:
    """The cell and its slots; None where its layers are not known."""
    shape = None if cell.engine == FAKE else seen.shapes.get(cell.model)  # it reads a script
    slots = None if shape is None else resolve(cell.strategy, shape.n_layer)
    n_bytes = {} if shape is None or slots is None else weight_bytes(shape, slots)
    forecasts = None
    if cell.engine == TORCH and shape is not None and slots is not None:
        forecasts = foresee(cell, shape, slots, loaded, seen)
    reasons = list(_reasons(cell, slots or parse(cell.strategy), loaded, machine, seen))
    found = [] if shape is None else list(warnings(cell.strategy, shape.n_layer))
    if forecasts is None:
        found += _strains(cell, n_bytes, machine)
    else:
        reasons += hopeless(forecasts, machine, cell, loaded, seen)
        found += [*_strains(cell, {}, machine), *tight(forecasts, machine)]
    planned = PlannedCell(
        cell=cell,
        trials=_trials(cell, loaded, trials),
        skip_reasons=tuple(reasons),
        weight_bytes=n_bytes,
        forecasts=forecasts,
        converted=_converted(cell, seen),
        warnings=tuple(found),
    )
    return planned, slots


def _converted(cell: Cell, seen: Surroundings) -> ConvertedOnce | None:
    """What the weights will be converted to, where they are."""
    original = seen.originals.get(cell.model) if cell.engine == TORCH else None
    if original is None:
        return None
    stored = stored_plan(cell.strategy, original.shape.n_layer)
    if why_original(original, stored) is not None:
        return None
    return ConvertedOnce(plan=stored.key, nbytes=stored_bytes(original.shape, stored))


def _trials(cell: Cell, loaded: LoadedStudy, override: int | None) -> int:
    """As the study says; `override` is of speeds. What is not timed is computed once."""
    depth = loaded.study.workloads.depth
    if cell.workload == "depth" and depth is not None:
        return depth.trials if override is None else override
    answers = loaded.study.workloads.answers
    if cell.workload == "answers" and answers is not None:
        return answers.trials
    speed = loaded.study.workloads.speed
    if cell.workload != "speed" or speed is None:
        return 1
    if override is not None:
        return override
    return speed.trials if speed.until is None else speed.until.max_trials


def _reasons(
    cell: Cell,
    slots: tuple[LayerPlan, ...] | tuple[Stage, ...],
    loaded: LoadedStudy,
    machine: Machine,
    seen: Surroundings,
) -> Iterator[str]:
    """Why the cell cannot run here; nothing where it can."""
    needs = ENGINES[cell.engine]
    if needs is not None and needs.package not in seen.packages:
        yield f"{needs.package} is not installed: pip install 'rwkv-harness[{needs.extra}]'"
    for file in seen.missing:
        if _needs(cell, file) and file.kind != LAMBADA:  # the rest of quality is there without it
            yield f"{file.kind} {file.state}: {file.shown}"
    if cell.engine != TORCH and isinstance(loaded.files[cell.model].weights, str):
        yield f"the {cell.engine} engine reads files only, not random weights"
    if cell.workload in WITH_TOKENIZER and cell.model in seen.no_tokenizer:
        yield seen.no_tokenizer[cell.model]
    if cell.engine == RWKV:
        yield from _rwkv_reasons(cell)
    if cell.engine == FAKE:
        return
    yield from _weights_reasons(cell, seen)
    absent = _absent(slots, machine)
    if absent:
        yield f"no device {listed(absent)} here, only {listed(_devices(machine))}"


def _weights_reasons(cell: Cell, seen: Surroundings) -> Iterator[str]:
    """What is wrong with the weights for this cell."""
    if cell.model in seen.unreadable:
        yield seen.unreadable[cell.model]
    if cell.model in seen.converted:
        why = seen.converted[cell.model].why_unfit(cell.strategy)
        if why is not None:
            yield by_name(why, seen.converted[cell.model].path)
        converted = seen.converted[cell.model].converted
        if cell.workload == QUALITY and converted is not None and converted.source_sha256 is None:
            yield NO_SOURCE


def _rwkv_reasons(cell: Cell) -> Iterator[str]:
    """What the official package does not do."""
    if cell.batch > 1:
        yield f"the rwkv package runs one row at a time, not a batch of {cell.batch}"
    if any(stage.count == 0 and not stage.streamed for stage in parse(cell.strategy)):
        yield "the rwkv package does not take a '*0' stage: leave the stage out"


def _absent(slots: tuple[LayerPlan, ...] | tuple[Stage, ...], machine: Machine) -> list[str]:
    there = {HOST, *(accelerator.device for accelerator in machine.accelerators)}
    wanted = dict.fromkeys(slot.device for slot in slots)
    return [device for device in wanted if device_key(device) not in there]


def _devices(machine: Machine) -> list[str]:
    return [
        HOST,
        *(f"{one.device} ({one.name})" for one in machine.accelerators),
    ]


def _strains(cell: Cell, n_bytes: Mapping[str, int], machine: Machine) -> Iterator[str]:
    """Where the cell asks for more than the machine has."""
    if machine.cores is not None and cell.threads > machine.cores:
        yield f"{cell.threads} threads on {machine.cores} cores"
    room = {one.device: one.memory_bytes for one in machine.accelerators}
    room[HOST] = machine.ram_bytes
    for device, wanted in n_bytes.items():
        has = room.get(device_key(device))
        if has is not None and wanted > has:
            yield f"{size(wanted)} of weights on {device}, which has {size(has)}"
