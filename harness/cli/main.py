"""The command line: finds the command, and is the only place that turns an error into an exit code.

Commands live in files of their own, imported when named, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from typing import NoReturn

import click

from harness import __version__
from harness.cli.exits import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_NOTHING_MEASURED
from harness.errors import BadInput, HarnessError
from harness.invocation import as_typed, command_line

# In the order of a user's day; each is a module of this package that defines `command`.
COMMANDS = {
    "vram": "vram",
    "fit": "fit",
    "plan": "plan",
    "run": "run",
    "report": "report",
    "recommend": "recommend",
    "ask": "ask",
    "convert": "convert",
    "synth": "synth",
    "models": "models",
    "pull": "pull",
    "cache": "cache",
    "facts": "facts",
    "doctor": "doctor",
    "schema": "schema",
    "train-quickstart": "train_quickstart",
}


# Words that people know from elsewhere; not listed.
ALIASES = {"convert_model": "convert"}


class _Commands(click.Group):
    """Imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"harness.cli.{COMMANDS[name]}").command
        return command

    def get_help(self, ctx: click.Context) -> str:
        return as_typed(super().get_help(ctx))


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="rwkv-harness")
def cli() -> None:
    """Benchmark RWKV-4 language models: speed, memory and quality per strategy.

    Begin with: python -m harness run builtin:quickstart
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    _prepare_streams()
    for name in (signal.SIGTERM, signal.SIGHUP):
        # A closed terminal, `timeout` or a job scheduler stops us as Ctrl-C does: cleanly. Who
        # started us with `nohup` wants to be left alone.
        if signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, signal.default_int_handler)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`… | head`): nothing left to say, and nobody to hear.
        _flush_or_forget()
        code = 0
    except OSError as error:
        _complain(f"{error.filename or 'output'}: {error.strerror or error}")
        _flush_or_forget()
        code = EXIT_BAD_INPUT
    sys.exit(code)


def convert_model() -> NoReturn:
    """`convert` by the name and with the flags of the official script."""
    main(["convert", *sys.argv[1:]])


def _run(arguments: list[str] | None) -> int:
    try:
        # Not through click's own main, which takes a broken pipe for a failure.
        given = sys.argv[1:] if arguments is None else list(arguments)
        with cli.make_context(command_line(), given) as context:
            code = cli.invoke(context)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        _say_lines(shown.getvalue().rstrip("\n"))
        return EXIT_BAD_INPUT
    except BadInput as error:
        _complain(str(error))
        return EXIT_BAD_INPUT
    except HarnessError as error:
        _complain(str(error))
        return EXIT_NOTHING_MEASURED


def _prepare_streams() -> None:
    """Make output that cannot be shown a '?', and a closed stream no error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _flush_or_forget() -> None:
    """Forget output that cannot be written, or Python tries again at exit, and exits with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> None:
    _say_lines(f"error: {as_typed(message)}")


def _say_lines(text: str) -> None:
    """On stderr; a terminal breaks no word and no command of it."""
    from harness.cli.console import console, say  # what needs `rich`, only when it is needed

    out = console(stderr=True)
    for line in text.split("\n"):
        say(out, line)
