"""`--set key=value` on the command line: one option, alike wherever a study is named."""

from __future__ import annotations

from collections.abc import Iterable

import click

from harness.invocation import command_line

OPTION = "--set"

set_option = click.option(
    OPTION,
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the study, such as workloads.speed.trials=5; the value is YAML, null "
    "removes. May be given several times.",
)


def pull_command(study: str, settings: Iterable[str]) -> str:
    """The command that downloads what the study lacks."""
    return command_line("pull", study, *set_words(settings))


def set_words(settings: Iterable[str]) -> list[str]:
    """The words that set the same again."""
    return [word for one in settings for word in (OPTION, one)]
