"""Where an answer leaves what the reference would have answered, and how near that was.

The reference never generates: as long as its draws are the answer's own tokens, the rows that it
gives along them are those that it would have drawn from. So its draws are made again, with the
settings and the seed of the answer, up to the first that is another token. What a token's row
becomes through penalties, truncation and bans is the sampler's matter (`language/sampling.py`).
Knows rows and tokens; nothing of text, of what ended an answer but a token, or of records' files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from msgspec import structs

from harness.errors import BadInput
from harness.language.sampling import Sampler, SamplingSettings
from harness.quality.tokens import Row, normalised, reference_row
from harness.records.quality import Difference


class SomeRows(Protocol):
    """Rows [n, V] that are looked at one after the other."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Row]:
        """Row by row."""


def first_difference(
    reference: SomeRows, drawn: Sequence[int], settings: SamplingSettings
) -> Difference | None:
    """The first of `drawn` that the reference would have drawn otherwise, or None.

    `drawn` are all draws of an answer, that of a stop token included; row i of reference [n, V] is
    what the reference gives for draw i, after the prompt and all draws before it. Rows behind the
    last draw are not looked at: where an answer was ended by its length, its deadline or a stop
    string, nothing was drawn there. The strategy's own probabilities are None until `completed`.
    Raises BadInput where there are fewer rows than draws or a draw is outside the vocabulary, and
    ReferenceUnusable for a reference that is not finite.
    """
    if len(reference) < len(drawn):
        raise BadInput(f"There are {len(reference)} rows for {len(drawn)} drawn tokens.")
    sampler = Sampler(settings)
    for index, (row, token) in enumerate(zip(reference, drawn, strict=False)):
        if not 0 <= token < len(row):
            raise BadInput(f"Token {token} is outside the vocabulary 0..{len(row) - 1}.")
        log_p = reference_row(row)
        other = sampler.draw(row)
        if other != token:
            return Difference(
                index=index,
                token=token,
                reference_token=other,
                p=None,
                reference_p=math.exp(log_p[token]),
                p_of_reference_token=None,
                reference_p_of_reference_token=math.exp(log_p[other]),
            )
    return None


def completed(difference: Difference, candidate: Row) -> Difference:
    """With the strategy's own probabilities, from its row [V] of the same draw; NaN gives None."""
    if not 0 <= max(difference.token, difference.reference_token) < len(candidate):
        raise BadInput(f"The strategy's row has {len(candidate)} numbers: of another model.")
    p = np.exp(normalised(candidate))
    return structs.replace(
        difference,
        p=_probability(p[difference.token]),
        p_of_reference_token=_probability(p[difference.reference_token]),
    )


def _probability(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
