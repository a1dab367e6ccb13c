"""From texts and answers to passages."""

import pytest

from harness.measure.passages import (
    GATE_TOKENS,
    WINDOW,
    answer_passage,
    gate_passage,
    passage,
    text_passages,
)
from harness.records.record import Answer

SHA256 = "ab" * 32


class Words:
    """A tokenizer of numbers."""

    def encode(self, text):
        return [int(word) for word in text.split()]


def answer(token_ids, stop_token=None):
    return Answer(
        id="q",
        text="",
        token_ids=token_ids,
        right=None,
        stop="length",
        stop_token=stop_token,
        prompt_tokens=2,
        prefill_s=0.0,
        decode_s=[],
    )


def test_every_token_of_a_text_but_its_first_is_foretold_once():
    ids = list(range(100, 2 * WINDOW + 400))
    parts = text_passages(SHA256, ids, 10**6)
    assert [token for one in parts for token in one.targets] == ids[1:]
    assert [one.n_rows for one in parts] == [WINDOW, WINDOW, 299]
    for one in parts:
        assert one.first == 0
        assert one.ids[1:] == one.targets[:-1]
    assert parts[1].ids[0] == ids[WINDOW]  # each begins with a token that was foretold before


@pytest.mark.parametrize(("n", "most", "rows"), [(9, 4, [4]), (9, 8, [8]), (9, 9, [8]), (1, 5, [])])
def test_no_more_than_is_wanted_is_foretold(n, most, rows):
    assert [one.n_rows for one in text_passages(SHA256, range(n), most)] == rows


def test_all_that_was_drawn_of_an_answer_is_scored_the_stop_token_too():
    one = answer_passage(SHA256, [7, 8], answer([1, 2, 3], stop_token=0))
    assert (one.ids, one.first, one.targets) == ([7, 8, 1, 2, 3], 1, [1, 2, 3, 0])
    one = answer_passage(SHA256, [7, 8], answer([1, 2, 3]))
    assert (one.ids, one.first, one.targets) == ([7, 8, 1, 2], 1, [1, 2, 3])
    one = answer_passage(SHA256, [7], answer([], stop_token=0))
    assert (one.ids, one.first, one.targets) == ([7], 0, [0])
    assert answer_passage(SHA256, [7], answer([])) is None


def test_the_gate_looks_at_a_text_or_at_seeded_tokens():
    text = " ".join(map(str, range(500, 600)))
    of_text = gate_passage(SHA256, 10**4, Words(), text)
    assert of_text.ids == list(range(500, 500 + GATE_TOKENS))
    assert of_text.targets == list(range(501, 501 + GATE_TOKENS))
    seeded = gate_passage(SHA256, 90, None, text)
    assert len(seeded.ids) == seeded.n_rows == GATE_TOKENS
    assert 0 <= min(seeded.ids) <= max(seeded.ids) < 90
    assert len(set(seeded.ids)) > 10
    assert gate_passage(SHA256, 90, None, "") == seeded
    assert gate_passage(SHA256, 90, Words(), "1 2 3") == seeded  # too short


def test_a_key_is_of_all_the_content():
    base = passage(SHA256, [1, 2, 3], 1, [3, 4])
    others = [
        passage("cd" * 32, [1, 2, 3], 1, [3, 4]),
        passage(SHA256, [9, 2, 3], 1, [3, 4]),
        passage(SHA256, [1, 2, 3], 2, [4]),
        passage(SHA256, [1, 2, 3], 1, [3, 5]),
    ]
    assert len({base.key, *(one.key for one in others)}) == 5
    assert passage(SHA256, (1, 2, 3), 1, (3, 4)) == base
