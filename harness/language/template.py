r"""Prompt templates: `Bob: {question}\n\nAlice:`.

Knows text only. `{question}` is replaced; every other brace is the template's own.
"""

from __future__ import annotations

import re

from harness.errors import BadInput

PLACEHOLDER = "{question}"
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def fill_template(template: str, question: str) -> str:
    """The prompt for `question`.

    Raises BadInput where the template has no `{question}`, or the question no words.
    """
    if PLACEHOLDER not in template:
        raise BadInput(
            f"The prompt template {template!r} has no {PLACEHOLDER}. Write it where the question "
            "belongs, as in 'Bob: {question}\\n\\nAlice:'."
        )
    clean = clean_question(question)
    if not clean:
        raise BadInput(f"The question {question!r} is empty. Write a question with words.")
    return template.replace(PLACEHOLDER, clean)


def clean_question(question: str) -> str:
    r"""The question as one turn: `\n` line ends, no blank line inside, none at the ends.

    A blank line ends a turn, so one inside a question would end it in the middle. Indentation is
    kept.
    """
    unix = question.replace("\r\n", "\n").replace("\r", "\n")
    return _BLANK_LINES.sub("\n", unix.strip())
