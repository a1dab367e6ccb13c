"""The file of LAMBADA that a study names: where it lies, what it says, what it is known by.

Knows its form, JSON lines of `{"text": …}`; what is done with the texts, `quality/lambada.py` says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from harness.config.document import Node, Source, read_text
from harness.config.problem import Problem, shown
from harness.errors import BadInput, SourceError
from harness.sources import Found, Locked, file_sha256, find
from harness.sources.random_weights import is_random
from harness.sources.verify import why_damaged, why_wrong

_KEY = ("workloads", "quality", "lambada")
_DOCUMENTS = ("workloads", "quality", "lambada_documents")
_HALF = re.compile("[\ud800-\udfff]")
_MOST_BYTES = 2**26  # the published one has 2 MB: this is no text, but weights by mistake


def locate_lambada(root: Node, lock: Mapping[str, Locked], problems: list[Problem]) -> Found | None:
    """The file, here or not; None where none is named. Adds what cannot be understood."""
    quality = root.get("workloads").get("quality")
    node, number = quality.get("lambada"), quality.get("lambada_documents")
    if node.value is None and number.value is not None:
        text = f"{shown(number.value)} says nothing without a file: name it as 'lambada:', or "
        problems.append(root.problem(_DOCUMENTS, f"{text}leave this out."))
    if not node.text:
        return None
    if is_random(node.text):
        text = f"'{node.text}' is weights, and LAMBADA is a file of texts. Give a path, hf://… or "
        problems.append(root.problem(_KEY, f"{text}https://…."))
        return None
    try:
        return find(node.text, base=node.source.path.parent, kind="lambada", lock=lock)
    except SourceError as error:
        problems.append(root.problem(_KEY, str(error)))
        return None


def lambada_documents(root: Node, found: Found | None, problems: list[Problem]) -> int | None:
    """How many documents the file has; None where none is named, 0 where it is not here.

    Adds what is wrong with one that is here: it is known before anything is measured.
    """
    if found is None:
        return None
    if found.path is None:
        if _is_folder(found.where):
            text = f"'{found.text}' is a folder. Name a file in it."
            problems.append(root.problem(_KEY, text))
        return 0
    try:
        return len(lambada_texts(found)[1])
    except BadInput as error:
        problems.append(root.problem(_KEY, str(error)))
        return 0


def lambada_texts(found: Found) -> tuple[str, list[str]]:
    """The file's sha256 and all of its texts. Raises `BadInput` in words without folders."""
    path = found.path
    if path is None:
        raise SourceError(f"{_name(found)} is not here")
    try:
        n_bytes = path.stat().st_size
        if n_bytes > _MOST_BYTES:
            raise BadInput(f"{path.name} has {n_bytes / 1e6:.0f} MB: it is no file of LAMBADA")
        sha256 = file_sha256(path)
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read ({error.strerror or error})") from error
    wrong = why_damaged(path, sha256) or why_wrong(found, sha256)
    if wrong:
        raise SourceError(f"{path.name} {wrong}")
    return sha256, read_texts(read_text(Source(path, path.name)), path.name)


def read_texts(content: str, name: str) -> list[str]:
    """The texts of a file of JSON lines, `{"text": …}` each.

    Raises BadInput that names `name` and the line for what is no such line, or has no last word.
    """
    texts = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadInput(
                f'{name}:{number}: not a line of LAMBADA; each is a JSON object with "text"'
            ) from error
        # A space at the very end would leave an empty word; all else stays as it is.
        if not isinstance(text, str) or not text.rstrip(" ").rpartition(" ")[0].strip():
            raise BadInput(f"{name}:{number}: the text has no last word behind a space")
        if "\\u" in line and _HALF.search(text):
            raise BadInput(f"{name}:{number}: the text has half of a surrogate pair")
        texts.append(text.rstrip(" "))
    if not texts:
        raise BadInput(f"{name}: the file has no line")
    return texts


def lambada_content(found: Found) -> str:
    """The sha256 of the file; of one that is not here what its lock says, or else its name."""
    try:
        return file_sha256(found.need())
    except (OSError, SourceError):
        return found.expected_sha256 or _name(found)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # it cannot be looked at, which the plan says


def _name(found: Found) -> str:
    return Path(found.text).name if found.remote is None else found.remote.shown
