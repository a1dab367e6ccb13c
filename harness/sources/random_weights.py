"""`random:SIZE`: random weights of an official shape, made when they are loaded."""

from __future__ import annotations

import difflib
import re

from harness.runtime.shape import RANDOM_SHAPES

RANDOM = "random:"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([mb])(\d*)")  # 169m, 1.5b, 1b5


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


def _nearest(size: str) -> str:
    """The published size with the nearest number of parameters: 1b5 for '1.5B'."""
    match = _SIZE.fullmatch(size.strip().lower())
    if match is None:
        close = difflib.get_close_matches(size.lower(), RANDOM_SHAPES, n=1)
        return f" Did you mean '{close[0]}'?" if close else ""
    whole, unit, rest = match.groups()
    n_params = float(f"{whole}.{rest}" if rest else whole) * {"m": 1e6, "b": 1e9}[unit]
    nearest = min(RANDOM_SHAPES, key=lambda name: abs(RANDOM_SHAPES[name].n_params - n_params))
    return f" Did you mean '{nearest}'?"
