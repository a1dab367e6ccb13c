"""`plan`: what a study would run here, in which order, what it would skip and why."""

from __future__ import annotations

import json

import click

from harness.cli.exits import EXIT_NOTHING_MEASURED
from harness.cli.setting import set_option


@click.command(short_help="Show what a study would run here, and what not.")
@click.argument("study")
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(study: str, *, settings: tuple[str, ...], as_json: bool) -> int:
    """Show the cells of STUDY, their order, and what will be skipped and why.

    STUDY is a YAML file, or builtin:quickstart, changed by each --set. Nothing is run and no
    weights are loaded.
    """
    from harness.config.load import load_study
    from harness.machine import probe_machine
    from harness.plan.plan import plan

    planned = plan(load_study(study, settings), probe_machine())
    if as_json:
        from harness.plan.document import plan_document

        click.echo(json.dumps(plan_document(planned), indent=2, ensure_ascii=False))
    else:
        from harness.cli.plan_table import show_plan

        show_plan(planned, study)
    return 0 if planned.running else EXIT_NOTHING_MEASURED
