"""What a tokenizer is, whatever file it came from.

Knows ids and text, and which vocabulary sizes belong together. Knows nothing of files or models;
`tokenizer.py` loads one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from harness.errors import BadInput, TokenizerError

# A model's output may be wider than its vocabulary, to a round number; not by more than this.
MOST_PADDING = 512


class Tokenizer(ABC):
    """Text to token ids and back. Make one with `harness.language.tokenizer.load_tokenizer`.

    `n_vocab` is the highest id plus one; `sha256` identifies the content of the file.
    """

    def __init__(self, *, n_vocab: int, sha256: str) -> None:
        self.n_vocab = n_vocab
        self.sha256 = sha256

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of `text` and nothing else: no token is added at either end.

        Raises BadInput for text that is not Unicode (half of a surrogate pair).
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; broken UTF-8 becomes U+FFFD.

        Raises TokenizerError for an id that no model of this tokenizer can draw.
        """

    def check_fits(self, n_vocab: int) -> None:
        """Raise TokenizerError unless this can be the tokenizer of a model with `n_vocab` logits.

        The model may be wider by some padding, never narrower.
        """
        if not self.n_vocab <= n_vocab <= self.n_vocab + MOST_PADDING:
            raise TokenizerError(
                f"The tokenizer has {self.n_vocab:,} tokens and the model {n_vocab:,}: they do "
                "not belong together. Pile and Raven models (50,277) take 20B_tokenizer.json, "
                "World models (65,536) rwkv_vocab_v20230424.txt."
            )


def as_utf8(text: str) -> bytes:
    """`text` as UTF-8. Raises BadInput where it is not Unicode."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(
            f"The text has a lone surrogate at character {error.start}, which is not "
            "Unicode. Save it as UTF-8 and try again."
        ) from error


def check_ids(ids: Sequence[int], end: int, n_vocab: int) -> None:
    """Raise TokenizerError for an id outside 0 to `end` - 1; `n_vocab` is for the message."""
    for i in (min(ids), max(ids)) if len(ids) else ():
        if not 0 <= i < end:
            raise TokenizerError(
                f"Token {i} is not in the tokenizer, which has {n_vocab:,} tokens. "
                "Does this tokenizer belong to this model?"
            )


def spaces_and_digits(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens whose text lies within space, tab, 0123456789, such as "7" and "12".

    Since 0.8 the official package does not count them for its frequency penalty.
    """
    within = " \t0123456789"
    texts = {within[a:b] for a in range(len(within)) for b in range(a + 1, len(within) + 1)}
    encoded = [tokenizer.encode(text) for text in texts]
    return frozenset(ids[0] for ids in encoded if len(ids) == 1)
