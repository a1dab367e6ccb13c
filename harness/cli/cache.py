"""`cache`: look at the converted weights that are kept, or remove them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import console
from harness.invocation import command_line
from harness.quickstart.files import BUILTIN

if TYPE_CHECKING:
    from harness.measure.conversion_cache import ConvertedCache, Entry
    from harness.runtime.converted import Converted

_DIGITS = 8  # of a file's name that are shown


@click.command(short_help="Show or remove the converted weights that are kept.")
@click.option("--clear", is_flag=True, help="Remove all that no running process uses.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def command(*, clear: bool, as_json: bool) -> None:
    """Show the cache of converted weights, or remove what it holds.

    `run` and `ask` convert weights to a cell's formats once, and keep the result in 'converted' in
    $HARNESS_CACHE, or in ~/.cache/rwkv-harness. What was used longest ago leaves first when the
    budget is spent: $HARNESS_CACHE_BUDGET, such as 50GiB, or half of the disk's free space, of
    which 10 GiB stay free. All of it can be made again.
    """
    from harness.measure.conversion_cache import ConvertedCache

    cache = ConvertedCache()
    if clear:
        _clear(cache, as_json=as_json)
        return
    files = [_described(entry) for entry in reversed(cache.entries())]
    if as_json:
        budget = {"used_bytes": cache.used_bytes(), "budget_bytes": cache.budget()}
        _print_json(
            {"folder": str(cache.folder), **budget, "files": [asdict(one) for one in files]}
        )
    else:
        _show(cache, files)


@dataclass(frozen=True)
class _File:
    """One row; None where the file is damaged."""

    file: str
    source_sha256: str | None
    strategy: str | None  # that it was made for; others may read it too
    bytes: int
    last_used: str  # UTC
    is_read_here: bool | None  # False: made by another PyTorch, or another version of the harness

    @property
    def digits(self) -> str:
        """What tells it from others of the same weights and strategy, as its name does."""
        first, _, second = self.file.removesuffix(".safetensors").partition("-")
        return (second or first)[:_DIGITS]


def _described(entry: Entry) -> _File:
    from harness.errors import CheckpointError
    from harness.runtime.checkpoint import read_header

    try:
        converted = read_header(entry.path).converted
    except CheckpointError:
        converted = None
    used = datetime.fromtimestamp(entry.used_ns / 1e9, timezone.utc)
    return _File(
        file=entry.path.name,
        source_sha256=None if converted is None else converted.source_sha256,
        strategy=None if converted is None else converted.strategy,
        bytes=entry.nbytes,
        last_used=used.isoformat(timespec="seconds"),
        is_read_here=None if converted is None else _is_read_here(entry, converted),
    )


def _is_read_here(entry: Entry, converted: Converted) -> bool:
    """Whether a trial here would look for a file of this name."""
    from harness.measure.conversion import converter
    from harness.measure.conversion_cache import Wanted

    wanted = Wanted(
        source_sha256=converted.source_sha256 or "",
        plan=converted.plan,
        tensor_bytes=0,
        converter=converter(),
    )
    return entry.path.name == wanted.name


def _show(cache: ConvertedCache, files: list[_File]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.report.at_least import AtLeast
    from harness.sizes import size

    out = console()
    click.echo(f"Converted weights: {size(cache.used_bytes())} of at most {size(cache.budget())}.")
    # The path stays in one piece, to be copied.
    out.print(f"Folder: {cache.folder}", markup=False, soft_wrap=True)
    if not files:
        click.echo(f"Next: {command_line('run', BUILTIN)}")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Weights", no_wrap=True)
    table.add_column("Strategy")
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Last used (UTC)", no_wrap=True)
    table.add_column("File", no_wrap=True)
    for one in files:
        weights = "–" if one.source_sha256 is None else one.source_sha256[:12]
        strategy = "– (damaged)" if one.strategy is None else one.strategy
        used = one.last_used[:16].replace("T", " ")
        mark = "*" if one.is_read_here is False else ""
        table.add_row(weights, Text(strategy), size(one.bytes), used, Text(f"{one.digits}{mark}"))
    out.print(AtLeast(table), crop=False)
    click.echo("Weights go by the first digits of their sha256, files by those behind the dash.")
    if any(one.is_read_here is False for one in files):
        click.echo("* for another PyTorch or version of the harness: nothing here reads it.")
    click.echo(f"To remove them: {command_line('cache', '--clear')}")


def _clear(cache: ConvertedCache, *, as_json: bool) -> None:
    from harness.sizes import size

    cleared = cache.clear()
    if as_json:
        document = {
            "folder": str(cache.folder),
            "removed": [entry.path.name for entry in cleared.removed],
            "removed_bytes": sum(entry.nbytes for entry in cleared.removed),
            "kept": [entry.path.name for entry in cleared.kept],
        }
        _print_json(document)
        return
    files = "1 file" if len(cleared.removed) == 1 else f"{len(cleared.removed)} files"
    click.echo(f"Removed {files}, {size(sum(entry.nbytes for entry in cleared.removed))}.")
    if cleared.kept:
        click.echo(f"Kept, being in use or not ours to remove: {len(cleared.kept)}.")
    click.echo(f"Next: {command_line('cache')}")


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))
