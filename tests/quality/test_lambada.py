"""LAMBADA's documents and figures, by the protocol of RWKV's own scripts."""

import math

import pytest

from harness.errors import BadInput
from harness.quality.lambada import documents, summarise_lambada
from harness.records.quality import Lambada


def letters(text):
    return [ord(letter) for letter in text]


def test_context_and_last_word_are_encoded_apart():
    """As one text, a tokenizer could join what is on both sides of the space."""
    asked = []

    def encode(text):
        asked.append(text)
        return letters(text)

    (one,) = documents(["She said her name"], encode, [187])
    assert asked == ["She said her", " name"]
    assert one.ids == (187, *letters("She said her"), *letters(" name"))
    assert one.n_word == 5


def test_without_a_pad_nothing_is_before_the_context():
    (one,) = documents(["a b"], letters, [])
    assert (one.ids, one.n_word) == ((97, 32, 98), 2)


@pytest.mark.parametrize("part", ["a", " b"])
def test_a_part_without_a_token_is_refused(part):
    with pytest.raises(BadInput, match="no token"):
        documents(["a b"], lambda text: [] if text == part else [1], [])


def test_perplexity_is_per_document_and_all_tokens_of_a_word_count():
    found = Lambada(sha256="s", log_p=[-1.0, -2.0, -4.5], right=[1, 0, 1])
    figures = summarise_lambada(found)
    assert figures.documents == 3
    assert figures.accuracy == pytest.approx(2 / 3)
    assert figures.accuracy_low < 2 / 3 < figures.accuracy_high
    assert figures.perplexity == pytest.approx(math.exp(2.5))


def test_a_word_without_a_finite_probability_leaves_no_perplexity():
    figures = summarise_lambada(Lambada(sha256="s", log_p=[-1.0, None], right=[1, 0]))
    assert (figures.perplexity, figures.accuracy, figures.not_finite) == (None, 0.5, 1)


def test_a_perplexity_that_no_float_holds_is_none():
    figures = summarise_lambada(Lambada(sha256="s", log_p=[-1.0, -2000.0], right=[1, 0]))
    assert (figures.perplexity, figures.accuracy, figures.not_finite) == (None, 0.5, 0)


def test_of_nothing_there_are_no_figures():
    figures = summarise_lambada(Lambada(sha256="s", log_p=[], right=[]))
    assert (figures.documents, figures.accuracy, figures.perplexity) == (0, None, None)
    assert figures.not_finite == 0
