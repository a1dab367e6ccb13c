from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadInput, NotANumber
from harness.language.generate import generate
from harness.language.sampling import SamplingSettings
from harness.language.stopping import StopRules

GREEDY = SamplingSettings()
WORDS = ["<end>", "a", "b", "\n", "ab", "c\n", "\n\n", "b\na"]


def say(pieces, script, ids, **options):
    """Generate with a session that says `ids` and then goes on with token 1."""
    session = script([*ids, *[1] * 50], n_vocab=len(WORDS))
    return generate(session, [3, 1, 2], pieces(WORDS), GREEDY, **options), session


def test_an_answer_that_reaches_max_tokens(pieces, script):
    answer, session = say(pieces, script, [1, 2, 4], max_tokens=3)
    assert (answer.text, answer.token_ids) == ("abab", (1, 2, 4))
    assert (answer.stop, answer.stopped_by) == ("max_tokens", None)
    assert answer.prompt_tokens == 3
    assert session.prompt == [3, 1, 2]
    assert session.steps == 2  # the last token is not fed


def test_a_stop_token_is_not_emitted_nor_fed(pieces, script):
    stop = StopRules(tokens=(0, 7))
    answer, session = say(pieces, script, [1, 2, 0], stop=stop, max_tokens=9)
    assert (answer.text, answer.token_ids) == ("ab", (1, 2))
    assert (answer.stop, answer.stopped_by) == ("stop_token", 0)
    assert session.steps == 2
    assert say(pieces, script, [1, 7], stop=stop)[0].stopped_by == 7


def test_a_stop_token_at_once_is_an_empty_answer(pieces, script):
    answer, session = say(pieces, script, [0], stop=StopRules(tokens=(0,)))
    assert (answer.text, answer.token_ids, answer.decode_s) == ("", (), ())
    assert session.steps == 0


@pytest.mark.parametrize("ids, text", [([1, 6], "a"), ([1, 3, 3], "a"), ([5, 3], "c"), ([6], "")])
def test_the_answer_ends_before_the_stop_string_and_its_tokens_count(pieces, script, ids, text):
    answer, session = say(pieces, script, ids, stop=StopRules(strings=("\n\n",)), max_tokens=9)
    assert (answer.text, answer.token_ids) == (text, tuple(ids))
    assert (answer.stop, answer.stopped_by) == ("stop_string", "\n\n")
    assert session.steps == len(ids) - 1


def test_a_stop_string_that_the_last_token_completes_is_still_one(pieces, script):
    answer, _ = say(pieces, script, [1, 6], stop=StopRules(strings=("\n\n",)), max_tokens=2)
    assert answer.stop == "stop_string"


def test_the_beginning_of_a_stop_string_at_the_end_belongs_to_the_answer(pieces, script):
    stop = StopRules(strings=("\n\n",), tokens=(0,))
    assert say(pieces, script, [1, 3], stop=stop, max_tokens=2)[0].text == "a\n"
    assert say(pieces, script, [1, 3, 0], stop=stop, max_tokens=9)[0].text == "a\n"


def test_text_comes_as_soon_as_it_is_certain(pieces, script):
    shown = []
    stop = StopRules(strings=("\n\n",))
    answer, _ = say(pieces, script, [1, 3, 2, 5, 3], stop=stop, on_text=shown.append)
    assert shown == ["a", "\nb", "c"]
    assert answer.text == "a\nbc"


def ends_at_ref(ids, stops):
    """The text before the first stop string to be complete, looking after every character."""
    text = "".join(WORDS[i] for i in ids)
    for n in range(len(text) + 1):
        done = [s for s in stops if text[:n].endswith(s)]
        if done:
            return text[: n - max(len(s) for s in done)], True
    return text, False


