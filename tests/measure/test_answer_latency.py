"""The parts of an answer, each on a clock that moves by known times; and that they add up."""

from __future__ import annotations

import numpy as np
import pytest

from harness.config.study import Answers
from harness.engines.base import Capabilities
from harness.language import generate as loop
from harness.language.sampling import Sampler
from harness.measure.answers import measure_answers
from tests.measure.workers import answering

TOKENIZE, PREFILL, STEP, DRAW, DECODE = 0.5, 4.0, 2.0, 0.25, 0.125
WORDS = ["<end>", "a", "b", "!"]


class World:
    """A clock, a session that says a script, a tokenizer and a sampler that take known times."""

    def __init__(self, script):
        self.now = 0.0
        self.capabilities = Capabilities(n_vocab=len(WORDS))
        self._script = script

    def clock(self):
        return self.now

    # the session
    def prefill(self, ids, state):
        self.now += PREFILL * ids.shape[1]
        return self._logits(0), 1

    def step(self, ids, state):
        self.now += STEP
        return self._logits(state), state + 1

    def _logits(self, at):
        return np.eye(len(WORDS), dtype=np.float32)[[self._script[at]]]

    # the tokenizer
    def check_fits(self, n_vocab):
        pass

    def encode(self, text):
        self.now += TOKENIZE
        return [1] * len(text.split())

    def decode(self, ids):
        self.now += DECODE
        return "".join(WORDS[i] for i in ids)


@pytest.fixture
def answered(monkeypatch):
    """The answer to a question of three words, by a model that says `script`."""

    def answer(script, **settings):
        world = World(script)

        class Slow(Sampler):
            def draw(self, logits):
                world.now += DRAW
                return super().draw(logits)

        monkeypatch.setattr(loop, "Sampler", Slow)
        job = answering("Why is that?")
        sent = []
        asked = Answers(questions="q.txt", **{"max_tokens": 4, "stop": ["!"], **settings})
        measure_answers(world, world, job, asked, world.clock, sent.append)
        (message,) = sent
        return message.answer

    return answer


def parts(answer):
    latency = answer.latency
    return (
        latency.tokenize_s
        + answer.prefill_s
        + sum(latency.sample_s)
        + sum(answer.decode_s)
        + latency.text_s
    )


def test_every_part_has_its_own_time(answered):
    answer = answered([1, 2, 1, 2])
    latency = answer.latency
    assert answer.text == "abab"
    assert latency.tokenize_s == TOKENIZE
    assert answer.prefill_s == 3 * PREFILL
    assert latency.sample_s == [DRAW] * 4
    assert answer.decode_s == [STEP] * 3  # neither draws nor text are in it
    assert latency.text_s == (4 + 1) * DECODE  # each token, and what was held back at the end
    assert latency.first_token_s == TOKENIZE + 3 * PREFILL + DRAW


@pytest.mark.parametrize("script", [[1, 2, 1, 2], [1, 2, 0], [0], [2, 3], [3]])
def test_the_parts_add_up_to_the_end(script, answered):
    answer = answered(script)
    assert answer.latency.end_to_end_s == pytest.approx(parts(answer), rel=1e-9)


def test_a_stop_token_is_no_first_token_and_a_token_without_text_is_one(answered):
    assert answered([0]).latency.first_token_s is None
    assert answered([0]).latency.sample_s == [DRAW]
    # A stop string cuts the text to nothing, but a token was there.
    assert answered([3]).text == ""
    assert answered([3]).latency.first_token_s == TOKENIZE + 3 * PREFILL + DRAW


def test_later_tokens_do_not_move_the_first(answered):
    first = {answered([1, 2, 1, 2], max_tokens=n).latency.first_token_s for n in (1, 2, 4)}
    assert len(first) == 1
