"""`schema`: write the JSON Schema of studies, which editors check and complete studies by."""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import BadInput


@click.command(short_help="Write the JSON Schema of studies, for editors.")
@click.option(
    "-o",
    "--output",
    default="configs/study.schema.json",
    show_default=True,
    help="The file to write; '-' prints it.",
)
def command(output: str) -> int:
    """Write the JSON Schema of studies, for editors.

    A study names it in its first line:

    # yaml-language-server: $schema=study.schema.json
    """
    from harness.config.schema import editor_schema_text

    text = editor_schema_text()
    if output == "-":
        click.echo(text, nl=False)
        return 0
    path = Path(output)
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is not a folder. Name a file in one that exists.")
    path.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {path}.")
    click.echo(f"Next: begin a study there with '# yaml-language-server: $schema={path.name}'")
    return 0
