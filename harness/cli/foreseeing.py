"""What this machine tells of how long a study will take: its records, its caches, and a probe.

Asks; what follows from the answers is `plan/foresee_time.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.config.load import LoadedStudy
    from harness.measure.conversion import Weights
    from harness.plan.duration import RunTime
    from harness.plan.known import ConvertedFile, Reads
    from harness.plan.look import Surroundings
    from harness.plan.plan import Plan

_UNKNOWN = "0" * 64  # in place of a hash that nobody computed yet: nothing is kept under it


def foreseen_time(
    planned: Plan,
    loaded: LoadedStudy,
    seen: Surroundings,
    machine_folder: Path,
    *,
    cores: int | None,
    no_cache: bool = False,
) -> RunTime:
    """How long the plan will take here, on so many `cores` where that is known.

    `machine_folder` has the earlier runs, if there are any.

    Takes a tenth of a second, most of it the probe. Reads no weights.
    """
    from harness.machine.energy import open_meter
    from harness.machine.speed_probe import probe_speed
    from harness.machine.switch import probes_are_off
    from harness.measure.energy import IDLE_S
    from harness.plan.foresee_time import foresee_time
    from harness.plan.known import Known
    from harness.records.past import past_records

    models = dict.fromkeys(one.cell.model for one in planned.running)
    weights = {model: _weights(loaded, model) for model in models}
    known = Known(
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
    return foresee_time(planned, loaded, seen, known)


def _weights(loaded: LoadedStudy, model: str) -> Weights:
    """A model's weights, with their hash where it is known without reading them."""
    from harness.measure.conversion import Weights
    from harness.measure.identity import identify_model
    from harness.sources.hashes import known_sha256

    path = loaded.files[model].weights
    if isinstance(path, Path):
        sha256 = known_sha256(path)
    else:
        sha256 = identify_model(loaded, model).weights_sha256  # of what it is made from
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
    from dataclasses import replace
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
