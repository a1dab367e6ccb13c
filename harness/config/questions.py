"""Question sets: a YAML file of questions, or a text file with one question per line.

Knows the files and what makes an answer right; nothing of models, prompts or studies. The format is
described in `configs/questions/README.md`.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from harness.config.document import Node, Source, parse_yaml, read_text
from harness.config.problem import Problem
from harness.config.validate import schema_problems
from harness.errors import StudyError
from harness.quickstart import files

Text = Annotated[str, Meta(min_length=1)]


class QuestionEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question as a file says it."""

    id: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$(?!\n)",
            description="A name of letters, digits, `.`, `_` and `-` that begins with a letter or "
            "digit; unique in the file.",
        ),
    ]
    text: Annotated[Text, Meta(description="The question itself.")]
    category: Annotated[Text | None, Meta(description="What kind of question it is.")] = None
    pattern: Annotated[
        Text | None, Meta(description="A regular expression that a right answer contains.")
    ] = None


class QuestionFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question file."""

    questions: Annotated[list[QuestionEntry], Meta(min_length=1)]
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question, and how to tell a right answer."""

    id: str
    text: str
    category: str | None = None
    pattern: str | None = None  # a regular expression of Python, searched in the answer

    def is_right(self, answer: str) -> bool | None:
        """Whether `answer` holds the pattern; None for a question that has none."""
        return None if self.pattern is None else re.search(self.pattern, answer) is not None


def load_questions(path: Path | str) -> tuple[Question, ...]:
    """The questions of a file, or of `builtin:quickstart`, in its order.

    Raises `StudyError` with all problems of the file.
    """
    problems: list[Problem] = []
    questions = read_questions(question_source(path), problems)
    if problems:
        raise StudyError([str(problem) for problem in problems])
    return questions


def question_source(path: Path | str) -> Source:
    """The file that `path` (or `builtin:quickstart`) stands for."""
    if str(path) == files.BUILTIN:
        return Source(files.QUESTIONS, files.BUILTIN)
    return Source(Path(path), str(path))


def read_questions(source: Source, problems: list[Problem]) -> tuple[Question, ...]:
    """The questions in `source`; adds to `problems`, and returns none where there are any.

    Raises `StudyError` where the file cannot be read at all.
    """
    text = read_text(source)
    if source.path.suffix.lower() == ".txt":
        return _from_lines(text, source, problems)
    found: list[Problem] = []
    node = parse_yaml(text, source, found)
    if node is not None:
        found += schema_problems(node, QuestionFile)
        found += _meaning_problems(node)
    problems += sorted(found, key=lambda problem: problem.line or 0)
    if found or node is None:
        return ()
    return tuple(_question(entry) for entry in node.entries["questions"].items)


def _from_lines(text: str, source: Source, problems: list[Problem]) -> tuple[Question, ...]:
    lines = [line.strip() for line in text.splitlines()]
    asked = [line for line in lines if line]
    if not asked:
        problems.append(Problem(source.shown, 1, "", "the file has no question."))
    return tuple(Question(id=f"q{n}", text=line) for n, line in enumerate(asked, start=1))


def _question(entry: Node) -> Question:
    fields = {name: node.text for name, node in entry.entries.items()}
    return Question(
        id=fields["id"] or "",
        text=(fields["text"] or "").strip(),
        category=fields.get("category"),
        pattern=fields.get("pattern"),
    )


def _meaning_problems(root: Node) -> list[Problem]:
    """What the schema cannot see: ids given twice, patterns that cannot be used."""
    problems = []
    first: dict[str, Node] = {}
    for index, entry in enumerate(root.get("questions").items):
        name = entry.get("id").text
        if name is not None and name in first:
            twice = f"'{name}' is given twice, first in line {first[name].line}."
            problems.append(root.problem(("questions", index, "id"), twice))
        elif name is not None:
            first[name] = entry.get("id")
        text = entry.get("text").text
        if text is not None and not text.strip():
            problems.append(root.problem(("questions", index, "text"), "holds no words."))
        pattern = entry.get("pattern").text
        wrong = None if pattern is None else _wrong_with(pattern)
        if wrong:
            problems.append(root.problem(("questions", index, "pattern"), wrong))
    return problems


def _wrong_with(pattern: str) -> str | None:
    try:
        with warnings.catch_warnings():
            # What one Python warns of, the next one refuses.
            warnings.simplefilter("error")
            compiled = re.compile(pattern)
    except (re.error, Warning, RecursionError, OverflowError) as error:
        return f"'{pattern}' is not a regular expression: {error}."
    if compiled.search(""):
        return f"'{pattern}' is found in every answer, even an empty one."
    return None
