"""`facts`: what identifies this machine and this software, as every record of a run keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.invocation import command_line
from harness.machine.declared import ENGINE, FACTS, MACHINE_FACTS, MACHINE_GROUPS, About
from harness.machine.kinds import ANY, HASH, Kind, is_unavailable
from harness.quickstart.files import BUILTIN

if TYPE_CHECKING:
    from rich.console import RenderableType

_DIGITS = 16  # of a hash that are shown; --json has all
_NAME_WIDTH = max(map(len, FACTS))
_APART = 2  # spaces between two columns
# Shown in one line with "distributions", and as a list below.
_WITH_DISTRIBUTIONS = "distributions_sha256"


@click.command(short_help="Show what identifies this machine and its software.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON, hashes in full.")
@click.option(
    "--engine",
    metavar="NAME",
    help="Also ask this engine what its libraries are built with; it takes as long as it imports.",
)
def command(*, as_json: bool, engine: str | None) -> None:
    """Show the facts that every record of a run on this machine holds.

    Processor, memory and GPUs; where Python and its packages come from (a Nix closure, a virtual
    environment, conda or the system), and the version of each. Host and user names are not among
    them. A trial adds what its engine says once the model is open; --engine shows it without one.
    """
    from harness.machine import probe_machine

    machine = probe_machine()
    facts = dict(machine.facts)
    if engine is not None:
        facts |= _asked(engine)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    _show(machine.label, facts)


def _asked(engine: str) -> dict[str, Any]:
    """The facts of the group "Engine" as they are in this process."""
    from harness.engines.registry import load_engine
    from harness.machine.probe import engine_facts
    from harness.machine.switch import probes_are_off

    loaded = load_engine(engine)
    said = {} if probes_are_off() else {**loaded.versions(), **loaded.facts()}
    return engine_facts(said, engine)


def _show(label: str, facts: Mapping[str, Any]) -> None:
    from rich.text import Text

    from harness.cli.console import console

    out = console()
    out.print(Text(f"Facts of {label}, in every record of a run here:"))
    notes = _Notes()
    groups = MACHINE_GROUPS if facts.keys() <= set(MACHINE_FACTS) else (*MACHINE_GROUPS, ENGINE)
    for group in groups:
        out.print(Text(f"\n{group}", style="bold"))
        out.print(_table(group, facts, notes))
    versions = facts["distributions"]
    if not is_unavailable(versions):
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
    value, about = facts[name], FACTS[name]
    if name == "distributions" and not is_unavailable(value):
        sha256 = _text(HASH, facts[_WITH_DISTRIBUTIONS], notes)
        yield f"{len(value)} distributions, sha256 {sha256}"
    elif about.members and about.kind.accepts(value):
        for one in value:
            yield _members(one, about.members, notes)
    else:
        yield _text(about.kind, value, notes)


def _text(kind: Kind, value: Any, notes: _Notes) -> str:
    if is_unavailable(value):
        return notes.mark(value["unavailable"])
    if kind.of is not None and isinstance(value, dict):
        sign = "=" if kind.of is ANY else " "
        return _joined(f"{one}{sign}{_text(kind.of, said, notes)}" for one, said in value.items())
    text = kind.text(value)
    return f"{text[:_DIGITS]}…" if kind is HASH else text


def _members(values: Mapping[str, Any], members: Mapping[str, About], notes: _Notes) -> str:
    """`name Fabricated GPU, memory 80.0 GiB`; the unit says what the end of the name did."""
    return _joined(
        f"{re.sub('_(bytes|mhz|w)$', '', one)} {_text(_kind(members, one), value, notes)}"
        for one, value in values.items()
    )


def _kind(members: Mapping[str, About], name: str) -> Kind:
    return members[name].kind if name in members else ANY


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts) or "none"


def _in_columns(items: list[str]) -> RenderableType:
    """Read down, as `ls` lists files."""
    from rich.columns import Columns
    from rich.text import Text

    return Columns(map(Text, items), padding=(0, _APART), column_first=True)
