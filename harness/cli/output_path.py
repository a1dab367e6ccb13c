"""`--overwrite`: what is there already is replaced only by who says so.

Knows paths and what lies at them, and nothing of what a command writes.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.errors import BadInput

OVERWRITE = "--overwrite"

overwrite_option = click.option(OVERWRITE, is_flag=True, help="Replace what is there already.")


def need_room_for(out: Path, *, overwrite: bool) -> None:
    """Raise `BadInput` where no file can be put at `--out`, or where there is one not to be lost.

    Folders that are missing are no hindrance. A link counts as there, wherever it leads: the new
    file takes the link's own place, not its target's.
    """
    said = f"--out {out}"
    if out.is_dir():
        raise BadInput(f"{said} is a folder. Name a file.")
    if out.exists() and not out.is_file():
        raise BadInput(f"{said} is a device or a pipe. Name a file.")
    there = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not there.is_dir():
        raise BadInput(f"{said}: {there} is no folder. Name a file in one.")
    if os.path.lexists(out) and not overwrite:
        what = "a link" if out.is_symlink() else "a file"
        raise BadInput(
            f"{said}: there is {what} of that name already. Name another, or replace it with "
            f"{OVERWRITE}."
        )
