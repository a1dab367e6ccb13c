"""First differing tokens against the slow and obvious way: to answer with the reference as well."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.questions import load_questions
from harness.errors import BadInput, ReferenceUnusable
from harness.language.generate import generate
from harness.language.sampling import SamplingSettings
from harness.language.stopping import StopRules
from harness.language.tokenizer import load_tokenizer
from harness.quality.difference import completed, first_difference
from harness.quickstart import files
from harness.runtime import load_model

N_VOCAB = 24
STOP = (0, 5)


class Nonsense:
    """A model whose logits are made of the last tokens, and of some noise that is its own."""

    def __init__(self, noise, seed, sharpness=1.0):
        self.noise, self.seed, self.sharpness = noise, seed, sharpness

    def logits(self, ids):
        last = zlib.crc32(repr((self.seed, ids[-3:])).encode())
        rng = np.random.default_rng(last)
        usual = self.sharpness * rng.normal(size=N_VOCAB)
        return (usual + self.noise * rng.normal(size=N_VOCAB)).astype(np.float32)

    def prefill(self, ids, state):
        return self.logits(ids[0].tolist())[None], ids[0].tolist()

    def step(self, ids, state):
        return self.logits([*state, int(ids[0])])[None], [*state, int(ids[0])]

    def rows(self, prompt, drawn):
        """Log-probabilities behind the prompt and behind each draw but the last."""
        ids = [*prompt, *drawn]
        rows = [self.logits(ids[:at]).astype(np.float64) for at in range(len(prompt), len(ids))]
        return np.array([row - np.log(np.exp(row).sum()) for row in rows], dtype=np.float32)


class Letters:
    def decode(self, ids):
        return "".join(chr(ord("a") + i) for i in ids)


def draws(generated):
    """What was drawn: the answer's tokens, and the stop token."""
    ended = [generated.stopped_by] if generated.stop == "stop_token" else []
    return [*generated.token_ids, *ended]


def compared(drawn, by_reference):
    """Index and both tokens of the first difference of two answers, or None."""
    for index, (one, other) in enumerate(zip(drawn, by_reference, strict=False)):
        if one != other:
            return index, one, other
    # Where one answer begins as the other, both ended there, or what ended one was not a token.
    return None


@st.composite
def settings_of_all_kinds(draw):
    return SamplingSettings(
        temperature=draw(st.sampled_from([0.0, 0.7, 1.0, 1.5])),
        top_p=draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        top_k=draw(st.sampled_from([0, 1, 3])),
        presence_penalty=draw(st.sampled_from([0.0, 0.3, 2.0, -0.5])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.3, 2.0])),
        penalty_decay=draw(st.sampled_from([1.0, 0.9, 0.0])),
        uncounted=frozenset(draw(st.sets(st.integers(0, N_VOCAB - 1), max_size=3))),
        ban=tuple(draw(st.lists(st.integers(1, N_VOCAB - 1), max_size=3))),
        seed=draw(st.integers(0, 99)),
        compat=draw(st.sampled_from([None, "rwkv"])),
    )


@settings(max_examples=300)
@given(
    settings_of_all_kinds(),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.integers(0, 10_000),
    st.sampled_from([(), STOP]),
    st.sampled_from([(), ("ab", "q")]),
)
def test_it_is_what_generating_with_the_reference_shows(how, noise, seed, tokens, strings):
    reference, candidate = Nonsense(0.0, seed, 2.0), Nonsense(noise, seed, 2.0)
    stop = StopRules(strings=strings, tokens=tokens)
    prompt = [3, 1, 4]
    answered, twin = (
        generate(model, prompt, Letters(), how, stop=stop, max_tokens=20)
        for model in (candidate, reference)
    )
    drawn = draws(answered)
    rows = reference.rows(prompt, drawn)
    found = first_difference(rows, drawn, how)
    expected = compared(drawn, draws(twin))
    if expected is None:
        assert found is None
        return
    index, token, other = expected
    assert (found.index, found.token, found.reference_token) == (index, token, other)
    p = np.exp(rows[index].astype(np.float64))
    assert found.reference_p == pytest.approx(p[token], rel=1e-6)
    assert found.reference_p_of_reference_token == pytest.approx(p[other], rel=1e-6)
    assert found.p is found.p_of_reference_token is None
    own = candidate.rows(prompt, drawn)[index]
    whole = completed(found, own)
    assert whole.p == pytest.approx(np.exp(own[token]), rel=1e-5)
    assert whole.p_of_reference_token == pytest.approx(np.exp(own[other]), rel=1e-5)
    assert (whole.index, whole.reference_p) == (found.index, found.reference_p)


