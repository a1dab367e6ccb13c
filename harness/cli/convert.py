"""`convert`: write a checkpoint in the form that a strategy needs, once for all its loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.model_argument import need_weights
from harness.cli.output_path import need_room_for, overwrite_option
from harness.cli.progress import byte_progress
from harness.errors import BadInput
from harness.invocation import command_line

if TYPE_CHECKING:
    from harness.runtime import Conversion
    from harness.runtime.stored import Form

_SUFFIXES = {".pth": "pth", ".safetensors": "safetensors"}


@click.command(short_help="Convert weights to what a strategy needs.")
@click.option(
    "--in",
    "source",
    required=True,
    help="Weights: a path (.pth may be left out), a name, hf://…, or random:SIZE.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write; its suffix may be left out.",
)
@click.option("--strategy", help="For which it is converted; a converted input has its own.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["safetensors", "pth"]),
    help="'pth' is the official package's.  [default: as --out says, else safetensors]",
)
@click.option(
    "--fold",
    type=click.Choice(["float32", "file"]),
    help="Precision of ln0 in the embedding.  [default: float32; file for pth]",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of random:")
@overwrite_option
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    *,
    source: str,
    out: Path,
    strategy: str | None,
    form: Form | None,
    fold: str | None,
    seed: int,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Convert weights to the tensors that a strategy needs: cast, quantised, rescaled.

    Works tensor by tensor, so that memory does not grow with the model, and needs no device that
    the strategy names. The file serves every strategy that needs the same stored tensors, on
    whatever devices. One that is there already needs --overwrite, and is replaced only when the
    new one is complete. Folders that are missing are made.

    \b
    harness convert --in A.pth --out B --strategy "cuda fp16i8 *20 -> cpu fp32"
    """  # noqa: D301 - the character that click reads as "do not wrap", not a backslash
    from harness.runtime import convert_model
    from harness.runtime.checkpoint import read_header
    from harness.runtime.strategy import parse
    from harness.sources import file_sha256, find

    if strategy is not None:
        parse(strategy)
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder. Name a file.")
    form = _form(out, form)
    if out.suffix.lower() not in _SUFFIXES:
        out = out.with_name(f"{out.name}.{form}")
    how = () if strategy is None else ("--strategy", strategy)
    need_weights(source, lambda weights: ("convert", "--in", weights, "--out", out, *how))
    found = find(source, base=Path())
    weights: Path | str = found.random or found.need()
    if isinstance(weights, Path) and out.exists() and out.samefile(weights):
        raise BadInput(f"--out {out} is the file that is to be converted. Name another one.")
    need_room_for(out, overwrite=overwrite)
    converted = read_header(weights).converted if isinstance(weights, Path) else None
    if strategy is None and converted is None:
        raise BadInput(
            f"{source} is not a converted file, so a strategy is needed: --strategy 'cpu fp32i8', "
            "say"
        )
    sha256 = None if converted is None else converted.source_sha256
    if isinstance(weights, Path) and sha256 is None:
        with byte_progress(f"Hashing {weights.name}", quiet=quiet) as on_bytes:
            sha256 = file_sha256(weights, on_bytes)
    with byte_progress(f"Converting to {out.name}", quiet=quiet) as on_bytes:
        done = convert_model(
            weights,
            out,
            strategy,
            form=form,
            fold=fold,  # type: ignore[arg-type]
            seed=seed,
            source_sha256=sha256,
            on_progress=on_bytes,
        )
    if as_json:
        _print_json(done)
    elif not quiet:
        _say(done, form)


def _form(out: Path, form: Form | None) -> Form:
    """The format asked for, which the file's name must not contradict."""
    named = _SUFFIXES.get(out.suffix.lower())
    if form is None:
        return "pth" if named == "pth" else "safetensors"
    if named not in (None, form):
        raise BadInput(f"--out {out} is named {out.suffix}, and --format is {form}. Change one.")
    return form


def _say(done: Conversion, form: Form) -> None:
    from harness.runtime.strategy import describe

    n_layer = len(done.plan.slots) - 1
    kind = "official converted .pth" if form == "pth" else "safetensors"
    click.echo(f"{done.path}: {done.nbytes / 2**20:,.1f} MiB, {kind}")
    click.echo(f"  for   {done.strategy}")
    click.echo(f"  plan  {describe(done.strategy, n_layer)}")
    click.echo(f"  from  sha256 {done.source_sha256}")
    click.echo(f"Next: {_next(done)}")


def _next(done: Conversion) -> str:
    """Ask it, where it can be asked here; else see what it takes."""
    from harness.config.model_files import tokenizer_of
    from harness.machine import probe_machine
    from harness.runtime.strategy import device_key, resolve
    from harness.sources import find

    tokenizer, _ = tokenizer_of(find(str(done.path.absolute())))
    here = {"cpu", *(one.device for one in probe_machine().accelerators)}
    devices = {plan.device for plan in resolve(done.strategy, len(done.plan.slots) - 1)}
    runs_here = set(map(device_key, devices)) <= here
    if runs_here and tokenizer is not None and tokenizer.path is not None:
        return command_line("ask", "--model", done.path, "--strategy", done.strategy, "Hello")
    return command_line("vram", done.path, done.strategy)


def _print_json(done: Conversion) -> None:
    import json

    document = {
        "path": str(done.path),
        "bytes": done.nbytes,
        "strategy": done.strategy,
        "plan": done.plan.key,
        "source_sha256": done.source_sha256,
    }
    click.echo(json.dumps(document, indent=2))
