"""`schema`: write the JSON Schema of studies, which editors check and complete studies by."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.output_path import OVERWRITE, overwrite_option
from harness.errors import BadInput


@click.command(short_help="Write the JSON Schema of studies, for editors.")
@click.option(
    "-o",
    "--output",
    default="configs/study.schema.json",
    show_default=True,
    help="The file to write; '-' prints it.",
)
@overwrite_option
def command(output: str, *, overwrite: bool) -> int:
    """Write the JSON Schema of studies, for editors.

    An older one is written again; any other file that is there needs --overwrite.

    A study names it in its first line:

    # yaml-language-server: $schema=study.schema.json
    """
    from harness.config.schema import TITLE, editor_schema_text

    text = editor_schema_text()
    if output == "-":
        click.echo(text, nl=False)
        return 0
    path = Path(output)
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is not a folder. Name a file in one that exists.")
    if path.is_file() and not overwrite and _title(path) != TITLE:
        raise BadInput(
            f"--output {path} is a file that is no schema of studies. Name another one, or replace "
            f"it with {OVERWRITE}."
        )
    path.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {path}.")
    click.echo(f"Next: begin a study there with '# yaml-language-server: $schema={path.name}'")
    return 0


def _title(path: Path) -> object:
    """What a JSON Schema says it is of; None where the file is none."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None
    return document.get("title") if isinstance(document, dict) else None
