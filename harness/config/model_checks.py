"""What the models of a study must mean: weights that can be named, prompts, who can answer.

Whether a file exists is not asked here: a study is good on a machine that has not got the weights.
The one exception is a name that only exists without its `%25`.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator

from harness.config.document import Key, Node
from harness.config.extends import located
from harness.config.matrix import Combination
from harness.config.problem import Problem, listed, nearest
from harness.language.template import PLACEHOLDER
from harness.quickstart import files
from harness.runtime.shape import RANDOM_SHAPES

RANDOM = "random:"
_BUILTIN = "builtin:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_URL = re.compile(r"https?://", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([mb])(\d*)")  # 169m, 1.5b, 1b5
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def model_problems(root: Node) -> Iterator[Problem]:
    """The problems of each model by itself."""
    for name, model in root.get("models").entries.items():
        key: Key = ("models", name)
        if not _NAME.fullmatch(name):
            allowed = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
            text = f"'{name}' is no name: {allowed}."
            yield root.problem(key, text)
        wrong = {
            "weights": _wrong_weights(model.get("weights")),
            "tokenizer": _wrong_file(model.get("tokenizer"), "tokenizer_source"),
            "prompt": _wrong_prompt(model.get("prompt")),
            "source": _wrong_url(model.get("source")),
            "tokenizer_source": _wrong_url(model.get("tokenizer_source")),
        }
        for field, text_or_none in wrong.items():
            if text_or_none:
                yield root.problem((*key, field), text_or_none)


def answering_problems(root: Node, cells: Iterable[Combination]) -> Iterator[Problem]:
    """Models that have `answers` cells and cannot answer."""
    answering = dict.fromkeys(cell.model for cell in cells if cell.workload == "answers")
    for name in answering:
        model = root.get("models").get(name)
        weights = model.get("weights").text
        way_out = f"or leave the cells out: exclude: [{{model: {name}, workload: answers}}]."
        if weights is None:
            continue
        if weights.startswith(RANDOM):
            text = f"'{weights}' cannot answer questions. Name real weights, {way_out}"
            yield root.problem(("models", name, "weights"), text)
        elif model.get("tokenizer").text is None and weights != files.BUILTIN:
            text = f"is missing, and answers need one. Name a tokenizer file, {way_out}"
            yield root.problem(("models", name, "tokenizer"), text)


def _wrong_weights(node: Node) -> str | None:
    text = node.text
    if text is None:
        return None
    if text.lower().startswith(RANDOM):
        size = text[len(RANDOM) :]
        if text.startswith(RANDOM) and size in RANDOM_SHAPES:
            return None
        hint = f"{_nearest_size(size)} Allowed: {listed(RANDOM_SHAPES)}."
        return f"'{size}' is not a size of random weights.{hint}"
    return _wrong_file(node, "source")


def _nearest_size(size: str) -> str:
    """The published size with the nearest number of parameters: 1b5 for '1.5B'."""
    match = _SIZE.fullmatch(size.strip().lower())
    if match is None:
        return nearest(size, RANDOM_SHAPES)
    whole, unit, rest = match.groups()
    n_params = float(f"{whole}.{rest}" if rest else whole) * {"m": 1e6, "b": 1e9}[unit]
    close = min(RANDOM_SHAPES, key=lambda name: abs(RANDOM_SHAPES[name].n_params - n_params))
    return f" Did you mean '{close}'?"


def _wrong_file(node: Node, source_key: str) -> str | None:
    """What is wrong with a path, or with a `builtin:` in its place."""
    text = node.text
    if text is None or text == files.BUILTIN:
        return None
    if text.startswith(_BUILTIN):
        hint = f"{nearest(text, [files.BUILTIN])} Allowed: {files.BUILTIN}, or a path."
        return f"'{text}' does not exist.{hint}"
    if _URL.match(text):
        return f"'{text}' is a URL, not a path. Name the file here, and the URL as '{source_key}:'."
    # os.path, because Path.exists raises where it may not look.
    if "%25" in text and not os.path.exists(located(node)):  # noqa: PTH110
        return f"'%25' is how a URL writes '%'. In a file name write '{text.replace('%25', '%')}'."
    return None


def _wrong_prompt(node: Node) -> str | None:
    if node.text is None or PLACEHOLDER in node.text:
        return None
    example = f"'Bob: {PLACEHOLDER}\\n\\nAlice:'"
    return f"has no {PLACEHOLDER}. Write it where the question belongs: {example}."


def _wrong_url(node: Node) -> str | None:
    if node.text is None:
        return None
    if not _URL.match(node.text):
        return f"'{node.text}' is not a URL; it begins with https://."
    if _BARE_PERCENT.search(node.text):
        return f"'{node.text}' has a bare '%'. A URL writes it '%25'."
    return None
