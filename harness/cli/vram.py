"""`vram`: what strategies will take of each device, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from harness.cli.console import console
from harness.cli.model_argument import SIZES, NamedModel, named_model
from harness.invocation import command_line
from harness.report.at_least import AtLeast
from harness.runtime.fit import LIBRARIES_BYTES
from harness.runtime.forecast import (
    CHUNK_TOKENS,
    CUDA_CONTEXT_BYTES,
    Conditions,
    DeviceForecast,
    Forecast,
    forecast,
)
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import canonical, resolve
from harness.sizes import short_size
from harness.sizes import size as written

WELL_KNOWN = (
    *("cpu fp32", "cpu bf16", "cpu fp32i8", "cpu bf16i8"),
    *("cuda fp16", "cuda fp16i8 *10 -> cuda fp16", "cuda fp16i8"),
    *("cuda fp16 *10 -> cpu fp32", "cuda fp16i8 *10 -> cpu fp32"),
    *("cuda fp16i8 *10+", "cuda fp16i8 *0+ -> cpu fp32 *1"),
)
_COLUMNS = ("weights", "scales", "state", "activ.", "work", "peak")


@click.command(short_help="Show what strategies will take of each device's memory.")
@click.argument("model", required=False)
@click.argument("strategies", nargs=-1)
@click.option("--size", type=click.Choice(SIZES), help="A published size, in place of MODEL.")
@click.option(
    "--batch", default=1, show_default=True, type=click.IntRange(1, 2**16), help="Rows at once."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, in bytes.")
def command(
    model: str | None, strategies: tuple[str, ...], *, size: str | None, batch: int, as_json: bool
) -> None:
    """Show the memory that MODEL needs under each STRATEGY, by default the well-known ones.

    MODEL is a path, a name, hf://…, random:SIZE, builtin:quickstart or a size such as 3b; only its
    header is read. With neither MODEL nor --size, the peaks of all published sizes in one table.
    A converted file is shown under the strategy it was made for.
    """
    if size is not None and model is not None:
        strategies, model = (model, *strategies), None  # with --size, all words are strategies
    named = named_model(model, size, "vram")
    asked = tuple(canonical(one) for one in strategies)
    if named is None:
        _show_overview(batch, as_json=as_json)
        return
    for one in asked:
        named.need_fit(one)
    # a converted file is what it is: the well-known strategies are for its original
    asked = asked or ((named.converted_for,) if named.converted_for else WELL_KNOWN)
    conditions = Conditions(batch=batch, source=named.source, file_dtype=named.file_dtype)
    found = {
        one: forecast(named.shape, resolve(one, named.shape.n_layer), conditions) for one in asked
    }
    if as_json:
        _print_json(_document(named, batch, found))
        return
    out = console()
    out.print(Text(f"{named}; batch {batch}."))
    table = forecast_table(found.items())
    out.print(AtLeast(table), crop=False)
    _print_notes(found.values())
    wanted = model or named.name.removeprefix("RWKV-4 ")
    overview = named.converted_for is not None  # `fit` chooses formats, and its are settled
    words = ("vram",) if overview else ("fit", wanted, "--vram", "8GiB")
    click.echo(f"\nNext: {command_line(*words)}")


def forecast_table(found: Iterable[tuple[str, Forecast]]) -> Table:
    """One row per strategy, in it a line per device."""
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("strategy", overflow="fold", min_width=12)
    table.add_column("on", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for strategy, one in found:
        devices = _shown(one)
        figures = zip(*([short_size(n) for n in _figures(each)] for each in devices), strict=True)
        names = "\n".join(each.device for each in devices)
        table.add_row(Text(strategy), names, *("\n".join(column) for column in figures))
    return table


def _shown(found: Forecast) -> tuple[DeviceForecast, ...]:
    """Accelerators first: theirs is the memory that runs out."""
    return (*found.accelerators, found.host)


def _figures(device: DeviceForecast) -> tuple[int, ...]:
    return (
        device.weights,
        device.scales,
        device.state,
        max(device.prefill.activations, device.decode.activations),
        device.workspace,
        device.peak_bytes,
    )


def _print_notes(found: Iterable[Forecast]) -> None:
    click.echo("Ki, Mi, Gi are 2^10, 2^20, 2^30 bytes. The peak is the worst of loading, prefill")
    click.echo("and decoding, not the sum of a row. Prompts are reckoned in pieces of")
    click.echo(
        f"{CHUNK_TOKENS} tokens; a study of shorter ones needs less. On the CPU, Python and its"
    )
    click.echo(f"libraries come on top ({written(LIBRARIES_BYTES)}); `fit` counts them.")
    if any(one.device.startswith("cuda") for each in found for one in each.accelerators):
        click.echo(
            "So does a context on a CUDA device, 0.3 to 0.6 GiB; `fit` reckons with "
            f"{written(CUDA_CONTEXT_BYTES)}."
        )


def _show_overview(batch: int, *, as_json: bool) -> None:
    conditions = Conditions(batch=batch)
    found = {
        strategy: {
            size: forecast(shape, resolve(strategy, shape.n_layer), conditions)
            for size, shape in RANDOM_SHAPES.items()
        }
        for strategy in WELL_KNOWN
    }
    if as_json:
        _print_json(
            [
                _document(
                    NamedModel(name=size, shape=shape),
                    batch,
                    {strategy: found[strategy][size] for strategy in WELL_KNOWN},
                )
                for size, shape in RANDOM_SHAPES.items()
            ]
        )
        return
    out = console()
    out.print(Text(f"Memory that RWKV-4 needs, predicted: peak per device, batch {batch}."))
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("strategy", overflow="fold")
    table.add_column("on", no_wrap=True)
    for size in RANDOM_SHAPES:
        table.add_column(size, justify="right", no_wrap=True)
    for strategy, sizes in found.items():
        devices = [_shown(one) for one in sizes.values()]
        table.add_row(
            Text(strategy),
            "\n".join(one.device for one in devices[0]),
            *("\n".join(short_size(one.peak_bytes) for one in each) for each in devices),
        )
    out.print(AtLeast(table), crop=False)
    _print_notes(one for sizes in found.values() for one in sizes.values())
    click.echo(f"\nNext: {command_line('vram', '3b')}")


def _document(named: NamedModel, batch: int, found: dict[str, Forecast]) -> dict[str, Any]:
    return {
        "model": named.name,
        "batch": batch,
        "strategies": [
            {"strategy": strategy, "devices": [device_document(d) for d in one.devices]}
            for strategy, one in found.items()
        ],
        "not_counted": {"cuda_context_bytes": CUDA_CONTEXT_BYTES},
    }


def device_document(device: DeviceForecast) -> dict[str, Any]:
    """One device's forecast as JSON-like values."""
    weights, scales, state, activations, workspace, peak = _figures(device)
    return {
        "device": device.device,
        "weight_bytes": weights,
        "scale_bytes": scales,
        "state_bytes": state,
        "activation_bytes": activations,
        "workspace_bytes": workspace,
        "load_bytes": device.load_bytes,
        "prefill_bytes": device.prefill_bytes,
        "decode_bytes": device.decode_bytes,
        "peak_bytes": peak,
    }


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
