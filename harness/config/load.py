"""Load a study: YAML in, a checked `Study` with its files and questions out.

All problems of a study are found and raised together. Knows nothing of machines or torch. That
weights are missing is no problem of the study: what to do then is the plan's to say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from harness.config.axes import read_axes, read_cells, spell
from harness.config.checks import meaning_problems
from harness.config.depth_settings import Depth
from harness.config.document import Node, Source, plain, read_text
from harness.config.extends import located, read_tree, study_source
from harness.config.inherited import without_idle
from harness.config.model_files import ModelFiles, locate_models
from harness.config.problem import Problem
from harness.config.questions import Question, question_source, read_questions
from harness.config.study import Study
from harness.config.validate import schema_problems
from harness.errors import SourceError, StudyError
from harness.quickstart import files
from harness.sources.lock import Locked, read_lock
from harness.sources.random_weights import RANDOM


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


def load_study(path: Path | str) -> LoadedStudy:
    """Load the study at `path`, or `builtin:quickstart`.

    Raises `StudyError` with every problem of the study, of what it extends and of its questions.
    """
    source = study_source(path)
    problems: list[Problem] = []
    root = read_tree(source, problems)
    questions: tuple[Question, ...] = ()
    located: dict[str, ModelFiles] = {}
    if root is not None:
        root = without_idle(root)
        problems += schema_problems(root, Study)
        problems += meaning_problems(root)
        questions = _questions(root, problems)
        located = locate_models(root, _lock(source), _answering(root), problems)
    if root is None or problems:
        raise StudyError(_lines(problems, source))
    study = _study(root, located)
    questions_sha256 = _sha256(msgspec.to_builtins(questions)) if questions else None
    return LoadedStudy(
        study=study,
        path=source.path,
        text=_whole_text(source, root),
        sha256=_identity(study, questions_sha256),
        files={
            name: replace(located[name], prompt=model.prompt)
            for name, model in study.models.items()
        },
        questions=questions,
        questions_sha256=questions_sha256,
    )


def _lines(problems: list[Problem], source: Source) -> list[str]:
    """One line per problem in the order of the files, one problem per key."""
    first: dict[tuple[str, int | None, str], Problem] = {}
    for problem in problems:
        first.setdefault((problem.file, problem.line, problem.key), problem)
    ordered = sorted(
        first.values(), key=lambda problem: (problem.file != source.shown, problem.line or 0)
    )
    return [str(problem) for problem in ordered]


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


def _lock(source: Source) -> Mapping[str, Locked]:
    try:
        return read_lock(source.path)
    except SourceError as error:
        raise StudyError([str(error)]) from error


def _answering(root: Node) -> set[str]:
    """The models that have cells of the workload `answers`."""
    return {cell.model for cell in read_cells(root, read_axes(root)) if cell.workload == "answers"}


def _study(root: Node, located: Mapping[str, ModelFiles]) -> Study:
    """The typed study of a tree without problems, with what models.yaml says written in."""
    value = plain(root)
    for name, found in located.items():
        if found.prompt:
            value["models"][name]["prompt"] = found.prompt
        if found.found.random is not None:
            value["models"][name]["weights"] = found.found.random
    value["strategies"] = [spell(node) for node in root.get("strategies").items]
    value["reference"] = spell(root.get("reference")) or value["strategies"][0]
    for name in ("include", "exclude"):
        for entry, node in zip(value.get(name, []), root.get(name).items, strict=True):
            if entry.get("strategy") is not None:
                entry["strategy"] = spell(node.get("strategy"))
    return msgspec.json.decode(json.dumps(value).encode(), type=Study)


def _whole_text(source: Source, root: Node) -> str:
    if not _borrows(root, source):
        return read_text(source)
    whole = yaml.safe_dump(plain(root), sort_keys=False, allow_unicode=True, width=100)
    return (
        f"# {source.shown}, with what it extends written in; paths as each file has them\n{whole}"
    )


def _borrows(node: Node, source: Source) -> bool:
    return node.source != source or any(_borrows(entry, source) for entry in node.entries.values())


def _identity(study: Study, questions_sha256: str | None) -> str:
    """Equal for two studies that ask the same, wherever the weights, tokenizer and questions lie.

    The content of weights and tokenizer belongs to each record's key. More trials, a longer
    deadline or more patience are more of the same: a run goes on with them.
    """
    asked: dict[str, Any] = msgspec.to_builtins(study)
    del asked["description"], asked["limits"], asked["cooldown"]
    if asked["order"] == "randomised":  # as before there was a choice
        del asked["order"]
    if asked["workloads"]["speed"] is not None:
        del asked["workloads"]["speed"]["trials"], asked["workloads"]["speed"]["until"]
    if study.workloads.depth is None:  # as before there was this workload
        del asked["workloads"]["depth"]
    else:
        asked["workloads"]["depth"] = _asked_of_depth(study.workloads.depth)
    for entry in (*asked["include"], *asked["exclude"]):
        if entry["batch"] is None:  # as before there was this axis
            del entry["batch"]
    for model in asked["models"].values():
        if not model["weights"].startswith(RANDOM):
            model["weights"] = "file"
        for name in ("tokenizer", "source", "tokenizer_source", "sha256", "tokenizer_sha256"):
            del model[name]
    if asked["workloads"]["answers"] is not None:
        asked["workloads"]["answers"]["questions"] = questions_sha256
    return _sha256(asked)


def _asked_of_depth(depth: Depth) -> dict[str, Any]:
    asked: dict[str, Any] = msgspec.to_builtins(depth)
    del asked["trials"]
    if asked["strategies"] == "all":  # as before there was a choice
        del asked["strategies"]
    return {**asked, "at": depth.depths}


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
