"""`plan`: what a study would run here, in which order, what it would skip and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.exits import EXIT_NOTHING_MEASURED
from harness.cli.machine_folder import machine_option, place_words, results_option
from harness.cli.setting import set_option


@click.command(short_help="Show what a study would run here, and what not.")
@click.argument("study")
@results_option
@machine_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    study: str, *, results: Path, label: str | None, settings: tuple[str, ...], as_json: bool
) -> int:
    """Show the cells of STUDY, their order and time, and what will be skipped and why.

    STUDY is a YAML file, or builtin:quickstart, changed by each --set. Nothing is run and no
    weights are loaded. How long it will take is told from this machine's records in --results, or
    else from a model and a probe of a tenth of a second.
    """
    from harness.cli.foreseeing import foreseen_time
    from harness.config.load import load_study
    from harness.machine import probe_machine
    from harness.machine.cores import usable_cores
    from harness.plan.look import look
    from harness.plan.plan import plan

    loaded, machine = load_study(study, settings), probe_machine()
    seen = look(loaded)
    planned = plan(loaded, machine, seen)
    runs = results / (label or machine.label)
    time = foreseen_time(planned, loaded, seen, runs, cores=usable_cores(machine))
    if as_json:
        from harness.plan.document import plan_document
        from harness.plan.time_document import time_document

        document = {**plan_document(planned), "time": time_document(time)}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        from harness.cli.plan_table import show_plan

        show_plan(planned, study, time, place_words(results, label))
    return 0 if planned.running else EXIT_NOTHING_MEASURED
