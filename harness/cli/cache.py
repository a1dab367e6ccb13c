"""`cache`: look at the converted weights and references that are kept, or remove them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import console
from harness.invocation import command_line
from harness.quickstart.files import BUILTIN

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measure.conversion_cache import ConvertedCache
    from harness.measure.file_cache import Entry
    from harness.measure.reference_cache import ReferenceCache
    from harness.runtime.converted import Converted

CONVERTED, REFERENCE = "converted", "reference"
_DIGITS = 8  # of a file's name that are shown


@click.command(short_help="Show or remove the converted weights and references that are kept.")
@click.option("--clear", is_flag=True, help="Remove all that no running process uses.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def command(*, clear: bool, as_json: bool) -> None:
    """Show the cache of converted weights and references, or remove what it holds.

    `run` and `ask` convert weights to a cell's formats once, and keep the result; `run` keeps what
    the exact reference says of texts and answers. They lie in 'converted' and 'references' in
    $HARNESS_CACHE, or in ~/.cache/rwkv-harness. What was used longest ago leaves first when the
    budget of both is spent: $HARNESS_CACHE_BUDGET, such as 50GiB, or half of the disk's free space,
    of which 10 GiB stay free, or a twentieth where there is hardly more. All of it can be made
    again.
    """
    from harness.measure.conversion_cache import ConvertedCache
    from harness.measure.reference_cache import ReferenceCache

    converted, references = ConvertedCache(), ReferenceCache()
    if clear:
        _clear((converted, references), as_json=as_json)
        return
    files = [_converted(entry) for entry in converted.entries()]
    files += [_reference(entry) for entry in references.entries()]
    files.sort(key=lambda one: one.last_used, reverse=True)
    used = converted.used_bytes() + references.used_bytes()
    if as_json:
        document = {
            "folder": str(converted.folder),
            "references_folder": str(references.folder),
            "used_bytes": used,
            "budget_bytes": converted.budget(),
            "files": [asdict(one) for one in files],
        }
        _print_json(document)
    else:
        _show(converted.folder.parent, used, converted.budget(), files)


@dataclass(frozen=True)
class _File:
    """One row; None where the file is damaged, or that is nothing of its kind."""

    file: str
    kind: str
    source_sha256: str | None
    strategy: str | None  # that it was made for; others may read it too
    tokens: int | None  # of a reference
    bytes: int
    last_used: str  # UTC
    is_read_here: bool | None  # False: made by another PyTorch, or another version of the harness

    @property
    def digits(self) -> str:
        """What tells it from others of the same weights and strategy, as its name does."""
        first, _, second = self.file.removesuffix(".safetensors").partition("-")
        return (second or first)[:_DIGITS]

    @property
    def holds(self) -> str:
        """What it has, for people."""
        if self.kind == CONVERTED and self.strategy is not None:
            return self.strategy
        if self.kind == REFERENCE and self.tokens is not None:
            return f"reference, {self.tokens:,} tokens"
        return "– (damaged)"


def _converted(entry: Entry) -> _File:
    from harness.errors import CheckpointError
    from harness.runtime.checkpoint import read_header

    try:
        converted = read_header(entry.path).converted
    except CheckpointError:
        converted = None
    return _File(
        file=entry.path.name,
        kind=CONVERTED,
        source_sha256=None if converted is None else converted.source_sha256,
        strategy=None if converted is None else converted.strategy,
        tokens=None,
        bytes=entry.nbytes,
        last_used=_used(entry),
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


def _reference(entry: Entry) -> _File:
    from harness.measure.reference_cache import rows_in

    rows = rows_in(entry.path)
    return _File(
        file=entry.path.name,
        kind=REFERENCE,
        source_sha256=None if rows is None else rows.metadata.get("weights_sha256"),
        strategy=None,
        tokens=None if rows is None else rows.n_rows,
        bytes=entry.nbytes,
        last_used=_used(entry),
        is_read_here=None if rows is None else True,  # whatever computed it
    )


def _used(entry: Entry) -> str:
    used = datetime.fromtimestamp(entry.used_ns / 1e9, timezone.utc)
    return used.isoformat(timespec="seconds")


def _show(folder: Path, used: int, budget: int, files: list[_File]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.report.at_least import AtLeast
    from harness.sizes import size

    out = console()
    click.echo(f"Converted weights and references: {size(used)} of at most {size(budget)}.")
    # The path stays in one piece, to be copied.
    out.print(f"Folder: {folder}", markup=False, soft_wrap=True)
    if not files:
        click.echo(f"Next: {command_line('run', BUILTIN)}")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Weights", no_wrap=True)
    table.add_column("Strategy, or reference")
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Last used (UTC)", no_wrap=True)
    table.add_column("File", no_wrap=True)
    for one in files:
        weights = "–" if one.source_sha256 is None else one.source_sha256[:12]
        used_at = one.last_used[:16].replace("T", " ")
        mark = "*" if one.is_read_here is False else ""
        name = Text(f"{one.digits}{mark}")
        table.add_row(weights, Text(one.holds), size(one.bytes), used_at, name)
    out.print(AtLeast(table), crop=False)
    click.echo("Weights go by the first digits of their sha256, files by those behind the dash.")
    if any(one.is_read_here is False for one in files):
        click.echo("* for another PyTorch or version of the harness: nothing here reads it.")
    click.echo(f"To remove them: {command_line('cache', '--clear')}")


def _clear(caches: Iterable[ConvertedCache | ReferenceCache], *, as_json: bool) -> None:
    from harness.sizes import size

    cleared = [(cache.folder, cache.clear()) for cache in caches]
    removed = [entry for _, one in cleared for entry in one.removed]
    kept = [entry for _, one in cleared for entry in one.kept]
    n_bytes = sum(entry.nbytes for entry in removed)
    if as_json:
        document = {
            "folder": str(cleared[0][0]),
            "references_folder": str(cleared[1][0]),
            "removed": [entry.path.name for entry in removed],
            "removed_bytes": n_bytes,
            "kept": [entry.path.name for entry in kept],
        }
        _print_json(document)
        return
    files = "1 file" if len(removed) == 1 else f"{len(removed)} files"
    click.echo(f"Removed {files}, {size(n_bytes)}.")
    if kept:
        click.echo(f"Kept, being in use or not ours to remove: {len(kept)}.")
    click.echo(f"Next: {command_line('cache')}")


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))
