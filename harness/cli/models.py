"""`models`: which weights are there, what they are, and how to name them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from harness.invocation import command_line

if TYPE_CHECKING:
    from harness.runtime.checkpoint import Header
    from harness.sources.inventory import Stored


@click.command(short_help="List the weights that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def command(*, as_json: bool) -> None:
    """List the weights in $HARNESS_MODELS, models.yaml, ./models, the hub's cache, the downloads.

    A study or --model may name each by the name in the first column, or a part of it that only one
    file has.
    """
    from harness.sources.inventory import inventory

    stored, n_others = inventory()
    if as_json:
        click.echo(json.dumps([_document(one) for one in stored], indent=2, ensure_ascii=False))
        return
    _show(stored, n_others)


def _show(stored: tuple[Stored, ...], n_others: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.cli.console import console
    from harness.report.at_least import AtLeast

    out = console()
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("layers × width", justify="right", no_wrap=True)
    table.add_column("vocab", justify="right", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    table.add_column("tokenizer", no_wrap=True)
    notes: list[str] = []
    place = ""
    for one in stored:
        if one.place != place:
            place = one.place
            table.add_row(Text(f"{place}:", style="bold"))
        table.add_row(*(Text(value) for value in _row(one, notes)))
    out.print(AtLeast(table), crop=False)
    for note in notes:
        out.print(Text(note))
    if n_others:
        some = "1 other file" if n_others == 1 else f"{n_others} other files"
        out.print(Text(f"{some} in the hub's cache: no RWKV-4 weights"))
    click.echo(f"Next: {_next(stored)}")


def _row(one: Stored, notes: list[str]) -> list[str]:
    from harness.report.format import MISSING, size

    mark = ""
    if one.problem is not None:
        notes.append(f"[{len(notes) + 1}] {one.name}: {one.problem}")
        mark = f" [{len(notes)}]"
    bytes_ = MISSING if one.size is None else size(one.size)
    if one.header is None:
        return [f"  {one.name}{mark}", bytes_, MISSING, MISSING, MISSING, MISSING]
    shape = one.header.shape
    tokenizer, why = _tokenizer(one)
    if why is not None:
        notes.append(f"[{len(notes) + 1}] {one.name}: {why}")
        tokenizer = f"{MISSING} [{len(notes)}]"
    return [
        f"  {one.name}",
        bytes_,
        f"{shape.n_layer} × {shape.n_embd}",
        f"{shape.n_vocab}",
        f"{one.dtype}{', converted' if one.is_converted else ''}",
        tokenizer or MISSING,
    ]


def _tokenizer(one: Stored) -> tuple[str | None, str | None]:
    """The tokenizer that would be taken, or why there is none."""
    from harness.config.model_files import tokenizer_of
    from harness.errors import SourceError

    if one.found is None:
        return None, None
    try:
        found, why = tokenizer_of(one.found)
    except SourceError as error:
        return None, str(error)
    if found is None:
        return None, why
    if found.path is None:
        return None, f"its tokenizer '{found.text}' is not here; pull the model to get it"
    return "yes" if found.path.name == "tokenizer.json" else found.path.stem[:14], None


def _document(one: Stored) -> dict[str, Any]:
    shape = None if one.header is None else one.header.shape
    tokenizer, why = (None, None) if one.header is None else _tokenizer(one)
    path = None if one.found is None else one.found.path
    remote = None if one.found is None else one.found.remote
    return {
        "name": one.name,
        "place": one.place,
        "path": None if path is None else str(path),
        "source": None if remote is None else remote.shown,
        "bytes": one.size,
        "n_layer": None if shape is None else shape.n_layer,
        "n_embd": None if shape is None else shape.n_embd,
        "n_vocab": None if shape is None else shape.n_vocab,
        "dtype": one.dtype,
        "converted": None if shape is None else one.is_converted,
        "tokenizer": tokenizer,
        "no_tokenizer": why,
        "problem": one.problem,
    }


def _next(stored: tuple[Stored, ...]) -> str:
    """Ask the model that was listed last of those that can answer; or get what one lacks."""
    readable = [one for one in stored if one.header is not None]
    able = next((one for one in reversed(readable) if _tokenizer(one)[0] is not None), None)
    lacks = next((one for one in readable if _lacks_its_tokenizer(one)), None)
    if lacks is not None and (able is None or able.place == "shipped"):
        return command_line("pull", lacks.name)
    if able is None:
        return command_line("pull", "configs/raven.yaml")
    return ask_command(able.name, able.header)


def ask_command(name: str, header: Header | None) -> str:
    """How to ask a model; a converted one under the strategy that it is for."""
    converted = None if header is None else header.converted
    how = () if converted is None else ("--strategy", converted.strategy)
    return command_line("ask", "--model", name, *how, "What is RWKV?")


def _lacks_its_tokenizer(one: Stored) -> bool:
    """Whether it is known which tokenizer is wanted, and that is not here."""
    from harness.config.model_files import tokenizer_of
    from harness.errors import SourceError

    if one.found is None:
        return False
    try:
        found, _ = tokenizer_of(one.found)
    except SourceError:
        return False
    return found is not None and found.path is None
