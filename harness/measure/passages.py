"""From texts and answers to passages: tokens to be fed, and the tokens that did follow.

Pure, but for the tokenizer. A passage is known by its content and that of the weights, so that
equal answers of two strategies are one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from harness.language.base import Tokenizer
from harness.measure.job import PassageJob
from harness.records.record import Answer

RECIPE = 1  # to be raised when the same passages of the same weights give other numbers than before
GATE_TOKENS = 32
WINDOW = 1024  # tokens that are fed at once, each time from an empty state


def passage(
    weights_sha256: str, ids: Sequence[int], first: int, targets: Sequence[int]
) -> PassageJob:
    """Rows first..len(ids) - 1 of `ids`, with the token that followed each."""
    assert len(targets) == len(ids) - first
    content = json.dumps([RECIPE, weights_sha256, list(ids), first, list(targets)])
    key = hashlib.sha256(content.encode()).hexdigest()[:32]
    return PassageJob(key=key, ids=list(ids), first=first, targets=list(targets))


def text_passages(weights_sha256: str, ids: Sequence[int], max_tokens: int) -> list[PassageJob]:
    """The first `max_tokens` predictions of a text, in windows that each begin anew."""
    ids = list(ids)[: max_tokens + 1]
    windows = [ids[at : at + WINDOW + 1] for at in range(0, len(ids) - 1, WINDOW)]
    return [passage(weights_sha256, one[:-1], 0, one[1:]) for one in windows]


def gate_passage(
    weights_sha256: str, n_vocab: int, tokenizer: Tokenizer | None, text: str
) -> PassageJob:
    """Tokens that are looked at before anything is measured: of a text, or of no language."""
    if tokenizer is not None:
        ids = tokenizer.encode(text)[: GATE_TOKENS + 1]
    if tokenizer is None or len(ids) <= GATE_TOKENS:
        ids = np.random.default_rng(0).integers(0, n_vocab, GATE_TOKENS + 1).tolist()
    return passage(weights_sha256, ids[:-1], 0, ids[1:])


def answer_passage(
    weights_sha256: str, prompt_ids: Sequence[int], answer: Answer
) -> PassageJob | None:
    """Every draw of an answer, the one of the stop token included; None where nothing was drawn."""
    drawn = list(answer.token_ids)
    if answer.stop_token is not None:
        drawn.append(answer.stop_token)
    if not drawn:
        return None
    return passage(weights_sha256, [*prompt_ids, *drawn[:-1]], len(prompt_ids) - 1, drawn)
