"""`--set key=value`: a study changed from outside, value by value, before it is understood.

    workloads.speed.trials=5     models.raven.seed=3     strategies[0]=cpu bf16     reference=null

The key is dotted, with a number or `[number]` for an item of a list; the value is YAML, takes the
place of what is there, and null removes. What is not there yet is made, and the checks that follow
say whether it may be. A relative path in a value is relative to the working directory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config.document import Key, Node, Source, key_text, parse_value, plain
from harness.config.file_values import for_content, name_of, with_files
from harness.config.problem import Problem, listed, nearest, shown

OPTION = "--set"
_PART = re.compile(r"\[[^]]*\]|[^.[]*")
_INDEX = re.compile(r"\[?([0-9]{1,6})\]?")


@dataclass(frozen=True, slots=True)
class Settings:
    """What was set: keys with plain values, in an order that gives the same study again."""

    values: tuple[tuple[Key, Any], ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """`key=value`, to be shown and to be given again on this machine."""
        return self._lines(str)

    @property
    def words(self) -> tuple[str, ...]:
        """Those that set the same again behind a command."""
        return tuple(word for line in self.lines for word in (OPTION, line))

    @property
    def kept(self) -> tuple[str, ...]:
        """The same as results keep it: a file's name, and no folder of this machine."""
        return self._lines(name_of)

    @property
    def asked(self) -> tuple[str, ...]:
        """The same as a run is known by: nothing of a file, whose content is known by its hash."""
        return self._lines(for_content)

    def _lines(self, change: Callable[[str], str]) -> tuple[str, ...]:
        return tuple(
            f"{key_text(key)}={_written(with_files(value, key, change))}"
            for key, value in self.values
        )


class _Refused(Exception):
    """Why a key cannot be set."""


def apply_settings(
    root: Node, given: Iterable[str], problems: list[Problem]
) -> tuple[Node, Settings]:
    """The tree with every `key=value` set, in order, and what was set; adds to `problems`."""
    values: list[tuple[Key, Any]] = []
    known = set(root.get("models").entries)
    for one in given:
        text, equals, written = one.partition("=")
        source = Source(Path.cwd() / OPTION, f"{OPTION} {one if len(one) < 80 else text}")
        n_before = len(problems)
        node = parse_value(written, source, problems) if equals else None
        if node is None:
            if len(problems) == n_before:
                example = f"Write {OPTION} {text or 'KEY'}=VALUE; null removes."
                problems.append(Problem(source.shown, None, "", f"has no value. {example}"))
            continue
        try:
            key = _key(root, text.strip())
            root = _with(root, key, node, ())
        except _Refused as refused:
            problems.append(Problem(source.shown, None, text.strip(), str(refused)))
            continue
        values = [*_still_needed(values, key), (key, plain(node))]
    return _without_strangers(root, known, problems), Settings(tuple(values))


def _still_needed(values: list[tuple[Key, Any]], key: Key) -> list[tuple[Key, Any]]:
    """What was set before `key` is, without its earlier value: the last one counts, in its place.

    All of it where items of a list are counted, for one that went moves the others; and where a
    value was set inside an earlier one, for it may have no place in what there was before.
    """
    is_counted = any(isinstance(part, int) for part in key)
    if is_counted or any(one != key and one[: len(key)] == key for one, _ in values):
        return values
    return [(one, value) for one, value in values if one != key]


def _key(root: Node, text: str) -> Key:
    """The parts of a key. Names may hold dots: of those that are there, the longest is meant."""
    key: Key = ()
    node: Node | None = root
    left = text
    while left:
        name = max(
            (
                name
                for name in (node.entries if node is not None else ())
                if left == name or left.startswith((f"{name}.", f"{name}["))
            ),
            key=len,
            default=None,
        )
        if name is None:
            name = _PART.match(left)[0]  # type: ignore[index]  # it matches nothing, too
        if not name.strip():
            break
        left = left[len(name) :].removeprefix(".")
        index = _INDEX.fullmatch(name)
        part: str | int = int(index[1]) if index and _is_item(node, name) else name
        key = (*key, part)
        node = None if node is None else node.child(part)
    if left or not key:
        raise _Refused("is no key. Write one as in workloads.speed.trials=5.")
    return key


def _is_item(node: Node | None, name: str) -> bool:
    return name.startswith("[") or (node is not None and isinstance(node.value, list))


def _with(node: Node, key: Key, value: Node, above: Key) -> Node:
    """`node` with `value` at `key`; raises `_Refused` where there is no such place."""
    if not key:
        return value
    part, *rest = key
    here = (*above, part)
    new_value: Any = [] if rest and isinstance(rest[0], int) else {}
    empty = Node(new_value, value.source, value.line)
    if isinstance(part, int):
        items = list(node.items)
        if not isinstance(node.value, list):
            raise _Refused(f"{_name(above)} is {shown(node.value)}, so it has no item {part}.")
        if part > len(items):
            last = f"allowed: 0 to {len(items)}, the last of which is added"
            if not items:
                last = "its first is item 0"
            raise _Refused(f"{_name(above)} has {len(items)} items, and no item {part}; {last}.")
        old = items[part] if part < len(items) else empty
        new = _with(old, tuple(rest), value, here)
        items[part : part + 1] = [] if new.value is None else [new]
        return replace(node, value=items)
    if isinstance(node.value, list):
        raise _Refused(
            f"{_name(above)} is a list, and '{part}' no number of an item of it; allowed: 0 to "
            f"{len(node.items)}."
        )
    if node.value is not None and not isinstance(node.value, dict):
        raise _Refused(
            f"{_name(above)} is {shown(node.value)}, which has nothing in it that could be set."
        )
    entries = dict(node.entries)
    new = _with(entries.get(part, empty), tuple(rest), value, here)
    if new.value is None:
        entries.pop(part, None)
    else:
        entries[part] = new
    return Node(entries, node.source, node.line)


def _without_strangers(root: Node, known: set[str], problems: list[Problem]) -> Node:
    """The tree without new models that have no weights: their names are slips."""
    models = root.get("models")
    strange = [
        name
        for name, model in models.entries.items()
        if name not in known and isinstance(model.value, dict) and "weights" not in model.entries
    ]
    for name in strange:
        text = (
            f"'{name}' is no model of this study.{nearest(name, known)} Allowed: {listed(known)}; "
            "or set its weights, too."
        )
        problems.append(root.problem(("models", name), text))
    kept = {name: model for name, model in models.entries.items() if name not in strange}
    return (
        replace(root, value={**root.entries, "models": replace(models, value=kept)})
        if strange
        else root
    )


def _name(key: Key) -> str:
    return key_text(key) or "a study"


def escaped(text: str) -> str:
    """The text in one line, for YAML too, to which U+2028 is a line break."""
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def _written(value: Any) -> str:
    """A value in one line of YAML that is read as the same again."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_written(name)}: {_written(v)}' for name, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    text = escaped(json.dumps(value, ensure_ascii=False))
    # JSON's 1e-06 is text to YAML.
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text
