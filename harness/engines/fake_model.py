"""The model that a script of the `fake` engine may stand for: a function of tokens, known exactly.

Knows tokens, and what a script says of the model and of how far a strategy is off. Knows nothing of
sessions, events or files: that is `fake.py`.

    model:
      likely: 4.0        # the logit of one token behind each text, which hangs on all of it; all
                         # others have 0
    off:                 # of a strategy; without it, it computes the model exactly
      likely: 0.1        # the likely token's logit is so much larger: a share of it
      turned: 0.05       # share of all texts behind which it is another token
      each_time: true    # behind other texts whenever the model is opened (which needs log:)

So every row but those that are turned has the same divergence from the model, and that is known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.engines.base import Logits
from harness.errors import BadInput

_EMPTY = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeModel:
    """The model under one strategy. A text is known by a number of 64 bits, a value."""

    n_vocab: int
    likely: float  # the logit
    turned: float = 0.0
    chance: int = 0  # behind which texts it is turned

    empty = _EMPTY  # the text before the first token

    def fed(self, text: int, token: int) -> int:
        """The text with one more token: equal only for equal tokens."""
        mixed = ((text ^ (token + 1)) * 0xBF58476D1CE4E5B9) & _MASK
        return ((mixed ^ (mixed >> 29)) * 0x94D049BB133111EB) & _MASK

    def fed_all(self, text: int, tokens: Sequence[int]) -> int:
        """The text with some more tokens."""
        for token in tokens:
            text = self.fed(text, token)
        return text

    def likely_token(self, text: int) -> int:
        """The token that is likely behind a text."""
        token = (text >> 32) % self.n_vocab
        is_turned = self.turned and random.Random(text ^ self.chance).random() < self.turned
        return (token + 1) % self.n_vocab if is_turned else token

    def logits(self, texts: Sequence[int]) -> Logits:
        """Rows [len(texts), V]: what may come behind each text."""
        rows = np.zeros((len(texts), self.n_vocab), dtype=np.float32)
        rows[np.arange(len(texts)), [self.likely_token(text) for text in texts]] = self.likely
        return rows

    def log_probs(self, text: int, tokens: Sequence[int]) -> Logits:
        """Rows [len(tokens), V]: what may come behind each token, fed one after another."""
        texts = []
        for token in tokens:
            text = self.fed(text, token)
            texts.append(text)
        total = math.log(math.exp(self.likely) + self.n_vocab - 1)
        return self.logits(texts) - np.float32(total)


def exact_model(values: dict[str, Any], n_vocab: int) -> FakeModel | None:
    """The model that a script stands for; None for one that only follows its tokens."""
    model = values.get("model")
    return None if model is None else FakeModel(n_vocab=n_vocab, likely=model["likely"])


def model_under(values: dict[str, Any], n_vocab: int, opened: int) -> FakeModel | None:
    """The same as a strategy computes it, opened for the `opened`-th time; raises `BadInput`."""
    model, off = values.get("model"), values.get("off", {})
    if model is None:
        return None
    if off.get("each_time") and "log" not in values:
        raise BadInput("a script for the fake engine needs log: for each_time:")
    return FakeModel(
        n_vocab=n_vocab,
        likely=model["likely"] * (1 + off.get("likely", 0.0)),
        turned=off.get("turned", 0.0),
        chance=1 + opened if off.get("each_time") else 0,
    )
