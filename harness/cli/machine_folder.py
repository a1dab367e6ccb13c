"""`--results` and `--machine`: where this machine's runs lie, alike wherever that is asked."""

from __future__ import annotations

import re
from pathlib import Path

import click


def _checked_label(label: str | None) -> str | None:
    if label is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", label):
        raise click.BadParameter(
            f"'{label}' is no folder name; use letters, digits, '.', '_' and '-', at most 100."
        )
    return label


_RESULTS = Path("results")

results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=_RESULTS,
    show_default=True,
    help="Folder that runs are kept in.",
)
machine_option = click.option(
    "--machine",
    "label",
    callback=lambda _context, _option, label: _checked_label(label),
    help="Name of this machine's folder below --results.",
)


def place_words(results: Path, label: str | None) -> list[str | Path]:
    """The words that name the same place in another command; none of what goes without saying."""
    named: list[str | Path] = [] if results == _RESULTS else ["--results", results]
    return named if label is None else [*named, "--machine", label]
