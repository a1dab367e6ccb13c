"""The command line: finds the command, and is the only place that turns an error into an exit code.

0 done, 1 gate failed, 2 bad input, 3 a cell failed, 4 nothing could be measured, 130 interrupted.
Commands live in files of their own, imported when named, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

from harness import __version__
from harness.cli.exits import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_NOTHING_MEASURED
from harness.errors import BadInput, HarnessError

# In the order of a user's day; each is a module of this package that defines `command`.
COMMANDS = {
    "plan": "plan",
    "run": "run",
    "report": "report",
    "ask": "ask",
    "schema": "schema",
    "train-quickstart": "train_quickstart",
}


class _Commands(click.Group):
    """Imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"harness.cli.{COMMANDS[name]}").command
        return command


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="rwkv-harness")
def cli() -> None:
    """Benchmark RWKV-4 language models: speed, memory and quality per strategy.

    Begin with: rwkv-harness run configs/quickstart.yaml
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    try:
        code = cli.main(arguments, prog_name="rwkv-harness", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.exceptions.Abort:
        _complain("interrupted")
        code = EXIT_INTERRUPTED
    except KeyboardInterrupt:
        _complain("interrupted")
        code = EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = EXIT_BAD_INPUT
    except BadInput as error:
        _complain(str(error))
        code = EXIT_BAD_INPUT
    except HarnessError as error:
        _complain(str(error))
        code = EXIT_NOTHING_MEASURED
    except BrokenPipeError:
        # The reader of our output went away (`… | head`): nothing left to say, and nobody to hear.
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> None:
    click.echo(f"error: {message}", err=True)