GREEDY = SamplingSettings()


def rows_for(*tokens, n_vocab=6):
    """Rows whose likeliest tokens are these."""
    rows = np.full((len(tokens), n_vocab), np.log(0.1), dtype=np.float32)
    rows[np.arange(len(tokens)), list(tokens)] = np.log(0.5)
    return rows


def test_the_reference_would_have_gone_on_behind_a_stop_token():
    found = first_difference(rows_for(1, 2, 3), [1, 2, 0], GREEDY)
    assert (found.index, found.token, found.reference_token) == (2, 0, 3)
    assert found.reference_p == pytest.approx(0.1)
    assert found.reference_p_of_reference_token == pytest.approx(0.5)


def test_the_reference_would_have_stopped_earlier():
    found = first_difference(rows_for(1, 0, 3), [1, 2, 3], GREEDY)
    assert (found.index, found.token, found.reference_token) == (1, 2, 0)


def test_a_stop_token_of_both_is_no_difference():
    assert first_difference(rows_for(1, 2, 0), [1, 2, 0], GREEDY) is None


def test_nothing_is_compared_behind_the_last_draw():
    """What ended the answer was its length, its deadline or a stop string: no draw of anyone."""
    assert first_difference(rows_for(1, 2, 3, 4), [1, 2], GREEDY) is None
    assert first_difference(rows_for(1), [], GREEDY) is None


def test_penalties_count_what_was_drawn():
    rows = rows_for(1, 1, 1)
    assert first_difference(rows, [1, 1, 1], GREEDY) is None
    found = first_difference(rows, [1, 1, 1], SamplingSettings(presence_penalty=3.0))
    assert (found.index, found.reference_token) == (1, 0)
    assert found.reference_p == pytest.approx(0.5)  # of the model, not of what was drawn from
    found = first_difference(rows, [1, 1, 1], SamplingSettings(frequency_penalty=1.0))
    assert (found.index, found.reference_token) == (2, 0)


def test_probabilities_are_of_rows_that_need_not_be_normalised():
    found = first_difference(rows_for(1) + np.float32(8), [2], GREEDY)
    assert found.reference_p == pytest.approx(0.1, rel=1e-5)
    assert found.reference_p_of_reference_token == pytest.approx(0.5, rel=1e-5)
    whole = completed(found, rows_for(2)[0] - np.float32(8))
    assert (whole.p, whole.p_of_reference_token) == pytest.approx((0.5, 0.1), rel=1e-5)


def test_a_banned_token_is_never_the_references():
    found = first_difference(rows_for(1), [1], SamplingSettings(ban=(1,)))
    assert (found.token, found.reference_token) == (1, 0)


def test_of_equal_tokens_the_reference_draws_the_lowest_id():
    level = np.log(np.full((1, 6), 1 / 6, dtype=np.float32))
    assert first_difference(level, [0], GREEDY) is None
    assert first_difference(level, [2], GREEDY).reference_token == 0


def test_a_row_of_the_strategy_that_is_not_a_number_has_no_probabilities():
    found = first_difference(rows_for(1), [2], GREEDY)
    row = np.zeros(6, dtype=np.float32)
    row[5] = np.nan
    whole = completed(found, row)
    assert whole.p is whole.p_of_reference_token is None
    row[5] = -np.inf
    row[2] = -np.inf
    whole = completed(found, row)
    assert (whole.p, whole.p_of_reference_token) == (0.0, pytest.approx(0.25))


