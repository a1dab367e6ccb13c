"""The values of a study that name files, and what of one set from outside may be kept.

What a study's own file says is kept as it stands, for it is written for every machine. A path that
was typed behind `--set` is of this one, and a link may hold a password: its name is kept. What the
file held, hashes say elsewhere. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.config.document import Key, Node
from harness.sources.random_weights import is_random
from harness.sources.reference import without_secrets

_OF_MODEL = ("weights", "tokenizer", "source", "tokenizer_source")
_OF_WORKLOADS = {"answers": ("questions",), "quality": ("text", "lambada")}


def is_file(key: Key) -> bool:
    """Whether the text at `key` of a study names a file."""
    if len(key) != 3:
        return False
    axis, name, field = key
    return field in (_OF_MODEL if axis == "models" else _OF_WORKLOADS.get(str(name), ()))


def name_of(text: str) -> str:
    """What names the file on every machine: of a path its last part, of a link all but secrets."""
    return without_secrets(text) if "://" in text else Path(text).name or text


def for_content(text: str) -> str:
    """What stands for the file where its content is known besides: the same for all but random."""
    return text if is_random(text) else "file"


def with_files(value: Any, key: Key, change: Callable[[str], str]) -> Any:
    """The plain value that is to stand at `key`, with each name of a file in it changed."""
    if isinstance(value, dict):
        return {name: with_files(entry, (*key, name), change) for name, entry in value.items()}
    return change(value) if isinstance(value, str) and is_file(key) else value


def to_keep(node: Node, option: str, key: Key = ()) -> Node:
    """The tree as it may be kept: files that `option` has set under their names alone."""
    if node.entries:
        entries = {name: to_keep(one, option, (*key, name)) for name, one in node.entries.items()}
        return replace(node, value=entries)
    if node.text is None or node.source.path.name != option or not is_file(key):
        return node
    return replace(node, value=name_of(node.text))
