"""What a cell will take of the machine's memory, and whether that can be.

Knows the study's lengths and the machine's sizes; the bytes come from `runtime/forecast.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from harness.config.load import LoadedStudy
from harness.machine import Machine
from harness.plan.cell import Cell, Forecasts
from harness.plan.look import Surroundings
from harness.runtime.fit import needed_bytes
from harness.runtime.forecast import CHUNK_TOKENS, HOST, Conditions, forecast
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import LayerPlan, device_key
from harness.sizes import size


def foresee(
    cell: Cell,
    shape: ModelShape,
    slots: tuple[LayerPlan, ...],
    loaded: LoadedStudy,
    seen: Surroundings,
) -> Forecasts:
    """What our runtime will take under the cell's batch and prompt lengths."""
    given = Conditions(half_on_cpu=seen.half_on_cpu, batch=cell.batch)
    given = replace(given, chunk_tokens=min(CHUNK_TOKENS, _longest(cell, loaded)))
    converted = replace(given, source="converted")
    if isinstance(loaded.files[cell.model].weights, str):
        given = replace(given, source="random")
    elif cell.model in seen.converted:
        given = converted
    else:
        given = replace(given, file_dtype=seen.file_dtypes.get(cell.model, "bf16"))
    return Forecasts(
        as_given=forecast(shape, slots, given), converted=forecast(shape, slots, converted)
    )


def _longest(cell: Cell, loaded: LoadedStudy) -> int:
    """Tokens of the longest prompt, as far as that is known."""
    workloads = loaded.study.workloads
    if cell.workload == "speed" and workloads.speed is not None:
        return max(workloads.speed.prompt_lengths)
    if cell.workload == "depth" and workloads.depth is not None:
        return max(1, *workloads.depth.depths)
    return CHUNK_TOKENS


def hopeless(
    found: Forecasts, machine: Machine, cell: Cell, loaded: LoadedStudy, seen: Surroundings
) -> Iterator[str]:
    """Where even the forecast's peak is more than there is, with a way out."""
    room = _room(machine)
    for device, needed in found.converted.peak_bytes().items():
        has = room.get(device)
        if has is not None and needed > has:
            yield (
                f"needs {size(needed)} on {device}, which has {size(has)}; "
                f"{_way_out(cell, loaded, seen)} names a plan that fits"
            )


def _way_out(cell: Cell, loaded: LoadedStudy, seen: Surroundings) -> str:
    if cell.model in seen.converted:  # its formats are settled
        return "python -m harness fit with the original weights"
    rows = f" --batch {cell.batch}" if cell.batch > 1 else ""
    weights = shlex.quote(str(loaded.files[cell.model].weights))
    return f"python -m harness fit {weights}{rows}"


def tight(found: Forecasts, machine: Machine) -> Iterator[str]:
    """Where it fits only without what comes on top: a CUDA context, Python and its libraries."""
    room = _room(machine)
    peaks = found.converted.peak_bytes()
    for device, needed in needed_bytes(found.converted).items():
        has = room.get(device)
        if has is not None and peaks[device] <= has < needed:
            top = "Python and its libraries" if device == HOST else "a CUDA context"
            yield (f"tight: needs {size(needed)} on {device} with {top}, and there is {size(has)}")


def _room(machine: Machine) -> dict[str, int | None]:
    room = {device_key(one.device): one.memory_bytes for one in machine.accelerators}
    return {**room, HOST: machine.ram_bytes}
