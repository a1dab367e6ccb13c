"""What this machine tells of how long a study will take: its records, its caches, and a probe.

Asks; what follows from the answers is `plan/foresee_time.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.run_folder import ChosenRun, choose_run, notes_of

if TYPE_CHECKING:
    from harness.cli.run_options import Selection
    from harness.config.load import LoadedStudy
    from harness.measure.conversion import Weights
    from harness.measure.rehearsal import Reach
    from harness.plan.duration import RunTime
    from harness.plan.known import ConvertedFile, Known, Reads
    from harness.plan.left import Left
    from harness.plan.look import Surroundings
    from harness.plan.order import Turn
    from harness.plan.plan import Plan

_UNKNOWN = "0" * 64  # in place of a hash that nobody computed yet: nothing is kept under it


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """What `run` would do now, by the same words."""

    left: Left
    time: RunTime  # of what is left
    turns: tuple[Turn, ...] = ()  # all of the plan, in their order
    chosen: ChosenRun | None = None  # None: nothing can be measured here, so no run is looked for
    reach: Reach | None = None  # of its budget, where one is given

    @property
    def goes_on(self) -> bool:
        """Whether it would go on with a run."""
        return self.chosen is not None and not self.chosen.is_new


def foresee(selected: Selection) -> Foreseen:
    """Choose the run as `run` does, see what of it is left, and how long that takes.

    Takes a tenth of a second, most of it a probe. Reads no weights, and writes nothing.
    """
    from harness.measure.rehearsal import rehearse
    from harness.measure.schedule import in_order, left, made_again
    from harness.plan.foresee_time import foresee_time
    from harness.plan.left import Left
    from harness.records.imagined import ImaginedStore

    planned, seconds = selected.planned, selected.options.budget_s
    found, known = (planned, selected.loaded, selected.seen), known_of(selected)
    if not planned.running:
        nothing = Left(turns=())
        return Foreseen(left=nothing, time=foresee_time(*found, known, nothing))
    chosen = _chosen(selected)
    store = ImaginedStore(chosen.folder)
    to_do = set(left(planned, store))
    turns = in_order(planned, is_limited=seconds is not None)
    rest = Left(
        turns=tuple(turn for turn in turns if turn in to_do),
        n_again=len(made_again(store, to_do)),
        tried=store.tried,
    )
    reach = None
    if seconds is not None:
        reach = rehearse(planned, foresee_time(*found, known), seconds, chosen.folder)
    return Foreseen(
        left=rest,
        time=foresee_time(*found, known, rest),
        turns=turns,
        chosen=replace(chosen, notes=(*chosen.notes, *notes_of(store))),
        reach=reach,
    )


def _chosen(selected: Selection) -> ChosenRun:
    """The run, as far as that shows without reading what nobody read yet."""
    from harness.measure.bench import run_identity
    from harness.measure.identity import identify_model

    loaded = selected.loaded
    models = {name: identify_model(loaded, name, reads=False) for name in loaded.study.models}
    chosen = choose_run(selected, run_identity(loaded, models, selected.machine.facts))
    unread = [
        path.name
        for name, of_model in loaded.files.items()
        for path, sha256 in (
            (of_model.weights, models[name].weights_sha256),
            (of_model.tokenizer, models[name].tokenizer_sha256),
        )
        if sha256 is None and isinstance(path, Path) and path.is_file()
    ]
    if chosen.is_new or not unread:
        return chosen
    note = (
        f"{', '.join(dict.fromkeys(unread))}: not read yet as it is now; if this run was measured "
        "with another, 'run' begins a new one."
    )
    return replace(chosen, notes=(*chosen.notes, note))


def known_of(selected: Selection) -> Known:
    """What is known here of the time of what was selected."""
    from harness.machine.cores import usable_cores

    return known_here(
        *(selected.planned, selected.loaded, selected.seen, selected.runs),
        cores=usable_cores(selected.machine),
        no_cache=selected.options.no_cache,
    )


def known_here(
    planned: Plan,
    loaded: LoadedStudy,
    seen: Surroundings,
    machine_folder: Path,
    *,
    cores: int | None,
    no_cache: bool,
) -> Known:
    """What tells how long a plan will take here, on so many `cores` where that is known.

    `machine_folder` has the earlier runs, if there are any.

    Takes a tenth of a second, most of it the probe. Reads no weights, and writes nothing.
    """
    from harness.machine.energy import open_meter
    from harness.machine.speed_probe import probe_speed
    from harness.machine.switch import probes_are_off
    from harness.measure.energy import IDLE_S
    from harness.plan.known import Known
    from harness.records.past import past_records

    models = dict.fromkeys(one.cell.model for one in planned.running)
    weights = {model: _weights(loaded, model) for model in models}
    return Known(
        speed=probe_speed(),
        cores=cores,
        past=tuple(past_records(machine_folder)),
        weights={model: of_model.sha256() for model, of_model in weights.items()},
        unhashed_bytes=_unhashed_bytes(loaded),
        converted={} if no_cache else _converted(planned, weights),
        reference_rows={} if no_cache else _reference_rows(seen, weights),
        reference_room=0 if no_cache else _reference_room(),
        lambada_documents=loaded.lambada_documents,
        idle_s=IDLE_S if open_meter().counters else 0.0,
        tells_limits=not probes_are_off(),
    )


def _weights(loaded: LoadedStudy, model: str) -> Weights:
    """A model's weights, with their hash where it is known without reading them."""
    from harness.measure.conversion import Weights
    from harness.measure.identity import identify_model

    path = loaded.files[model].weights
    sha256 = identify_model(loaded, model, reads=False).weights_sha256
    return Weights(path=path, seed=loaded.study.models[model].seed, sha256=lambda: sha256)


