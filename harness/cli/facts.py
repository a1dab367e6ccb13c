"""`facts`: what identifies this machine and this software, as every record of a run keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.invocation import command_line
from harness.machine.facts import FACTS, GROUPS
from harness.quickstart.files import BUILTIN

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.machine import Machine

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGITS = 16  # of a hash that are shown; --json has all
_NAME_WIDTH = max(len(name) for name in FACTS)
_APART = 2  # spaces between two columns
# Shown in one line with "distributions", and as a list below.
_WITH_DISTRIBUTIONS = "distributions_sha256"


@click.command(short_help="Show what identifies this machine and its software.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON, hashes in full.")
def command(*, as_json: bool) -> None:
    """Show the facts that every record of a run on this machine holds.

    Processor, memory and GPUs; where Python and its packages come from (a Nix closure, a virtual
    environment, conda or the system), and the version of each. Host and user names are not among
    them.
    """
    from harness.machine import probe_machine

    machine = probe_machine()
    if as_json:
        click.echo(json.dumps(machine.facts, indent=2, ensure_ascii=False))
        return
    _show(machine)


def _show(machine: Machine) -> None:
    from rich.text import Text

    from harness.cli.console import console

    out = console()
    out.print(Text(f"Facts of {machine.label}, in every record of a run here:"))
    notes = _Notes()
    for group in GROUPS:
        out.print(Text(f"\n{group}", style="bold"))
        out.print(_table(group, machine.facts, notes))
    versions = machine.facts["distributions"]
    if not _is_missing(versions):
        out.print(Text("\nInstalled distributions", style="bold"))
        out.print(_in_columns([f"{name} {version}" for name, version in versions.items()]))
    out.print("")
    for number, reason in enumerate(notes.reasons, start=1):
        out.print(Text(f"[{number}] {reason}"))
    click.echo(f"Next: {command_line('plan', BUILTIN)}")


class _Notes:
    """Reasons for what is missing: each is one footnote, however many facts it is for."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def mark(self, reason: str) -> str:
        """The sign for a missing value, and the number of its footnote."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"– [{self.reasons.index(reason) + 1}]"


def _table(group: str, facts: Mapping[str, Any], notes: _Notes) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, _APART, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, min_width=_NAME_WIDTH)
    table.add_column(overflow="fold")
    for name, about in FACTS.items():
        if about.group == group and name != _WITH_DISTRIBUTIONS:
            for at, line in enumerate(_lines(name, facts, notes)):
                table.add_row("" if at else name, Text(line))
    return table


def _lines(name: str, facts: Mapping[str, Any], notes: _Notes) -> Iterator[str]:
    """A fact as text; more than one line for several GPUs."""
    value = facts[name]
    if name == "distributions" and not _is_missing(value):
        yield f"{len(value)} distributions, sha256 {_text(name, facts[_WITH_DISTRIBUTIONS], notes)}"
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for one in value:
            yield _pairs(one, notes)
    else:
        yield _text(name, value, notes)


def _text(name: str, value: Any, notes: _Notes) -> str:
    from harness.sizes import size

    if _is_missing(value):
        return notes.mark(value["unavailable"])
    if isinstance(value, dict):
        if name.endswith("_bytes"):
            value = {level: size(n_bytes) for level, n_bytes in value.items()}
        if name == "env":
            return ", ".join(f"{variable}={said}" for variable, said in value.items()) or "none"
        return _pairs(value, notes)
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_mhz"):
        return f"{value:,.0f} MHz"
    text = str(value)
    return f"{text[:_DIGITS]}…" if _SHA256.fullmatch(text) else text


def _pairs(values: Mapping[str, Any], notes: _Notes) -> str:
    """`name Fabricated GPU, memory 80.0 GiB`; the unit says what the end of the name did."""
    return ", ".join(
        f"{re.sub('_(bytes|mhz)$', '', name)} {_text(name, value, notes)}"
        for name, value in values.items()
    )


def _is_missing(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"unavailable"}


def _in_columns(items: list[str]) -> RenderableType:
    """Read down, as `ls` lists files."""
    from rich.columns import Columns
    from rich.text import Text

    return Columns(map(Text, items), padding=(0, _APART), column_first=True)
