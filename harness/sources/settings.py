r"""The user's own names of models: `models.yaml` in the folder of settings.

    raven-3b:
      weights: /data/RWKV-4-Raven-3B.pth   # any form that `weights:` of a study takes
      tokenizer: /data/20B_tokenizer.json
      prompt: "Bob: {question}\n\nAlice:"
    small: hf://owner/repo/file.pth        # in short

Relative paths are relative to that file. Reads it and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.errors import SourceError
from harness.folders import config_folder
from harness.sources.hashes import is_sha256

FILE = "models.yaml"
KEYS = ("weights", "tokenizer", "prompt", "source", "tokenizer_source", "sha256")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What the user says of one name; every form as a study would have it."""

    name: str
    base: Path  # the folder that relative paths start from
    weights: str
    tokenizer: str | None = None
    prompt: str | None = None
    source: str | None = None
    tokenizer_source: str | None = None
    sha256: str | None = None


def settings_path() -> Path:
    """Where the file lies or would lie."""
    return config_folder() / FILE


def read_settings() -> dict[str, Entry]:
    """The names and what they stand for; none without the file.

    Raises `SourceError` with file and line where it says something that is not understood.
    """
    path = settings_path()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error}).") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        raise _wrong(path, mark.line if mark else 0, f"not valid YAML: {what}.") from error
    if root is None:
        return {}
    return {name: _entry(path, name, value) for name, _, value in _pairs(path, root)}


def _entry(path: Path, name: str, node: yaml.Node) -> Entry:
    base = path.parent
    if isinstance(node, yaml.ScalarNode):
        return Entry(name=name, base=base, weights=_text(path, node, name))
    values = {}
    for key, line, value in _pairs(path, node):
        if key not in KEYS:
            raise _wrong(path, line, f"{name}: '{key}' is no key; allowed: {', '.join(KEYS)}.")
        values[key] = _text(path, value, f"{name}.{key}")
    if "weights" not in values:
        raise _wrong(path, node.start_mark.line, f"{name}: 'weights' is missing.")
    sha256 = values.get("sha256")
    if sha256 is not None and not is_sha256(sha256):
        what = f"{name}.sha256: '{sha256}' is no sha256: 64 digits 0-9a-f."
        raise _wrong(path, node.start_mark.line, what)
    return Entry(name=name, base=base, **values)


def _pairs(path: Path, node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    """Keys, their lines (from 0) and values of a mapping; each key once."""
    if not isinstance(node, yaml.MappingNode):
        example = "'name: /a/path.pth', or 'name:' and keys below it"
        raise _wrong(path, node.start_mark.line, f"is no mapping; write {example}.")
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith((":merge", ":null")):
            raise _wrong(path, line, "a key must be a text.")
        if key.value in seen:
            raise _wrong(path, line, f"'{key.value}' is given twice.")
        seen.add(key.value)
        yield key.value, line, value


def _text(path: Path, node: yaml.Node, what: str) -> str:
    usable = isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":null") and node.value
    if not usable or "\0" in node.value:
        raise _wrong(path, node.start_mark.line, f"{what}: must be a text.")
    return str(node.value)


def _wrong(path: Path, line: int, text: str) -> SourceError:
    return SourceError(f"{path}:{line + 1}: {text}")
