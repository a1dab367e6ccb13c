"""Where the files of a study's models lie, or how to get them.

Combines what `harness.sources` finds with what `harness.language` knows of vocabularies. Reads
headers of weights, to know which tokenizer they want; opens no connection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.document import Node
from harness.config.problem import Problem
from harness.errors import CheckpointError, SourceError
from harness.language.discover import wanted_tokenizer
from harness.quickstart import files
from harness.runtime.checkpoint import read_header
from harness.sources import Found, Kind, Locked, find
from harness.sources.tokenizers import Published, find_tokenizer

Lock = Mapping[str, Locked]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFiles:
    """Where a model's files lie, or will lie; they may be missing."""

    weights: Path | str  # a path, or `random:SIZE`
    tokenizer: Path | None
    prompt: str  # a template with `{question}`
    found: Found  # how the weights were found
    found_tokenizer: Found | None  # the same of the tokenizer
    no_tokenizer: str | None = None  # why there is none, for a model that has to answer


def locate_models(
    root: Node, lock: Lock, answering: Collection[str], problems: list[Problem]
) -> dict[str, ModelFiles]:
    """The files of each model, by its name; adds to `problems` what cannot be understood.

    `answering` are the models that need a tokenizer.
    """
    located = {}
    for name, model in root.get("models").entries.items():
        if model.get("weights").text is None:
            continue
        try:
            weights = _find(root, name, "weights", lock)
            tokenizer = _tokenizer(root, name, weights, lock)
        except _Misunderstood as error:
            problems.append(error.problem)
            continue
        why = None
        if tokenizer is None and name in answering:
            tokenizer, why = _wanted(weights, lock)
        pinned = model.get("tokenizer_sha256").text
        if tokenizer is not None and pinned is not None:
            tokenizer = replace(tokenizer, sha256=pinned)
        said = weights.entry.prompt if weights.entry else None
        located[name] = ModelFiles(
            weights=weights.random or weights.where,
            tokenizer=None if tokenizer is None else tokenizer.where,
            prompt=model.get("prompt").text or said or "",
            found=weights,
            found_tokenizer=tokenizer,
            no_tokenizer=why,
        )
    return located


def tokenizer_of(weights: Found, named: str | None = None) -> tuple[Found | None, str | None]:
    """The tokenizer of weights outside of a study, or why there is none.

    Raises `SourceError` for one that is named and cannot be understood.
    """
    if named is not None:
        return find(named, kind="tokenizer"), None
    own = _brought(weights, {})
    return (own, None) if own is not None else _wanted(weights, {})


class _Misunderstood(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _find(root: Node, name: str, kind: Kind, lock: Lock) -> Found:
    model = root.get("models").get(name)
    prefix = "" if kind == "weights" else "tokenizer_"
    node = model.get(kind)
    try:
        return find(
            node.text or "",
            base=node.source.path.parent,
            kind=kind,
            source=model.get(f"{prefix}source").text,
            sha256=model.get(f"{prefix}sha256").text,
            lock=lock,
        )
    except SourceError as error:
        raise _Misunderstood(root.problem(("models", name, kind), str(error))) from error


def _tokenizer(root: Node, name: str, weights: Found, lock: Lock) -> Found | None:
    """The tokenizer that is named: by the study, by models.yaml, or by what is shipped."""
    if root.get("models").get(name).get("tokenizer").text is not None:
        return _find(root, name, "tokenizer", lock)
    try:
        return _brought(weights, lock)
    except SourceError as error:
        raise _Misunderstood(root.problem(("models", name, "weights"), str(error))) from error


def _brought(weights: Found, lock: Lock) -> Found | None:
    """The tokenizer that the shipped model, or models.yaml, brings along."""
    if weights.path == files.WEIGHTS or weights.text == files.BUILTIN:
        return find(files.BUILTIN, kind="tokenizer")
    entry = weights.entry
    if entry is None or entry.tokenizer is None:
        return None
    return find(
        entry.tokenizer,
        base=entry.base,
        kind="tokenizer",
        source=entry.tokenizer_source,
        lock=lock,
    )


def _wanted(weights: Found, lock: Lock) -> tuple[Found | None, str | None]:
    """The tokenizer that the size of the vocabulary asks for, or why there is none."""
    if weights.random is not None:
        return None, f"{weights.random} cannot answer questions"
    if weights.path is None:
        return None, "the tokenizer is found by the vocabulary's size, once the weights are here"
    try:
        n_vocab = read_header(weights.path).shape.n_vocab
    except CheckpointError:
        return None, "the tokenizer is found by the vocabulary's size, which cannot be read"
    wanted = wanted_tokenizer(n_vocab)
    if wanted is None:
        return None, (
            f"no tokenizer is known for a vocabulary of {n_vocab}; name one as 'tokenizer:'"
        )
    published = Published(
        names=wanted.file_names, url=wanted.hub or wanted.url, sha256s=wanted.sha256s
    )
    found = find_tokenizer(published, weights.path, wanted.installed, lock)
    return replace(found, text=wanted.file_names[0]), None
