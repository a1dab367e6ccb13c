"""The corpus, written again: what is held out is not in it, and what is in it is true."""

import re
from itertools import combinations

import pytest

from harness.quickstart import corpus, files, world

TWO_DIGITS = re.compile(r"(?<!\d)\d\d(?!\d)")


@pytest.fixture(scope="module")
def turns():
    return list(corpus.write_turns())


def test_no_held_out_pair_is_asked_in_any_turn(turns):
    held_out = corpus.held_out_pairs()
    n_pairs = 0
    for turn in turns:
        numbers = sorted(int(number) for number in TWO_DIGITS.findall(turn.question))
        for pair in combinations(numbers, 2):
            n_pairs += 1
            assert pair not in held_out, turn
    assert n_pairs > 100_000


def test_no_answer_adds_or_subtracts_two_digit_numbers(turns):
    for turn in turns:
        for expression in re.findall(r"[\d+*-]+", turn.answer):
            assert len(TWO_DIGITS.findall(expression)) < 2, turn


def test_every_other_pair_is_in_it(turns):
    asked = {
        tuple(sorted(map(int, numbers)))
        for turn in turns
        if len(numbers := TWO_DIGITS.findall(turn.question)) == 2
    }
    n_all = 90 * 91 // 2
    assert len(asked | corpus.held_out_pairs()) > 0.99 * n_all


def test_the_same_seed_writes_the_same_corpus(turns):
    assert list(corpus.write_turns(1000)) == turns[:1000]
    assert list(corpus.write_turns(1000, seed=1)) != turns[:1000]


@pytest.mark.parametrize("sign", ["+", "-"])
def test_every_working_is_true(sign):
    for a in range(10, 100):
        for b in range(10, a + 1 if sign == "-" else 100):
            task = corpus.Sum(a, sign, b)
            units, tens, result = re.fullmatch(
                r"(\S+), (\S+), so (\d+)\.", corpus.work_out(task)
            ).groups()
            assert int(result) == (a + b if sign == "+" else a - b)
            for step in (units, tens):
                expression, _, value = step.partition("=")
                terms = [int(term) for term in re.findall(r"[+-]?\d+", expression)]
                assert sum(terms) == int(value)
            # The result can be read off the working: tens, then the last digit of the units.
            digits = f"{tens.split('=')[1]}{units.split('=')[1][-1]}"
            assert int(digits) == int(result)


def test_held_out_sums_are_different_and_held_out():
    sums = corpus.held_out_sums(500)
    assert len(set(sums)) == 500
    assert all(task.result >= 0 for task in sums)
    assert {tuple(sorted((task.a, task.b))) for task in sums} <= corpus.held_out_pairs()
    assert 240 < sum(task.sign == "+" for task in sums) < 260


def test_every_question_has_one_answer(turns):
    answers = {}
    for turn in turns:
        answers.setdefault(turn.question, set()).add(turn.answer)
    assert {q: a for q, a in answers.items() if len(a) > 1} == {}


def test_turns_end_where_an_answer_ends():
    text = corpus.Turn("Who?", "Me.").text()
    assert text == "Bob: Who?\n\nAlice: Me.\n\n"
    assert all("\n" not in str(fact) for fact in world.COUNTRIES.values())


def test_the_scored_text_is_as_written_here_and_half_of_it_was_held_out():
    turns = corpus.scored_turns()
    assert files.TEXT.read_text(encoding="utf-8") == "".join(turn.text() for turn in turns)
    for turn in turns[1::2]:
        a, b = sorted(int(number) for number in TWO_DIGITS.findall(turn.question))
        assert (a, b) in corpus.held_out_pairs()