@pytest.mark.parametrize(
    ("rows", "drawn", "match"),
    [
        (rows_for(1), [1, 2], "1 rows for 2 drawn tokens"),
        (rows_for(1), [6], r"Token 6 is outside the vocabulary 0\.\.5"),
        (rows_for(1), [-1], "Token -1 is outside"),
    ],
)
def test_what_does_not_belong_together_is_refused(rows, drawn, match):
    with pytest.raises(BadInput, match=match):
        first_difference(rows, drawn, GREEDY)


def test_a_row_of_another_model_is_refused():
    found = first_difference(rows_for(1), [2], GREEDY)
    with pytest.raises(BadInput, match="of another model"):
        completed(found, np.zeros(2, dtype=np.float32))


def test_a_reference_that_is_not_finite_is_refused():
    rows = rows_for(1, 2)
    rows[1, 0] = np.nan
    with pytest.raises(ReferenceUnusable, match="reference itself"):
        first_difference(rows, [1, 2], GREEDY)


class Loaded:
    """The shipped model as the loop wants it."""

    def __init__(self, strategy):
        self.model = load_model(files.WEIGHTS, strategy)

    def prefill(self, ids, state):
        logits, state = self.model.forward(ids.tolist(), state)
        return logits.numpy(), state

    def step(self, ids, state):
        logits, state = self.model.forward(ids.reshape(-1, 1).tolist(), state)
        return logits.numpy(), state

    def rows(self, prompt, drawn):
        logits, _ = self.model.forward([*prompt, *drawn[:-1]], full_output=True)
        return torch.log_softmax(logits, dim=-1)[len(prompt) - 1 :].numpy()


# Asked as it was taught, the model is so sure of itself that only heat makes it differ; of the
# questions read backwards it knows nothing.
CASES = {
    "asked": SamplingSettings(
        temperature=2.0, top_p=0.95, presence_penalty=4.0, frequency_penalty=2.0, seed=7
    ),
    "backwards": SamplingSettings(
        presence_penalty=0.4, frequency_penalty=0.4, penalty_decay=0.996, uncounted=frozenset({9})
    ),
}
ENDS = StopRules(strings=("\n\n",), tokens=(0,))


@pytest.fixture(scope="module", params=CASES)
def answered_by_the_reference(request):
    """The tokenizer, the reference, and 20 prompts with what it draws after each."""
    torch.set_num_threads(1)
    tokenizer, reference = load_tokenizer(files.TOKENIZER), Loaded("cpu fp32")
    texts = [question.text for question in load_questions(files.QUESTIONS)[:40:2]]
    template = "Bob: {}\n\nAlice:" if request.param == "asked" else "{}"
    if request.param == "backwards":
        texts = [" ".join(reversed(text.split())) for text in texts]
    prompts = [tokenizer.encode(template.format(text)) for text in texts]
    how = CASES[request.param]
    twins = [draws(answer(reference, prompt, tokenizer, how)) for prompt in prompts]
    return tokenizer, reference, how, list(zip(prompts, twins, strict=True))


def answer(model, prompt, tokenizer, how):
    return generate(model, prompt, tokenizer, how, stop=ENDS, max_tokens=32)


@pytest.mark.parametrize("strategy", ["cpu bf16", "cpu fp32i8", "cpu bf16i8"])
def test_20_answers_of_the_shipped_model(strategy, answered_by_the_reference):
    tokenizer, reference, how, twins = answered_by_the_reference
    assert len(twins) == 20
    candidate = Loaded(strategy)
    differ = 0
    for prompt, twin in twins:
        drawn = draws(answer(candidate, prompt, tokenizer, how))
        found = first_difference(reference.rows(prompt, drawn), drawn, how)
        expected = compared(drawn, twin)
        assert (found and (found.index, found.token, found.reference_token)) == expected
        differ += expected is not None
    assert 0 < differ < 20  # else nothing, or no agreement, was tested
