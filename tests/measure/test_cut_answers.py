"""The deadline of a question: its answer is cut, kept and marked, and the next question follows."""

import json

from harness.config.study import Answers
from harness.engines.base import ModelSource
from harness.engines.fake import FakeEngine
from harness.language.tokenizer import load_tokenizer
from harness.measure.answers import measure_answers
from harness.quickstart.files import BUILTIN, TOKENIZER
from tests.measure.workers import answering

N_TOKENS = 6


def answered(tmp_path, question_s, **script):
    """Three questions of six tokens each, one scripted second per token."""
    (tmp_path / "script").write_text(
        json.dumps(
            {"tokens": [[5] * 99], "decode_s": [1.0], "prefill_s": 0.0, "load_s": 0.0, **script}
        )
    )
    engine = FakeEngine()
    session = engine.open(ModelSource(weights=tmp_path / "script"), "cpu fp32", threads=1)
    job = answering(*["Why?"] * 3, question_s=question_s)
    said = []
    asked = Answers(questions=BUILTIN, max_tokens=N_TOKENS)
    measure_answers(session, load_tokenizer(TOKENIZER), job, asked, engine.clock, said.append)
    return [(one.answer.id, one.answer.stop, len(one.answer.token_ids)) for one in said]


def test_an_answer_that_takes_too_long_is_cut_and_the_next_question_follows(tmp_path):
    stalls = {"at": "decode", "after": 6, "times": 1, "s": 60}  # in the second question
    assert answered(tmp_path, 30.0, slow=stalls) == [
        ("a", "max_tokens", N_TOKENS),
        ("b", "cut", 3),
        ("c", "max_tokens", N_TOKENS),
    ]


def test_a_prompt_that_takes_too_long_leaves_one_token(tmp_path):
    stalls = {"at": "prefill", "times": 1, "s": 60}
    assert answered(tmp_path, 30.0, slow=stalls)[0] == ("a", "cut", 1)


def test_without_a_deadline_nothing_is_cut(tmp_path):
    stalls = {"at": "decode", "s": 1e9}
    assert {stop for _, stop, _ in answered(tmp_path, None, slow=stalls)} == {"max_tokens"}


def test_the_last_token_is_not_late_if_it_is_the_last_anyway(tmp_path):
    stalls = {"at": "decode", "after": 4, "times": 1, "s": 60}
    assert answered(tmp_path, 30.0, slow=stalls)[0] == ("a", "max_tokens", N_TOKENS)
