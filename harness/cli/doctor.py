"""`doctor`: what on this machine will disturb a measurement, how badly, and what mends it."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from typing import TYPE_CHECKING, Any

import click

from harness.invocation import as_typed, command_line
from harness.quickstart.files import BUILTIN

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.machine import Machine
    from harness.machine.doctor import Examined
    from harness.machine.doctor.moment import Moment

_INDENT = 8  # columns of a severity


@click.command(short_help="Show what will disturb a measurement here, and what mends it.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 60),
    default=1.5,
    show_default=True,
    help="How long to look at what goes on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(*, seconds: float, as_json: bool) -> None:
    """List what on this machine will disturb a measurement: how badly, and what mends it.

    Looks at the settings of the system and, for a moment, at what goes on. Needs no privilege and
    changes nothing: the commands are for you to judge and run. Always exits with 0.
    """
    from harness.machine import probe_machine
    from harness.machine.doctor import examine

    machine = probe_machine()
    now = _look(machine, seconds)
    found = examine(machine.facts, now)
    if as_json:
        click.echo(json.dumps(_document(machine, now, found), indent=2, ensure_ascii=False))
    else:
        _show(machine, now, found)


def _look(machine: Machine, seconds: float) -> Moment:
    """Watch the machine while this process sleeps."""
    from harness.machine.doctor.finding import fact
    from harness.machine.doctor.moment import Moment, busiest, cpu_seconds
    from harness.machine.quiet import Probes, Sampler
    from harness.machine.switch import probes_are_off

    sampler = Sampler(Probes().sources(gpus=None))
    off = probes_are_off()
    sampler.begin(os.getpid())
    before = {} if off else cpu_seconds()
    time.sleep(seconds)
    after = {} if off else cpu_seconds()
    seen = sampler.end()
    busy = busiest(before, after, seen.seconds)
    return Moment(seen=seen, busy=busy, cpus=fact(machine.facts, "cpu_allowed"))


def _document(machine: Machine, now: Moment, found: Examined) -> dict[str, Any]:
    return {
        "machine": machine.label,
        "seconds": round(now.seen.seconds, 3),
        "findings": [dataclasses.asdict(one) for one in found.findings],
        "fine": list(found.fine),
        "not_told": found.not_told,
    }


def _show(machine: Machine, now: Moment, found: Examined) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from harness.cli.console import console

    out = console()
    looked = f"looked at for {now.seen.seconds:.1f} s"
    if found.findings:
        out.print(Text(f"What will disturb a measurement on {machine.label}, {looked}:\n"))
        out.print(_table(found))
    else:
        out.print(
            Text(f"Nothing was found that disturbs a measurement on {machine.label}, {looked}.")
        )
    if found.fine:
        out.print(Text(f"Fine: {', '.join(found.fine)}."))
    if found.not_told:
        out.print(Text("Not told here:"))
        for why, names in _by_reason(found.not_told).items():
            out.print(Padding(Text(f"{', '.join(names)}: {why}"), (0, 0, 0, 2)))
    click.echo(f"Next: {command_line('run', BUILTIN)}")


def _table(found: Examined) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 0, 0, 0))
    table.add_column(width=_INDENT, no_wrap=True)
    table.add_column(overflow="fold")
    for one in found.findings:
        table.add_row(Text(one.severity, style="bold"), Text(one.what))
        table.add_row("", Text(f"effect: {one.effect}"))
        table.add_row(
            "", Text(f"$ {as_typed(one.mend)}" if one.is_command else f"mend:   {one.mend}")
        )
        table.add_row("", "")
    return table


def _by_reason(not_told: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, why in not_told.items():
        reasons.setdefault(why, []).append(name)
    return reasons
