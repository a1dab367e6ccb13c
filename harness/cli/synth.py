"""`synth`: write random weights of a published size to a file."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output_path import need_room_for, overwrite_option
from harness.cli.progress import byte_progress
from harness.errors import BadInput
from harness.invocation import command_line
from harness.runtime.shape import RANDOM_SHAPES


@click.command(short_help="Write random weights of a published size.")
@click.option("--size", required=True, type=click.Choice(list(RANDOM_SHAPES)), help="Of the model.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file, .pth or .safetensors.  [default: random-SIZE.pth]",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the numbers."
)
@overwrite_option
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def command(*, size: str, out: Path | None, seed: int, overwrite: bool, quiet: bool) -> None:
    """Write the weights of `random:SIZE` in the layout of an original bf16 checkpoint.

    For programs that read files only, such as the official package: speed and memory are those of
    real weights. Tensor by tensor; 28 GB for 14b. Folders that are missing are made.
    """
    from harness.runtime import save_random

    out = Path(f"random-{size}.pth") if out is None else out
    if out.suffix not in (".pth", ".safetensors"):
        raise BadInput(f"--out {out} must be named .pth or .safetensors")
    need_room_for(out, overwrite=overwrite)
    with byte_progress(f"Writing {out.name}", quiet=quiet) as on_bytes:
        save_random(out, RANDOM_SHAPES[size], seed=seed, on_progress=on_bytes)
    if not quiet:
        shape = RANDOM_SHAPES[size]
        click.echo(
            f"{out}: {out.stat().st_size / 2**20:,.1f} MiB, {shape.n_params:,} random bf16 numbers "
            f"({shape.n_layer} layers, width {shape.n_embd})"
        )
        files = ("--in", out, "--out", out.with_name(f"{out.stem}-i8"))
        click.echo(f"Next: {command_line('convert', *files, '--strategy', 'cpu fp32i8')}")
