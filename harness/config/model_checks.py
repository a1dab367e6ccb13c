"""What the models of a study must mean: weights that can be named, prompts, who can answer.

Whether a file exists is not asked here: a study is good on a machine that has not got the weights.
The one exception is a name that only exists without its `%25`.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator

from harness.config.axes import named_samplings
from harness.config.document import Key, Node
from harness.config.extends import located
from harness.config.matrix import Combination
from harness.config.problem import Problem, nearest
from harness.errors import SourceError
from harness.language.template import PLACEHOLDER
from harness.quickstart import files
from harness.sources import parse_remote
from harness.sources.random_weights import RANDOM, is_random, why_not_random

_BUILTIN = "builtin:"
_NAMES = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def model_problems(root: Node) -> Iterator[Problem]:
    """The problems of each model by itself."""
    for name, model in root.get("models").entries.items():
        key: Key = ("models", name)
        if not _NAME.fullmatch(name):
            yield root.problem(key, f"'{name}' is no name: {_NAMES}.")
        yield from _prompt_problems(root, name, model.get("prompt"))
        wrong = {
            "weights": _wrong_weights(model.get("weights")),
            "tokenizer": _wrong_tokenizer(model.get("tokenizer")),
            "prompt": _wrong_prompt(model.get("prompt")),
            "source": _wrong_url(model.get("source")),
            "tokenizer_source": _wrong_url(model.get("tokenizer_source")),
            "sha256": _needless_sha256(model),
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
        if weights is not None and weights.startswith(RANDOM):
            text = f"'{weights}' cannot answer questions. Name real weights, {way_out}"
            yield root.problem(("models", name, "weights"), text)


def _wrong_weights(node: Node) -> str | None:
    if node.text is not None and is_random(node.text):
        return why_not_random(node.text)
    return _wrong_file(node)


def _wrong_tokenizer(node: Node) -> str | None:
    if node.text is not None and is_random(node.text):
        return f"'{node.text}' is weights, and no tokenizer. Leave it out."
    return _wrong_file(node)


def _wrong_file(node: Node) -> str | None:
    """What is wrong with a path, or with a `builtin:` or a URL in its place."""
    text = node.text
    if text is None or text == files.BUILTIN:
        return None
    if text.startswith(_BUILTIN):
        hint = f"{nearest(text, [files.BUILTIN])} Allowed: {files.BUILTIN}, or a path."
        return f"'{text}' does not exist.{hint}"
    try:
        remote = parse_remote(text)
    except SourceError as error:
        return str(error)
    # os.path, because Path.exists raises where it may not look.
    if remote is None and "%25" in text and not os.path.exists(located(node)):  # noqa: PTH110
        return f"'%25' is how a URL writes '%'. In a file name write '{text.replace('%25', '%')}'."
    return None


def _prompt_problems(root: Node, model: str, node: Node) -> Iterator[Problem]:
    """What is wrong with prompts under names."""
    for name, prompt in node.entries.items():
        key: Key = ("models", model, "prompt", name)
        wrong = None if _NAME.fullmatch(name) else f"'{name}' is no name: {_NAMES}."
        wrong = wrong or _wrong_prompt(prompt)
        if wrong:
            yield root.problem(key, wrong)


def sampling_problems(root: Node, fields: Iterable[str]) -> Iterator[Problem]:
    """Names of samplings that are the settings of one, or cannot stand in a cell's id."""
    for name in named_samplings(root.get("workloads").get("answers").get("sampling")):
        key: Key = ("workloads", "answers", "sampling", name)
        if name in fields:
            yield root.problem(key, f"'{name}' is a setting of one sampling, and no name of one.")
        elif not _NAME.fullmatch(name):
            yield root.problem(key, f"'{name}' is no name: {_NAMES}.")


def _wrong_prompt(node: Node) -> str | None:
    if node.text is None or PLACEHOLDER in node.text:
        return None
    example = f"'Bob: {PLACEHOLDER}\\n\\nAlice:'"
    return f"has no {PLACEHOLDER}. Write it where the question belongs: {example}."


def _wrong_url(node: Node) -> str | None:
    if node.text is None:
        return None
    try:
        remote = parse_remote(node.text)
    except SourceError as error:
        return str(error)
    if remote is None:
        return f"'{node.text}' is not a URL; it begins with https:// or hf://."
    return None


def _needless_sha256(model: Node) -> str | None:
    weights = model.get("weights").text
    if model.get("sha256").text is None or weights is None or not is_random(weights):
        return None
    return f"'{weights}' has no file, so it has no sha256. Leave it out."
