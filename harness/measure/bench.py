"""Prepare what all trials of a run share: identities of the models, resolved plans, facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.engines import ENGINES, RWKV
from harness.config.load import LoadedStudy
from harness.machine import Machine
from harness.machine.cores import usable_cores
from harness.machine.facts import Facts, text
from harness.machine.heat import HeatProbe
from harness.measure.conversion import Conversions
from harness.measure.cooldown import Cooler
from harness.measure.identity import ModelIdentity, identify_model
from harness.measure.quality_inputs import QualityInputs
from harness.measure.references import References
from harness.measure.roofline import run_limits
from harness.measure.trial import Bench
from harness.measure.watching import cuda_devices_of
from harness.plan.cell import Cell
from harness.plan.look import look
from harness.plan.plan import Plan
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import LayerPlan, resolve
from harness.sources import Found, Locked
from harness.sources.verify import known_revision


def identify_models(
    loaded: LoadedStudy,
    on_model: Callable[[str], None],
    on_bytes: Callable[[int, int], None] | None = None,
) -> dict[str, ModelIdentity]:
    """Hash the files of every model of the study.

    `on_model` hears of each before it is read, `on_bytes` how many bytes of how many are done.

    Of every one, also where this time only a part of the study is run: it is the same run. Raises
    `SourceError` for content that is not what the study or its lock says.
    """
    identities = {}
    for model in loaded.study.models:
        on_model(model)
        identities[model] = identify_model(loaded, model, on_bytes)
    return identities


def locked_sources(loaded: LoadedStudy, models: dict[str, ModelIdentity]) -> dict[str, Locked]:
    """What the study's lock should say of files that came from a hub or server, and does not.

    A file that was put in its place by hand says nothing of what its source has.
    """
    found: list[tuple[Found | None, str | None]] = []
    for name, identity in models.items():
        of_model = loaded.files[name]
        found.append((of_model.found, identity.weights_sha256))
        found.append((of_model.found_tokenizer, identity.tokenizer_sha256))
    found.append((loaded.lambada, loaded.lambada_content))
    files: dict[str, Locked] = {}
    for one, sha256 in found:
        if one is None or not one.is_remotes or one.locked or sha256 is None:
            continue
        if one.path is not None and one.remote is not None:
            size, revision = one.path.stat().st_size, known_revision(one)
            files[one.remote.shown] = Locked(sha256=sha256, size=size, revision=revision)
    return files


def run_identity(
    loaded: LoadedStudy, models: dict[str, ModelIdentity], facts: Facts
) -> dict[str, Any]:
    """What two runs of the same study have in common: content, never paths.

    And the versions of what computes: a trial that was measured with another PyTorch is another.
    """
    return {
        "software": _software(loaded, facts),
        "study_sha256": loaded.sha256,
        # As text: what was set is another run even where it asks the same.
        **({"set": sorted(loaded.settings.asked)} if loaded.settings.values else {}),
        "models": {
            name: {
                "weights_sha256": model.weights_sha256,
                "tokenizer_sha256": model.tokenizer_sha256,
            }
            for name, model in models.items()
        },
    }


def _software(loaded: LoadedStudy, facts: Facts) -> dict[str, str | None]:
    """Versions of the packages that the study's engines compute with; None where not known."""
    needs = [ENGINES[engine] for engine in loaded.study.engines]
    packages = {one.package for one in needs if one is not None}
    if RWKV in packages:
        packages.add("torch")  # under the official package, too
    installed = facts.get("distributions")
    versions = installed if isinstance(installed, dict) else {}
    # PyTorch says its build besides (`+cu118`).
    return {
        name: text(facts, name) or (versions.get(name) if "unavailable" not in versions else None)
        for name in sorted(packages)
    }


@dataclass(frozen=True, kw_only=True)
class Lent:
    """What a run uses that lives longer than it: caches."""

    conversions: Conversions = field(default_factory=lambda: Conversions(None))
    references: References = field(default_factory=References)


def prepare_bench(
    loaded: LoadedStudy,
    planned: Plan,
    machine: Machine,
    models: dict[str, ModelIdentity],
    folder: Path,
    lent: Lent | None = None,
) -> Bench:
    """The bench of a run in `folder`; with nothing lent, trials read the original weights."""
    lent = lent or Lent()
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    shapes = look(loaded).shapes
    plans = _resolve(planned, shapes)
    heat = HeatProbe(devices=_gpus_of_run(planned, plans))
    return Bench(
        loaded=loaded,
        machine_facts=machine.facts,
        models=models,
        plans=plans,
        shapes=shapes,
        machine_limits=run_limits(loaded.study, planned, plans, machine.facts, folder),
        logs=logs,
        conversions=lent.conversions,
        quality=QualityInputs(
            loaded=loaded,
            shapes=shapes,
            references=lent.references,
            cores=usable_cores(machine),
        ),
        cooler=Cooler(settings=loaded.study.cooldown, read=heat.read),
        forecasts={one.cell: one.forecasts for one in planned.cells},
    )


def _gpus_of_run(
    planned: Plan, plans: Mapping[Cell, tuple[LayerPlan, ...] | None]
) -> frozenset[str] | None:
    """The CUDA devices of all cells that run; None where one may use any."""
    devices: frozenset[str] = frozenset()
    for one in planned.running:
        of_cell = cuda_devices_of(plans[one.cell])
        if of_cell is not None:
            devices |= of_cell
        elif "cuda" in one.cell.strategy:
            return None
    return devices


def _resolve(
    planned: Plan, shapes: Mapping[str, ModelShape]
) -> dict[Cell, tuple[LayerPlan, ...] | None]:
    plans: dict[Cell, tuple[LayerPlan, ...] | None] = {}
    for one in planned.cells:
        shape = None if one.cell.engine == "fake" else shapes.get(one.cell.model)
        plans[one.cell] = None if shape is None else resolve(one.cell.strategy, shape.n_layer)
    return plans
