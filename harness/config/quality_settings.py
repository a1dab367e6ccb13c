"""The `quality` workload of a study: what is scored under a strategy and under its reference.

Knows the settings and where the text lies; passages and figures are `measure`'s and `quality`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from harness.config.document import Source, read_text
from harness.texts import BUILTIN_TEXTS, PROSE


class QualityText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `quality` workload: a text and the answers, scored token by token."""

    text: Annotated[
        str,
        Meta(
            min_length=1,
            description="What is scored: `builtin:prose`, `builtin:quickstart` (for that model), "
            "or a file of UTF-8 text (a path relative to this file).",
        ),
    ] = PROSE
    max_tokens: Annotated[
        int,
        Meta(ge=2, le=1_000_000, description="Tokens of the text, at most, that are scored."),
    ] = 1024
    answers: Annotated[
        bool, Meta(description="Whether the answers of the workload `answers` are scored too.")
    ] = True
    lambada: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="LAMBADA in JSON lines, in any form that `weights` takes: a path relative "
            "to this file, hf://…, https://…. The last word of each passage is foretold. By "
            "default it is not."
        ),
    ] = None
    lambada_documents: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="How many of its passages are taken, the first ones; by default all."),
    ] = None


def text_source(text: str, folder: Path) -> Source | None:
    """The file that `text` stands for; None for a builtin that does not exist."""
    if text in BUILTIN_TEXTS:
        return Source(BUILTIN_TEXTS[text], text)
    if text.startswith("builtin:"):
        return None
    return Source(folder / Path(text).expanduser(), text)


def read_quality_text(source: Source) -> str:
    """The text. Raises `StudyError` for a file that cannot be read, or is not UTF-8."""
    return read_text(source)
