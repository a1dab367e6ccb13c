"""`random:SIZE`: random weights of an official shape, made when they are loaded."""

from __future__ import annotations

import difflib
import re

from harness.runtime.shape import RANDOM_SHAPES

RANDOM = "random:"
_SIZE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}[mb]|[mb][0-9]{0,6})")  # 169m, 1.5b, 1b5
_AS_NAME = re.compile(rf"(?:random[-_. ]?|[a-z]+:)?({_SIZE.pattern})")  # 7b, random-7b, randon:7b
_NEARLY = 0.1  # 7b has 7.4 billion parameters, and 13b is 14b


def is_random(text: str) -> bool:
    """Whether `text` means random weights, of whatever size and spelling."""
    return text.lower().startswith(RANDOM)


def why_not_random(text: str) -> str | None:
    """None for a size that there is; else what is wrong with `random:…`."""
    size = text[len(RANDOM) :]
    if text.startswith(RANDOM) and size in RANDOM_SHAPES:
        return None
    hint = f"{_nearest(size)} Allowed: {', '.join(RANDOM_SHAPES)}."
    return f"'{size}' is not a size of random weights.{hint}"


def size_meant(name: str) -> str:
    """The sentence that helps who names weights by a size; nothing for any other name."""
    match = _AS_NAME.fullmatch(name.strip().lower())
    if match is None:
        return ""
    n_params = _n_params(match[1])
    near = _nearest_to(n_params)
    if abs(RANDOM_SHAPES[near].n_params - n_params) < _NEARLY * n_params:
        return f" Do you mean {RANDOM}{near} (random weights, for speed and memory)?"
    *sizes, last = RANDOM_SHAPES
    return f" Random weights: {RANDOM}SIZE, of {', '.join(sizes)} or {last}."


def _nearest(size: str) -> str:
    """The published size that is meant: 1b5 for '1.5B'."""
    text = size.strip().lower()
    if _SIZE.fullmatch(text):
        return f" Did you mean '{_nearest_to(_n_params(text))}'?"
    close = difflib.get_close_matches(text, RANDOM_SHAPES, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _n_params(size: str) -> float:
    """Of a size as people write it, in small letters."""
    unit = "m" if "m" in size else "b"
    number = size.removesuffix(unit).replace(unit, ".")
    return float(number) * {"m": 1e6, "b": 1e9}[unit]


def _nearest_to(n_params: float) -> str:
    """The published size with the nearest number of parameters."""
    return min(RANDOM_SHAPES, key=lambda name: abs(RANDOM_SHAPES[name].n_params - n_params))
