"""LAMBADA: does a strategy know the last word of a passage that only its whole tells?

The protocol is that of RWKV's own scripts: a line break, the text before the last space, and then
the last word with its space; right where each token of the word is the likeliest; perplexity is
per document, not per token: exp(-sum of log p(word) / documents). Paperno et al. 2016.

Knows texts, tokens and figures; nothing of models, and not where the file lies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import Struct

from harness.errors import BadInput
from harness.quality.summary import exp
from harness.records.quality import Lambada
from harness.stats import proportion

PAD = "\n"  # what each document begins with, where that is a token: 187 of the Pile's


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One passage: all of its tokens, and how many of them are the last word."""

    ids: tuple[int, ...]
    n_word: int


class LambadaSummary(Struct, frozen=True, kw_only=True):
    """Figures of n documents; both are None without any."""

    documents: int
    accuracy: float | None  # share, 0 to 1
    accuracy_low: float | None  # Wilson's interval
    accuracy_high: float | None
    # Per document; None where a word had no finite log-probability, and beyond what a float holds.
    perplexity: float | None
    not_finite: int  # documents whose word had no finite log-probability


def documents(
    texts: Sequence[str], encode: Callable[[str], Sequence[int]], pad: Sequence[int]
) -> list[Document]:
    """The texts as tokens, `pad` first: context and last word apart, as the protocol has it.

    Raises BadInput where either has no token.
    """
    found = []
    for text in texts:
        before, _, word = text.rpartition(" ")
        context, last = [*pad, *encode(before)], list(encode(f" {word}"))
        if not context or not last:
            raise BadInput(f"the tokenizer has no token for a part of '{text[:40]}…'")
        found.append(Document(ids=(*context, *last), n_word=len(last)))
    return found


def summarise_lambada(found: Lambada) -> LambadaSummary:
    """Accuracy and perplexity of what was scored."""
    n = len(found.right)
    low, high = proportion(sum(found.right), n) if n else (None, None)
    known = [one for one in found.log_p if one is not None]
    return LambadaSummary(
        documents=n,
        accuracy=sum(found.right) / n if n else None,
        accuracy_low=low,
        accuracy_high=high,
        perplexity=exp(-math.fsum(known) / n) if n and len(known) == n else None,
        not_finite=n - len(known),
    )
