"""Load a study: YAML in, a checked `Study` with its files and questions out.

All problems of a study are found and raised together. Knows nothing of machines or torch. That
weights are missing is no problem of the study: what to do then is the plan's to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import yaml

from harness.config.axes import named_samplings, read_axes, read_cells, spell
from harness.config.checks import meaning_problems
from harness.config.document import Node, Source, plain, read_text
from harness.config.expand import expand
from harness.config.extends import located, read_tree, study_source
from harness.config.file_values import name_of, to_keep
from harness.config.inherited import nothing_left, without_idle, without_taken_away
from harness.config.lambada_file import lambada_content, lambada_documents, locate_lambada
from harness.config.matrix import WITH_TOKENIZER
from harness.config.model_files import ModelFiles, locate_models
from harness.config.problem import Problem, listed, nearest
from harness.config.quality_settings import read_quality_text, text_source
from harness.config.questions import Question, question_source, read_questions
from harness.config.settings import OPTION, Settings, apply_settings, escaped
from harness.config.study import Study
from harness.config.study_identity import sha256_of, study_identity
from harness.config.validate import schema_problems
from harness.errors import SourceError, StudyError
from harness.quickstart import files
from harness.runtime.strategy_grammar import GRAMMAR
from harness.sources import Found
from harness.sources.lock import Locked, read_lock
from harness.texts import BUILTIN_TEXTS, PROSE


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedStudy:
    """A study without problems, and all it refers to."""

    study: Study  # strategies in canonical spelling, `reference` filled in
    path: Path  # the study's file
    text: str  # its YAML; what `extends` brings is written in
    sha256: str  # identity: what is asked, wherever files lie and however the YAML is written
    files: Mapping[str, ModelFiles]  # by model name
    questions: tuple[Question, ...]  # none without the workload `answers`
    questions_sha256: str | None  # of their content; None without questions
    quality_text: str | None = None  # that the workload `quality` scores; None without it
    lambada: Found | None = None  # where its file lies; None where the study has none
    lambada_content: str | None = None  # the file's sha256; what stands for it until it is here
    lambada_documents: int | None = None  # in that file; 0 until it is here, None if not looked at
    settings: Settings = field(
        default_factory=Settings
    )  # what was set from outside: it is in all of the above


def load_study(
    path: Path | str, settings: Iterable[str] = (), *, to_pull: bool = False
) -> LoadedStudy:
    """Load the study at `path`, or `builtin:quickstart`, changed by `settings` (`key=value`).

    `to_pull` does not look into a file of LAMBADA, which may be about to be replaced.
    Raises `StudyError` with every problem of the study, of what it extends and of its questions.
    """
    source = study_source(path)
    problems: list[Problem] = []
    root = read_tree(source, problems)
    questions: tuple[Question, ...] = ()
    text: str | None = None
    located: dict[str, ModelFiles] = {}
    lambada: Found | None = None
    documents: int | None = None
    applied = Settings()
    if root is not None:
        before = without_idle(root)
        root, applied = apply_settings(before, settings, problems)
        if applied.values:
            problems += nothing_left(root, before)
            root = without_taken_away(root, before)
        problems += schema_problems(root, Study)
        expanded = expand(root, problems)
        problems += meaning_problems(expanded)
        questions = _questions(expanded, problems)
        text = _quality_text(expanded, problems)
        lock = _lock(source)
        located = locate_models(expanded, lock, _answering(expanded), problems)
        lambada = locate_lambada(expanded, lock, problems)
        if not to_pull:
            documents = lambada_documents(expanded, lambada, problems)
    if root is None or problems:
        raise StudyError(_lines(problems, source))
    root, expanded = (to_keep(tree, OPTION) for tree in (root, expanded))
    study = _study(expanded, located)
    contents = {
        "questions": sha256_of(msgspec.to_builtins(questions)) if questions else None,
        "text": None if text is None else sha256_of(text),
        "lambada": None if lambada is None else lambada_content(lambada),
    }
    return LoadedStudy(
        study=study,
        path=source.path,
        text=_whole_text(source, root, applied),
        sha256=study_identity(study, contents),
        files={
            name: replace(located[name], prompt=model.prompt_of(None))
            for name, model in study.models.items()
        },
        questions=questions,
        questions_sha256=contents["questions"],
        quality_text=text,
        lambada=lambada,
        lambada_content=contents["lambada"],
        lambada_documents=documents,
        settings=applied,
    )


def _lines(problems: list[Problem], source: Source) -> list[str]:
    """One line per problem in the order of the files, one problem per key, the grammar once."""
    first: dict[tuple[str, int | None, str], Problem] = {}
    for problem in problems:
        first.setdefault((problem.file, problem.line, problem.key), problem)
    ordered = sorted(
        first.values(), key=lambda problem: (problem.file != source.shown, problem.line or 0)
    )
    lines = [str(problem) for problem in ordered]
    said = next((at for at, line in enumerate(lines) if line.endswith(GRAMMAR)), 0)
    return [*lines[: said + 1], *(line.removesuffix(f" {GRAMMAR}") for line in lines[said + 1 :])]


def _questions(root: Node, problems: list[Problem]) -> tuple[Question, ...]:
    node = root.get("workloads").get("answers").get("questions")
    if node.text is None:
        return ()
    key = ("workloads", "answers", "questions")
    if node.text.startswith("builtin:") and node.text != files.BUILTIN:
        text = f"'{node.text}' does not exist. Allowed: {files.BUILTIN}, or a path."
        problems.append(root.problem(key, text))
        return ()
    try:
        source = question_source(node.text if node.text == files.BUILTIN else located(node))
        return read_questions(source, problems)
    except StudyError as error:
        problems.append(root.problem(key, str(error)))
        return ()


def _quality_text(root: Node, problems: list[Problem]) -> str | None:
    quality = root.get("workloads").get("quality")
    if not isinstance(quality.value, dict):
        return None
    node = quality.get("text")
    name = PROSE if "text" not in quality.entries else node.text
    if name is None:
        return None  # the schema says what it is
    key = ("workloads", "quality", "text")
    source = text_source(name, node.source.path.parent)
    if source is None:
        hint = f"{nearest(name, BUILTIN_TEXTS)} Allowed: {listed(BUILTIN_TEXTS)}, or a path."
        problems.append(root.problem(key, f"'{name}' does not exist.{hint}"))
        return None
    try:
        text = read_quality_text(source)
    except StudyError as error:
        problems.append(root.problem(key, str(error)))
        return None
    if not text.strip():
        problems.append(root.problem(key, f"'{name}' holds no words."))
    return text


def _lock(source: Source) -> Mapping[str, Locked]:
    try:
        return read_lock(source.path)
    except SourceError as error:
        raise StudyError([str(error)]) from error


def _answering(root: Node) -> set[str]:
    """The models that have cells of a workload that reads or writes text."""
    cells = read_cells(root, read_axes(root))
    return {cell.model for cell in cells if cell.workload in WITH_TOKENIZER}


def _study(root: Node, located: Mapping[str, ModelFiles]) -> Study:
    """The typed study of a tree without problems, with what models.yaml says written in."""
    value = plain(root)
    for name, found in located.items():
        if found.prompt and not isinstance(value["models"][name].get("prompt"), dict):
            value["models"][name]["prompt"] = found.prompt
        if found.found.random is not None:
            value["models"][name]["weights"] = found.found.random
    named = named_samplings(root.get("workloads").get("answers").get("sampling"))
    if named:
        answers = value["workloads"]["answers"]
        answers["samplings"] = answers["sampling"]
        answers["sampling"] = answers["samplings"][next(iter(named))]
    value["strategies"] = [spell(node) for node in root.get("strategies").items]
    value["reference"] = spell(root.get("reference")) or value["strategies"][0]
    for name in ("include", "exclude"):
        for entry, node in zip(value.get(name, []), root.get(name).items, strict=True):
            if entry.get("strategy") is not None:
                entry["strategy"] = spell(node.get("strategy"))
    return msgspec.json.decode(json.dumps(value).encode(), type=Study)


def _whole_text(source: Source, root: Node, applied: Settings) -> str:
    if not applied.values and not _borrows(root, source):
        return read_text(source)
    whole = yaml.safe_dump(plain(root), sort_keys=False, allow_unicode=True, width=100)
    set_here = "".join(f"# {OPTION} {line}\n" for line in applied.kept)
    name = escaped(name_of(source.shown))
    return (
        f"# {name}, with what it extends written in; paths as each file has them\n{set_here}{whole}"
    )


def _borrows(node: Node, source: Source) -> bool:
    return node.source != source or any(_borrows(entry, source) for entry in node.entries.values())
