"""A YAML file as a tree of values that know their lines.

Knows YAML (the plain JSON-like part of it) and nothing of studies. Everything that would be lost or
guessed in silence is a problem: a key given twice, a key that is not text, a tag, a tab, a number
that YAML 1.1 and 1.2 read differently.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from harness.config.problem import Problem, shown
from harness.errors import StudyError

Scalar: TypeAlias = str | int | float | bool | None
Key: TypeAlias = tuple[str | int, ...]

_MAX_NODES = 100_000  # aliases can make a small file huge
_YAML = "tag:yaml.org,2002:"
_WORDS = (f"{_YAML}str", f"{_YAML}timestamp")  # a date is text to us
_MERGE = f"{_YAML}merge"
_BASE_8_OR_60 = re.compile(r"[-+]?0[0-9_]+|.*:.*")  # to YAML 1.1 only
_MOST_BITS = 63


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and the name by which messages call it."""

    path: Path
    shown: str


@dataclass(frozen=True, slots=True)
class Node:
    """A value, and where it (or its key) stands."""

    value: Scalar | list[Node] | dict[str, Node]
    source: Source
    line: int | None  # None: the source has no lines, as an option has none
    origin: Key | None = None  # where it was written, if a range or a set has put it elsewhere

    @property
    def entries(self) -> dict[str, Node]:
        """The entries of a mapping; none for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The items of a list; none for anything else."""
        return self.value if isinstance(self.value, list) else []

    @property
    def text(self) -> str | None:
        """The value where it is a text that is not empty."""
        return self.value if isinstance(self.value, str) and self.value else None

    def get(self, name: str) -> Node:
        """The entry `name` of a mapping; without one, a node that holds nothing."""
        return self.entries.get(name) or Node(None, self.source, self.line)

    def find(self, key: Key) -> Node:
        """The node at `key`, or the nearest one above it that exists."""
        node = self
        for part in key:
            child = node.child(part)
            if child is None:
                break
            node = child
        return node

    def child(self, part: str | int) -> Node | None:
        """The entry or item `part`, where there is one."""
        if isinstance(part, int):
            return self.items[part] if part < len(self.items) else None
        return self.entries.get(part)

    def problem(self, key: Key, text: str) -> Problem:
        """A problem of this tree at `key`, with the line of the nearest node."""
        place = self.find(key)
        return Problem(place.source.shown, place.line, key_text(self.as_written(key)), text)

    def as_written(self, key: Key) -> Key:
        """`key`, or where what stands there was written: a range or a set may have put it there."""
        node = self
        written: Key = ()
        for depth, part in enumerate(key):
            child = node.child(part)
            if child is None:
                return (*written, *key[depth:])
            node = child
            written = (*written, part) if node.origin is None else node.origin
        return written


