"""A study and the studies it extends, read into one tree.

Mappings are merged, key by key; lists and values replace; null removes. Every value keeps the file
and line it came from, so problems point there and paths are relative to it.
"""

from __future__ import annotations

from pathlib import Path

from harness.config.document import Node, Source, parse_yaml, read_text
from harness.config.problem import Problem, shown
from harness.config.schema import EXTENDS
from harness.errors import StudyError
from harness.quickstart import files
from harness.sources.paths import joined, real


def study_source(path: Path | str) -> Source:
    """The file that `path` (or `builtin:quickstart`) stands for.

    Raises `StudyError` for another `builtin:`.
    """
    text = str(path)
    if not text:
        raise StudyError([f"no study is named. Give a YAML file, or {files.BUILTIN}."])
    if text == files.BUILTIN:
        return Source(files.STUDY, files.BUILTIN)
    if text.startswith("builtin:"):
        raise StudyError([f"{text}: no such study. Allowed: {files.BUILTIN}, or a path."])
    return Source(Path(path), text)


def read_tree(
    source: Source, problems: list[Problem], above: tuple[Source, ...] = ()
) -> Node | None:
    """The study in `source` merged over what it extends, without the key `extends`.

    Adds to `problems`; returns None where a file of the chain cannot be understood. Raises
    `StudyError` where `source` itself cannot be read.
    """
    node = parse_yaml(read_text(source), source, problems)
    if node is None or EXTENDS not in node.entries:
        return node
    link = node.entries[EXTENDS]
    own = {name: entry for name, entry in node.entries.items() if name != EXTENDS}
    base = _read_base(link, problems, (*above, source))
    return None if base is None else _merge(base, Node(own, source, node.line))


def _read_base(link: Node, problems: list[Problem], above: tuple[Source, ...]) -> Node | None:
    if link.text is None:
        text = f"{shown(link.value)} is not allowed; allowed: a path, or {files.BUILTIN}."
        problems.append(link.problem((EXTENDS,), text))
        return None
    try:
        base = study_source(link.text)
        if base.shown != files.BUILTIN:
            path = located(link)
            base = Source(path, str(path))
        if any(real(base.path) == real(source.path) for source in above):
            circle = " -> ".join(source.shown for source in (*above, base))
            problems.append(link.problem((EXTENDS,), f"goes in a circle: {circle}."))
            return None
        return read_tree(base, problems, above)
    except StudyError as error:
        problems.append(link.problem((EXTENDS,), str(error)))
        return None


def located(node: Node) -> Path:
    """The path a text node names, relative to the file the text stands in."""
    return joined(node.source.path.parent, node.text or "")


def _has_names(node: Node | None) -> bool:
    entries = {} if node is None else node.entries
    return bool(entries) and all(isinstance(one.value, dict) for one in entries.values())


def _merge(base: Node, own: Node) -> Node:
    merged = dict(base.entries)
    for name, entry in own.entries.items():
        below = merged.get(name)
        if below is not None and entry.value is None:
            del merged[name]
        elif name == "sampling" and _has_names(entry) != _has_names(below):
            merged[name] = entry  # one in place of several, or the other way round
        elif below is not None and isinstance(below.value, dict) and isinstance(entry.value, dict):
            merged[name] = _merge(below, entry)
        else:
            merged[name] = entry
    return Node(merged, own.source, own.line)
