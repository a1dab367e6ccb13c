"""`plan`: what `run` with the same words would do here, what it would skip and why."""

from __future__ import annotations

import json

import click

from harness.cli.budget import ample
from harness.cli.exits import EXIT_NOTHING_MEASURED
from harness.cli.run_folder import say_notes
from harness.cli.run_options import RunOptions, run_options, select


@click.command(short_help="Show what a study would run here, and what not.")
@run_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(options: RunOptions, *, as_json: bool) -> int:
    """Show what 'run' with the same words would do: cells, order, time, and what is skipped.

    STUDY is a YAML file, or builtin:quickstart, changed by each --set. Nothing is run or written,
    and no weights are loaded. Of an unfinished run what is left is shown. How long it will take is
    told from this machine's records in --results, or else from a model and a probe of a tenth of a
    second; with --budget, how far that comes.

    Exit codes: 0; 2 bad input; 4 nothing can be measured, or --budget leaves time for no trial.
    """
    from harness.cli.foreseeing import foresee

    selected = select(options)
    foreseen = foresee(selected)
    if foreseen.chosen is not None:
        say_notes(foreseen.chosen.notes)
    enough_s = None if foreseen.reach is None else foreseen.reach.enough_s
    if as_json:
        from harness.cli.plan_json import foreseen_document

        click.echo(json.dumps(foreseen_document(selected, foreseen), indent=2, ensure_ascii=False))
    else:
        from harness.cli.plan_table import show_plan

        words = selected.words(budget_s=None if enough_s is None else ample(enough_s))
        show_plan(selected.planned, foreseen, words)
    runs = bool(selected.planned.running) and enough_s is None
    return 0 if runs else EXIT_NOTHING_MEASURED
