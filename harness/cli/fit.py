"""`fit`: the fastest strategy that is predicted to fit into the memory there is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.console import console
from harness.cli.exits import EXIT_NOTHING_MEASURED
from harness.cli.model_argument import NamedModel, named_model
from harness.cli.sizes import Size, SizeOrNone
from harness.cli.vram import device_document
from harness.errors import BadInput
from harness.invocation import command_line
from harness.machine import Machine, probe_machine
from harness.report.at_least import AtLeast
from harness.runtime.fit import (
    LIBRARIES_BYTES,
    Candidate,
    Fit,
    Limits,
    fit,
    limits_of,
    needed_bytes,
)
from harness.runtime.forecast import CUDA_CONTEXT_BYTES, HOST, Conditions
from harness.runtime.strategy import describe, device_key
from harness.sizes import size

_NONE_HERE = (
    "No accelerator was found here, so this is for the CPU alone. For one elsewhere, say what it "
    "has: --vram 8GiB"
)
_FAST_BF16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}


@click.command(short_help="Find the fastest strategy that fits into a memory.")
@click.argument("model")
@click.option(
    "--vram", type=SizeOrNone(), help="Of the device: 8GiB, 8G, 8192MiB; 8.5GB is SI. 0: no device."
)
@click.option("--ram", type=Size(), help="Main memory.  [default: this machine's]")
@click.option("--device", help="cuda, cuda:N or mps.  [default: this machine's, or cuda]")
@click.option(
    "--dtype",
    default="fp16",
    show_default=True,
    type=click.Choice(["fp16", "bf16", "fp32"]),
    help="Number format on the device.",
)
@click.option(
    "--batch", default=1, show_default=True, type=click.IntRange(1, 2**16), help="Rows at once."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, sizes in bytes.")
def command(
    model: str,
    *,
    vram: int | None,
    ram: int | None,
    device: str | None,
    dtype: str,
    batch: int,
    as_json: bool,
) -> int:
    """Print the fastest strategy for MODEL that is predicted to fit, to paste into a study.

    In this order: all slots on the device; int8 for as few slots as needed, then for all; a split
    with the CPU; streaming; the CPU alone. Among those of a kind, the one that moves the fewest
    bytes per token, weighed by the bandwidth of where they move. MODEL is named as for `vram`.
    Without an accelerator here, or with --vram 0, the answer is for the CPU.
    """
    if device is not None and not re.fullmatch(r"cuda(:[0-9]{1,3})?|mps", device):
        raise BadInput(f"--device {device}: allowed are cuda, cuda:N and mps")
    for option, given in (("--vram", vram), ("--ram", ram)):
        if given is not None and 0 < given < 2**20:
            raise BadInput(f"{option}: {given:,} bytes hold no model. Say 8GiB, or 8192MiB")
    named = named_model(model, None, "fit")
    assert named is not None
    if named.converted_for is not None:
        raise BadInput(
            f"{model} was converted for '{named.converted_for}', which settles its formats. "
            "Ask `fit` of the original. What this file takes: "
            f"{command_line('vram', model)}"
        )
    machine = probe_machine()
    limits = _limits(machine, vram, ram, device, dtype)
    is_asked = vram is not None or device is not None
    notes = [] if is_asked or machine.accelerators else [_NONE_HERE]
    conditions = Conditions(batch=batch, source=named.source, file_dtype=named.file_dtype)
    found = fit(named.shape, limits, conditions)
    if as_json:
        document = {**_document(named, limits, found), "notes": notes}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return EXIT_NOTHING_MEASURED if found.best is None else 0
    out = console()
    out.print(Text(f"{named}\n"))
    if found.best is None:
        _show_nothing(out, limits, found.nearest)
    else:
        _show(out, named, limits, found, found.best)
    for note in notes:
        out.print(Text(f"Note: {note}"))
    click.echo(f"\nNext: {_next(model, found.best)}")
    return EXIT_NOTHING_MEASURED if found.best is None else 0


def _limits(
    machine: Machine, vram: int | None, ram: int | None, device: str | None, dtype: str
) -> Limits:
    """What was said, and what the machine says of the rest."""
    here = {one.device: one for one in machine.accelerators}
    wanted = device or ("cuda" if vram is not None else next(iter(here), None))
    if vram == 0:
        wanted = vram = None
    has = here.get(device_key(wanted)) if wanted is not None else None
    if vram is None and wanted is not None:
        if has is None:
            raise BadInput(f"there is no {wanted} here to ask. Say how much it has: --vram 8GiB")
        if has.memory_bytes is None:
            raise BadInput(f"{wanted} does not say how much memory it has. Say it: --vram 8GiB")
        vram = has.memory_bytes
    flags = machine.facts.get("cpu_flags")
    return Limits(
        vram_bytes=vram,
        ram_bytes=machine.ram_bytes if ram is None else ram,
        # `cuda` where that says all: the shorter name is the one that people write
        device="cuda" if wanted in (None, "cuda:0") else wanted,
        dtype=dtype,
        fast_bf16=isinstance(flags, list) and bool(_FAST_BF16.intersection(flags)),
    )


def _next(model: str, best: Candidate | None) -> str:
    return command_line("vram") if best is None else command_line("vram", model, best.strategy)


def _show(out: Console, named: NamedModel, limits: Limits, found: Fit, best: Candidate) -> None:
    out.print(Text(f"  {best.strategy}\n"), soft_wrap=True)
    out.print(Text(f"{describe(best.strategy, named.shape.n_layer)}. Predicted:"))
    out.print(AtLeast(_table(best, limits_of(limits))), crop=False)
    context = ""
    if any(one.device.startswith("cuda") for one in best.forecast.accelerators):
        context = f"a CUDA context (reckoned as {size(CUDA_CONTEXT_BYTES)}); on the CPU "
    libraries = f"Python and its libraries ({size(LIBRARIES_BYTES)})"
    if any(one.device == "mps" for one in best.forecast.accelerators):
        libraries += " and what mps takes, which is main memory"
    out.print(
        Text(f"Peak: the worst of loading, prefill and decoding. Beside it: {context}{libraries}.")
    )
    if found.runner_up is not None:
        out.print(Text(f"Next best: {found.runner_up.strategy}"))
    for one in found.faster:
        out.print(Text(f"Faster, but too large: {one.strategy}, {_misses(one, limits)}"))


def _table(best: Candidate, has: Mapping[str, int | None]) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("on")
    for name in ("weights", "peak", "beside it", "there is", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    needed = needed_bytes(best.forecast)
    for one in (*best.forecast.accelerators, best.forecast.host):
        there = has[one.device]
        table.add_row(
            one.device,
            size(one.stored_bytes),
            size(one.peak_bytes),
            size(needed[one.device] - one.peak_bytes),
            "–" if there is None else size(there),
            "–" if there is None else size(there - needed[one.device]),
        )
    return table


def _misses(one: Candidate, limits: Limits) -> str:
    """`needs 13.9 GiB on cuda:0, 5.9 GiB more than there is`."""
    needed, has = needed_bytes(one.forecast), limits_of(limits)
    return "; ".join(
        f"{size(needed[device])} on {_memory(device)}, {size(excess)} more than the "
        f"{size(has[device] or 0)} there"
        for device, excess in one.excess.items()
    )


def _memory(device: str) -> str:
    return "the CPU" if device == HOST else device


def _show_nothing(out: Console, limits: Limits, nearest: Candidate) -> None:
    out.print(
        Text(f"Nothing fits. The nearest is '{nearest.strategy}', {_misses(nearest, limits)}.")
    )


def _document(named: NamedModel, limits: Limits, found: Fit) -> dict[str, Any]:
    return {
        "model": named.name,
        "limits_bytes": limits_of(limits),
        "fits": found.best is not None,
        "best": None if found.best is None else _candidate(found.best),
        "runner_up": None if found.runner_up is None else _candidate(found.runner_up),
        "too_large": [_candidate(one) for one in found.faster],
        "nearest": _candidate(found.nearest),
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "strategy": one.strategy,
        "needed_bytes": needed_bytes(one.forecast),
        "excess_bytes": dict(one.excess),
        "devices": [device_document(device) for device in one.forecast.devices],
    }