def _unhashed_bytes(loaded: LoadedStudy) -> int:
    """Of all weights of the study that nobody read yet: `run` reads each file once."""
    from harness.sources.hashes import known_sha256

    sizes: dict[Path, int] = {}
    for of_model in loaded.files.values():
        path = of_model.weights
        with suppress(OSError):  # what cannot be seen is not read
            if isinstance(path, Path) and known_sha256(path) is None:
                sizes[path] = path.stat().st_size
    return sum(sizes.values())


def _converted(planned: Plan, weights: Mapping[str, Weights]) -> dict[Reads, ConvertedFile]:
    """The strategies that read converted weights, and whether these are there yet."""
    from functools import partial

    from harness.config.engines import TORCH
    from harness.measure.conversion import Conversions
    from harness.measure.conversion_cache import ConvertedCache
    from harness.measure.job import Job
    from harness.plan.known import ConvertedFile

    cache = ConvertedCache()
    conversions = Conversions(cache)
    found: dict[Reads, ConvertedFile] = {}
    ours = (one.cell for one in planned.running if one.cell.engine == TORCH)
    for cell in {(cell.model, cell.strategy): cell for cell in ours}.values():
        of_model = weights[cell.model]
        sha256 = of_model.sha256() or _UNKNOWN
        job = Job(
            engine=cell.engine,
            strategy=cell.strategy,
            weights=str(of_model.path),
            weights_seed=of_model.seed,
            threads=cell.threads,
        )
        wanted = conversions.wanted(replace(of_model, sha256=partial(str, sha256)), job)
        if not isinstance(wanted, str):
            is_there = (cache.folder / wanted.name).is_file()
            found[cell.model, cell.strategy] = ConvertedFile(name=wanted.name, is_there=is_there)
    return found


def _reference_room() -> int | None:
    """Bytes that the cache may hold of references; what has no room is computed for one command."""
    from harness.measure.reference_cache import ReferenceCache

    try:
        return ReferenceCache().budget()
    except OSError:
        return None


def _reference_rows(seen: Surroundings, weights: Mapping[str, Weights]) -> dict[str, int]:
    """How many rows of each model's reference lie in the cache, whatever they are of."""
    from harness.measure.reference_cache import ReferenceCache
    from harness.measure.references import source_sha256

    entries = ReferenceCache().entries()
    rows: dict[str, int] = {}
    for model, of_model in weights.items():
        shape, sha256 = seen.shapes.get(model), source_sha256(of_model)
        if shape is not None and sha256 is not None:
            kept = (e.nbytes for e in entries if e.path.name.startswith(f"{sha256[:16]}-"))
            rows[model] = sum(kept) // (4 * shape.n_vocab)
    return rows