def plain(node: Node) -> Any:
    """The tree as JSON-like Python values."""
    if isinstance(node.value, dict):
        return {name: plain(entry) for name, entry in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def key_text(key: Key) -> str:
    """`models.raven.weights`, `include[0].model`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def read_text(source: Source) -> str:
    """The text of a file; raises `StudyError` with one line that says why it cannot be read."""
    path = source.path
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise StudyError([f"{source.shown}: no such file.{_similar_file(path)}"]) from None
    except IsADirectoryError:
        raise StudyError([f"{source.shown}: is a folder. Name a file in it."]) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL
        why = getattr(error, "strerror", None) or error
        raise StudyError([f"{source.shown}: cannot be read: {why}."]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{data[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        raise StudyError([f"{source.shown}:{line}: {what}"]) from None


def parse_yaml(text: str, source: Source, problems: list[Problem]) -> Node | None:
    """The mapping in `text`; adds what is wrong to `problems`, and returns None without one."""
    node, understood = _parse(text, source, problems)
    if not understood:
        return None
    if node is None or node.value is None:
        problems.append(Problem(source.shown, 1, "", "the file is empty."))
        return None
    if not isinstance(node.value, dict):
        what = "a list" if isinstance(node.value, list) else "a single value"
        text = f"holds {what}, not a mapping of keys such as 'name: …'."
        problems.append(Problem(source.shown, node.line, "", text))
        return None
    return node


def parse_value(text: str, source: Source, problems: list[Problem]) -> Node | None:
    """Whatever `text` holds, without lines; None for nothing, and where `problems` have grown."""
    found: list[Problem] = []
    node, _ = _parse(text, source, found)
    problems += [replace(one, line=None) for one in found]
    return None if node is None or found else _without_lines(node)


def _without_lines(node: Node) -> Node:
    value = node.value
    if isinstance(value, dict):
        value = {name: _without_lines(entry) for name, entry in value.items()}
    elif isinstance(value, list):
        value = [_without_lines(item) for item in value]
    return replace(node, value=value, line=None)


def _parse(text: str, source: Source, problems: list[Problem]) -> tuple[Node | None, bool]:
    """The one document in `text`, if any, and whether it is YAML at all."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reader = _Reader(loader, source, problems)
        node = None if root is None else reader.read(root, root.start_mark.line + 1, ())
    except yaml.YAMLError as error:
        problems.append(_yaml_problem(error, text, source))
        return None, False
    except RecursionError:
        problems.append(Problem(source.shown, None, "", "is nested too deeply."))
        return None, False
    return node, True


class _Reader:
    """Turns composed YAML nodes into ours, and collects problems on the way."""

    def __init__(self, loader: yaml.SafeLoader, source: Source, problems: list[Problem]) -> None:
        self._loader = loader
        self._source = source
        self._problems = problems
        self._open: set[int] = set()  # nodes being read: an alias to one is a circle
        self._count = 0

    def read(self, node: yaml.Node, line: int, key: Key) -> Node:
        self._count += 1
        if id(node) in self._open or self._count > _MAX_NODES:
            what = "an alias refers to itself" if id(node) in self._open else "aliases multiply"
            mark = node.start_mark
            raise yaml.composer.ComposerError(problem=f"{what}.", problem_mark=mark)
        self._open.add(id(node))
        value: Scalar | list[Node] | dict[str, Node]
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, key)
            self._check_tag(node, f"{_YAML}map", line, key)
        elif isinstance(node, yaml.SequenceNode):
            value = [
                self.read(item, item.start_mark.line + 1, (*key, index))
                for index, item in enumerate(node.value)
            ]
            self._check_tag(node, f"{_YAML}seq", line, key)
        else:
            value = self._scalar(node, line, key)
        self._open.discard(id(node))
        return Node(value, self._source, line)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if name_node.tag == _MERGE:
                parts = (
                    value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                )
                for part in parts:
                    if not isinstance(part, yaml.MappingNode):
                        self._add(line, (*key, "<<"), "only a mapping can be merged.")
                        continue
                    for name, entry in self.read(part, line, key).entries.items():
                        merged.setdefault(name, entry)
                continue
            if not isinstance(name_node, yaml.ScalarNode) or name_node.tag not in _WORDS:
                word = getattr(name_node, "value", "")
                name = word if isinstance(word, str) and word.isprintable() else "?"
                self._add(line, (*key, name), f"'{name}' is not read as text. Put it in quotes.")
                continue
            text = self._text(name_node.value, line, key)
            if text is None:
                continue
            name = text
            if name in own:
                first = own[name].line
                self._add(line, (*key, name), f"is given twice, first in line {first}.")
                continue
            own[name] = self.read(value_node, line, (*key, name))
        return {**merged, **own}

    def _scalar(self, node: yaml.ScalarNode, line: int, key: Key) -> Scalar:
        usual = self._loader.resolve(yaml.ScalarNode, node.value, (node.style is None, True))
        if not self._check_tag(node, usual, line, key):
            return None
        if node.tag in _WORDS:
            return self._text(node.value, line, key)
        makers = {
            "null": self._loader.construct_yaml_null,
            "bool": self._loader.construct_yaml_bool,
            "int": self._loader.construct_yaml_int,
            "float": self._loader.construct_yaml_float,
        }
        make = makers.get(node.tag.removeprefix(_YAML))
        if make is None:
            self._add(line, key, f"{shown(node.value)} is not read as text. Put it in quotes.")
            return None
        if node.tag.endswith((":int", ":float")) and _BASE_8_OR_60.fullmatch(node.value):
            what = f"{shown(node.value)} is another number to some readers of YAML (base 8 or 60)"
            self._add(line, key, f"{what}. Write it in base 10, or as text in quotes.")
            return None
        try:
            value: bool | int | float | None = make(node)
        except (ValueError, KeyError, OverflowError):
            value = math.nan
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            value = math.inf
        if isinstance(value, float) and not math.isfinite(value):
            self._add(line, key, f"{shown(node.value)} is not a number that can be used.")
            return None
        return value

    def _check_tag(self, node: yaml.Node, usual: str, line: int, key: Key) -> bool:
        """Whether the node has the tag it would have had without one; else a problem."""
        if node.tag != usual:
            self._add(line, key, f"the tag {node.tag} is not read here. Leave it out.")
        return bool(node.tag == usual)

    def _text(self, written: str, line: int, key: Key) -> str | None:
        """The text, its surrogate pairs joined as JSON means them; None for what is no text."""
        wrong = None
        try:
            text = written.encode("utf-16", "surrogatepass").decode("utf-16")
            wrong = "U+0000 (NUL)" if "\0" in text else None
        except UnicodeDecodeError:
            wrong = "half of a surrogate pair"
        if wrong is not None:
            self._add(line, key, f"{shown(written)} holds {wrong}, which is no character of text.")
            return None
        return text

    def _add(self, line: int, key: Key, text: str) -> None:
        self._problems.append(Problem(self._source.shown, line, key_text(key), text))


def _yaml_problem(error: yaml.YAMLError, text: str, source: Source) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line = mark.line + 1 if mark else None
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        what = f"the character U+{error.character:04X} is not allowed in YAML"
    elif "'@'" in what:
        what = "a text cannot begin with '@' here. Put it in quotes"
    elif "'\\t'" in what:
        what = "a tab. YAML is indented with spaces"
    elif "mapping values are not allowed" in what:
        what = "not valid YAML: a ':' where no key can stand. Put the text in quotes"
    elif mark:
        context = getattr(error, "context", None)
        what = f"not valid YAML: {f'{context}, ' if context else ''}{what}"
    return Problem(source.shown, line, "", f"{what.rstrip('.')}.")


def _similar_file(path: Path) -> str:
    try:
        there = [entry for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return ""
    by_stem = {entry.stem: entry for entry in there if entry.suffix == path.suffix}
    close = difflib.get_close_matches(path.stem, by_stem, n=1, cutoff=0.6)
    return f" Did you mean '{by_stem[close[0]]}'?" if close else ""