@given(
    ids=st.lists(st.integers(1, len(WORDS) - 1), min_size=1, max_size=8),
    stops=st.lists(st.text(alphabet="abc\n", min_size=1, max_size=4), max_size=3),
)
def test_stop_strings_over_any_tokens(pieces, script, ids, stops):
    shown = []
    answer, _ = say(
        pieces,
        script,
        ids,
        stop=StopRules(strings=tuple(stops)),
        max_tokens=len(ids),
        on_text=shown.append,
    )
    text, stopped = ends_at_ref(ids, stops)
    assert answer.text == text == "".join(shown)
    assert "" not in shown
    assert (answer.stop == "stop_string") == stopped
    if stopped:  # no token was drawn after the one that completed it
        assert not ends_at_ref(answer.token_ids[:-1], stops)[1]
        assert ends_at_ref(answer.token_ids, stops)[1]
    else:
        assert answer.token_ids == tuple(ids)


@given(text=st.text(min_size=1, max_size=12))
def test_a_stop_string_is_found_however_its_bytes_are_split(tokenizer, script, text):
    stop = "漢\n"
    ids = tokenizer.encode(text + stop)
    shown = []
    answer = generate(
        script([*ids, *[5] * 9], n_vocab=tokenizer.n_vocab),
        [1],
        tokenizer,
        GREEDY,
        stop=StopRules(strings=(stop,)),
        max_tokens=len(ids),
        on_text=shown.append,
    )
    assert answer.text == (text + stop).partition(stop)[0] == "".join(shown)
    assert answer.stop == "stop_string"


def test_an_answer_cut_inside_a_character_shows_that_it_is_cut(tokenizer, script):
    ids = tokenizer.encode("a漢")[:-1]
    shown = []
    answer = generate(
        script(ids, n_vocab=tokenizer.n_vocab),
        [1],
        tokenizer,
        GREEDY,
        max_tokens=len(ids),
        on_text=shown.append,
    )
    assert answer.text == tokenizer.decode(ids) == "a\ufffd"
    assert shown == ["a", "\ufffd"]


def test_only_the_model_is_timed(pieces, script, clock):
    def slow_terminal(text):
        clock.now += 1000.0

    session = script([1, 2, 4, 2], n_vocab=len(WORDS), clock=clock)
    answer = generate(
        session,
        [1],
        pieces(WORDS),
        GREEDY,
        max_tokens=4,
        clock=clock,
        on_text=slow_terminal,
    )
    assert answer.prefill_s == 100.0
    assert answer.decode_s == (1.0, 2.0, 3.0)


class Uniform:
    """A session that finds every token equally likely."""

    def __init__(self, logit=0.0, bad_at=None):
        self.logit = logit
        self.bad_at = bad_at

    def prefill(self, ids, state):
        return self.step(ids, 0)

    def step(self, ids, state):
        logits = np.full((1, len(WORDS)), self.logit, dtype=np.float32)
        if state == self.bad_at:
            logits[0, 2] = np.nan
        return logits, state + 1


def test_an_answer_is_a_function_of_its_seed(pieces):
    def answer(seed):
        settings = SamplingSettings(temperature=1.0, seed=seed)
        return generate(Uniform(), [1], pieces(WORDS), settings, max_tokens=30).token_ids

    assert answer(3) == answer(3)
    assert len({answer(seed) for seed in range(5)}) == 5


def test_a_penalty_keeps_greedy_from_repeating_itself(pieces):
    settings = SamplingSettings(presence_penalty=0.2, frequency_penalty=0.2)
    answer = generate(Uniform(), [1, 1, 1], pieces(WORDS), settings, max_tokens=16)
    assert answer.token_ids == (*range(8), *range(8))  # the prompt's tokens count for nothing


def test_logits_that_are_no_numbers_end_the_answer_with_an_error(pieces):
    with pytest.raises(NotANumber, match="after 3 generated"):
        generate(Uniform(bad_at=3), [1], pieces(WORDS), GREEDY, max_tokens=9)


@pytest.mark.parametrize("prompt", [[], np.array([], dtype=np.int64)])
def test_an_empty_prompt_is_refused(pieces, prompt):
    with pytest.raises(BadInput, match="no tokens"):
        generate(Uniform(), prompt, pieces(WORDS), GREEDY)


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_max_tokens_below_one_is_refused(pieces, max_tokens):
    with pytest.raises(BadInput, match=f"max_tokens is {max_tokens}"):
        generate(Uniform(), [1], pieces(WORDS), GREEDY, max_tokens=max_tokens)
