"""The worker's side of quality, on a session that says what the test wants."""

from pathlib import Path

import numpy as np
import pytest

from harness.errors import NotANumber, TokenizerError, WrongAnswers
from harness.language.base import Tokenizer
from harness.language.sampling import SamplingSettings
from harness.measure.job import (
    DocumentJob,
    Gated,
    Judged,
    LambadaJob,
    PassageJob,
    Scored,
    ScoredPassage,
    Scoring,
)
from harness.measure.scoring import look_at_first_tokens, measure_quality
from harness.quality.rows_file import RowsWriter
from harness.quality.small_form import condense
from harness.quality.small_form_file import write_small_forms
from harness.quality.summary import summarise
from harness.quality.tokens import compare_rows
from harness.records.quality import QualityReference

V = 96
REFERENCE = QualityReference(form="full", weights_sha256="w", method="given by the test")
GREEDY = SamplingSettings()


def log_softmax(x):
    return (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(np.float32)


def rows_of(ids, scale=3.0):
    """Rows [T, V] that hang on all tokens so far."""
    rows = []
    for end in range(1, len(ids) + 1):
        random = np.random.default_rng([len(ids[:end]), *map(int, ids[:end])])
        rows.append(random.standard_normal(V) * scale)
    return log_softmax(np.array(rows))


class Session:
    """Scores with `model(ids) -> [T, V]`, in chunks of an odd size."""

    def __init__(self, model, chunk=3):
        self.model, self.chunk, self.fed = model, chunk, []

    def effective_plan(self):
        return ()

    def score(self, ids):
        self.fed.append(ids.tolist())
        rows = self.model(ids.tolist())
        for start in range(0, len(ids), self.chunk):
            yield rows[start : start + self.chunk]


def passage(ids, first, targets, key="k"):
    return PassageJob(key=key, ids=list(ids), first=first, targets=list(targets))


def stored(tmp_path, one, rows):
    path = tmp_path / f"{one.key}.safetensors"
    with path.open("wb") as file:
        writer = RowsWriter(file, {one.key: len(rows)}, V, {})
        writer.write(rows)
        writer.finish()
    return str(path)


def placed(tmp_path, one, model=rows_of, **more):
    rows = model(one.ids)[one.first :]
    return ScoredPassage(passage=one, file=stored(tmp_path, one, rows), **more)


def quality_of(session, scoring, settings=GREEDY, tokenizer=None):
    said = []
    measure_quality(session, scoring, settings, said.append, tokenizer)
    judged = [one for one in said if isinstance(one, Judged)]
    assert said[-1] == judged[-1]
    assert [one.done for one in said if isinstance(one, Scored)][-1] > 0
    return judged[-1].quality


def blurred(ids):
    noise = np.random.default_rng(5).standard_normal((len(ids), V)) * 0.05
    return log_softmax(rows_of(ids) + noise)


@pytest.mark.parametrize("first", [0, 1, 4, 6])
def test_chunks_and_first_rows_change_nothing(tmp_path, first):
    ids = [3, 1, 4, 1, 5, 9, 2]
    one = passage(ids, first, range(7 - first))
    scoring = Scoring(reference=REFERENCE, passages=[placed(tmp_path, one)])
    quality = quality_of(Session(blurred), scoring)
    assert quality.text == compare_rows(
        rows_of(ids)[first:], blurred(ids)[first:], range(7 - first)
    )
    assert quality.reference == REFERENCE


def test_the_reference_against_itself_is_without_fault(tmp_path):
    one = passage(range(9), 0, range(9))
    scoring = Scoring(reference=REFERENCE, passages=[placed(tmp_path, one)])
    figures = summarise(quality_of(Session(rows_of), scoring).text)
    assert figures.kl_mean.value < 1e-9
    assert (figures.agreement, figures.perplexity_ratio) == (1, 1)


def greedy_answer(model, prompt, n):
    drawn = []
    for _ in range(n):
        drawn.append(int(np.argmax(model([*prompt, *drawn])[-1])))
    return drawn


def answer(tmp_path, prompt, drawn, **more):
    one = passage([*prompt, *drawn[:-1]], len(prompt) - 1, drawn)
    return placed(tmp_path, one, answer="q1", **more)


def test_an_answer_that_the_reference_gives_too_has_no_difference(tmp_path):
    drawn = greedy_answer(rows_of, [7, 8], 10)
    scoring = Scoring(reference=REFERENCE, passages=[answer(tmp_path, [7, 8], drawn)])
    quality = quality_of(Session(rows_of), scoring)
    assert quality.text is None
    assert [one.id for one in quality.answers] == ["q1"]
    assert quality.answers[0].difference is None
    assert quality.answers[0].difference_missing is None
    assert len(quality.answers[0].scored.kl) == 10


@pytest.mark.parametrize("at", [0, 2, 3, 9])
def test_the_first_difference_has_the_probabilities_of_both(tmp_path, at):
    drawn = greedy_answer(rows_of, [7, 8], 10)
    drawn[at] = other = (drawn[at] + 1) % V
    scoring = Scoring(reference=REFERENCE, passages=[answer(tmp_path, [7, 8], drawn)])
    found = quality_of(Session(blurred), scoring).answers[0].difference
    ids = [7, 8, *drawn[:-1]]
    theirs, ours = np.exp(rows_of(ids)[1 + at]), np.exp(blurred(ids)[1 + at])
    best = int(np.argmax(theirs))
    assert (found.index, found.token, found.reference_token) == (at, other, best)
    assert found.reference_p == pytest.approx(theirs[other], rel=1e-5)
    assert found.reference_p_of_reference_token == pytest.approx(theirs[best], rel=1e-5)
    assert found.p == pytest.approx(ours[other], rel=1e-5)
    assert found.p_of_reference_token == pytest.approx(ours[best], rel=1e-5)


def test_penalties_are_those_that_the_answer_had(tmp_path):
    prompt, settings = [7], SamplingSettings(presence_penalty=100.0)
    drawn = greedy_answer(rows_of, prompt, 1)
    rows = rows_of([*prompt, *drawn])[-1].copy()
    rows[drawn[0]] = -np.inf
    second = int(np.argmax(rows))
    scoring = Scoring(reference=REFERENCE, passages=[answer(tmp_path, prompt, [*drawn, second])])
    assert quality_of(Session(rows_of), scoring, settings).answers[0].difference is None


def test_the_small_form_bounds_and_cannot_be_drawn_from(tmp_path):
    drawn = greedy_answer(rows_of, [7, 8], 8)
    one = passage([7, 8, *drawn[:-1]], 1, drawn)
    path = tmp_path / "small.npz"
    write_small_forms(path, {"k": condense(rows_of(one.ids)[1:], drawn)})
    place = ScoredPassage(passage=one, file=str(path), small=True, answer="q1")
    found = quality_of(Session(blurred), Scoring(reference=REFERENCE, passages=[place])).answers[0]
    exact = compare_rows(rows_of(one.ids)[1:], blurred(one.ids)[1:], drawn)
    assert found.difference is None
    assert "small form" in found.difference_missing
    for least, kl, most in zip(found.scored.kl, exact.kl, found.scored.kl_most, strict=True):
        assert least <= kl <= most
    assert found.scored.agree == exact.agree


def test_the_gate_lets_the_reference_pass_and_says_what_it_saw(tmp_path):
    gate = placed(tmp_path, passage(range(32), 0, range(32)))
    said = []
    look_at_first_tokens(Session(blurred), gate, said.append)
    assert [type(one) for one in said] == [Gated]
    assert said[0].gate.why is None
    assert said[0].gate.tokens == 32
    assert said[0].gate.figures


def test_the_gate_stops_another_function(tmp_path):
    gate = placed(tmp_path, passage(range(32), 0, range(32)))
    said = []
    with pytest.raises(WrongAnswers):
        look_at_first_tokens(Session(lambda ids: rows_of([*ids[1:], 0])), gate, said.append)
    assert said[0].gate.why


def test_a_reference_that_cannot_be_read_stops_no_trial(tmp_path):
    gate = placed(tmp_path, passage(range(32), 0, range(32)))
    Path(gate.file).write_bytes(b"rubbish")
    said = []
    look_at_first_tokens(Session(rows_of), gate, said.append)
    assert said[0].gate.tokens == 0
    assert "not a file of reference rows" in said[0].gate.missing


def damage(path, row):
    """A number of the file that is none, as a disk may give it; its header is whole."""
    whole = bytearray(Path(path).read_bytes())
    whole[-4 * V * row : -4 * V * row + 4] = np.float32("nan").tobytes()
    Path(path).write_bytes(whole)


def test_damaged_rows_of_the_reference_stop_no_trial(tmp_path):
    gate = placed(tmp_path, passage(range(32), 0, range(32)))
    damage(gate.file, row=5)
    said = []
    look_at_first_tokens(Session(rows_of), gate, said.append)
    assert said[0].gate.tokens == 0
    assert "damaged, 1 of " in said[0].gate.missing


@pytest.mark.parametrize("lost", ["text", "answers"])
def test_a_damaged_part_is_missing_and_no_other_is(tmp_path, lost):
    text = placed(tmp_path, passage(range(9), 0, range(9), key="t"))
    one = placed(tmp_path, passage([7, 8, 9], 1, [9, 3], key="a"), answer="q1")
    damage((text if lost == "text" else one).file, row=1)
    quality = quality_of(Session(rows_of), Scoring(reference=REFERENCE, passages=[text, one]))
    assert list(quality.missing) == [lost]
    assert "damaged, 1 of " in quality.missing[lost]
    assert (quality.text is None) == (lost == "text")
    assert len(quality.answers) == (lost == "text")


@pytest.mark.parametrize("small", [False, True])
def test_a_file_without_the_passage_is_a_reason_and_no_crash(tmp_path, small):
    one = placed(tmp_path, passage(range(9), 0, range(9), key="there"))
    if small:
        write_small_forms(
            tmp_path / "small.npz", {"there": condense(rows_of(range(9)), list(range(9)))}
        )
    other = ScoredPassage(
        passage=passage(range(8), 0, range(8), key="another"),
        file=str(tmp_path / "small.npz") if small else one.file,
        small=small,
    )
    quality = quality_of(Session(rows_of), Scoring(reference=REFERENCE, passages=[other]))
    assert "has not the" in quality.missing["text"]


@pytest.mark.parametrize("lost", ["text", "answers"])
def test_a_part_that_cannot_be_read_is_missing_and_no_other_is(tmp_path, lost):
    text = placed(tmp_path, passage(range(9), 0, range(9), key="t"))
    one = placed(tmp_path, passage([7, 8, 9], 1, [9, 3], key="a"), answer="q1")
    Path((text if lost == "text" else one).file).unlink()
    whole = placed(tmp_path, passage([7, 8], 1, [9], key="b"), answer="q2")
    scoring = Scoring(reference=REFERENCE, passages=[text, one, whole])
    quality = quality_of(Session(rows_of), scoring)
    assert list(quality.missing) == [lost]
    assert "cannot be read" in quality.missing[lost]
    assert (quality.text is None) == (lost == "text")
    assert [found.id for found in quality.answers] == ([] if lost == "answers" else ["q1", "q2"])


def test_last_words(tmp_path):
    def model(ids):  # the likeliest token is always one more than the last
        rows = np.full((len(ids), V), -9.0)
        rows[np.arange(len(ids)), (np.array(ids) + 1) % V] = 0
        return log_softmax(rows)

    documents = [
        DocumentJob(ids=[5, 9, 10, 11], n_word=2),
        DocumentJob(ids=[5, 9, 10, 12], n_word=2),
    ]
    job = LambadaJob(sha256="s", documents=documents)
    session = Session(model)
    found = quality_of(session, Scoring(lambada=job)).lambada
    hit = float(model([1])[0, 2])
    miss = float(model([1])[0, 3])
    assert found.right == [1, 0]
    assert found.log_p == pytest.approx([2 * hit, hit + miss], abs=1e-5)
    assert session.fed == [[5, 9, 10], [5, 9, 10]]


class Letters(Tokenizer):
    """Ids below 64 are letters; 70 is the first half of a character; 64 and above have no text."""

    def __init__(self):
        super().__init__(n_vocab=V, sha256="t")

    def encode(self, text):
        return [ord(c) for c in text]

    def decode(self, ids):
        if any(one >= 64 and one != 70 for one in ids):
            raise TokenizerError("no text")
        return "".join("\ufffd" if one == 70 else chr(32 + one) for one in ids)


@pytest.mark.parametrize(
    "before, characters",
    [
        ([], 0),
        ([33, 34], 2),
        ([0, 33], 1),  # an answer's text begins without the blank
        ([33, 0], 2),
        ([33, 70], 1),  # the character goes on in the token that differs
        ([33, 65], None),
    ],
)
def test_tokens_at_which_an_answer_differs_are_told_as_text(tmp_path, before, characters):
    def reference(ids):
        rows = np.full((len(ids), V), -9.0)
        wanted = [*ids[1:], 40] if len(ids) > len(before) else [*ids[1:], 0]
        rows[np.arange(len(ids)), wanted] = 0
        return log_softmax(rows)

    drawn = [*before, 41]
    place = answer(tmp_path, [7], drawn, model=reference)
    found = quality_of(
        Session(reference), Scoring(reference=REFERENCE, passages=[place]), tokenizer=Letters()
    )
    difference = found.answers[0].difference
    assert (difference.index, difference.token, difference.reference_token) == (len(before), 41, 40)
    assert (difference.text, difference.reference_text) == ("I", "H")
    assert difference.same_characters == characters


def test_a_token_without_text_is_left_without(tmp_path):
    drawn = greedy_answer(rows_of, [7], 3)
    drawn[1] = 90
    place = answer(tmp_path, [7], drawn)
    scoring = Scoring(reference=REFERENCE, passages=[place])
    found = quality_of(Session(rows_of), scoring, tokenizer=Letters()).answers[0].difference
    assert found.token == 90
    assert found.text is None


def test_what_is_known_before_the_documents_are_read_is_sent_at_once(tmp_path):
    class Breaks(Session):
        def score(self, ids):
            if len(ids) == 3:
                raise MemoryError
            return super().score(ids)

    one = passage(range(9), 0, range(9))
    documents = [DocumentJob(ids=[5, 9, 10, 11], n_word=2)]
    scoring = Scoring(
        reference=REFERENCE,
        passages=[placed(tmp_path, one)],
        lambada=LambadaJob(sha256="s", documents=documents),
    )
    said = []
    with pytest.raises(MemoryError):
        measure_quality(Breaks(rows_of), scoring, GREEDY, said.append)
    (judged,) = [one.quality for one in said if isinstance(one, Judged)]
    assert len(judged.text.kl) == 9
    assert "before all documents" in judged.missing["lambada"]


def spoilt(ids, value=np.nan, at=(1, 2), model=blurred):
    """As the model, but for a number in some of its rows."""
    rows = model(ids)
    rows[list(at), 5] = value
    return rows


def judged_not_a_number(session, scoring):
    """What was kept of it, and what the trial ends with."""
    said = []
    with pytest.raises(NotANumber) as stop:
        measure_quality(session, scoring, GREEDY, said.append)
    return [one.quality for one in said if isinstance(one, Judged)][-1], str(stop.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("small", [False, True])
def test_a_strategy_that_says_nothing_of_a_token_ends_so_and_keeps_its_figures(
    tmp_path, value, small
):
    ids = list(range(9))
    text = placed(tmp_path, passage(ids, 0, ids, key="t"))
    if small:
        write_small_forms(tmp_path / "small.npz", {"t": condense(rows_of(ids), ids)})
        text = ScoredPassage(passage=text.passage, file=str(tmp_path / "small.npz"), small=True)
    one = placed(tmp_path, passage([7, 8, 9], 1, [9, 3], key="a"), answer="q1")
    scoring = Scoring(reference=REFERENCE, passages=[text, one])
    kept, why = judged_not_a_number(Session(lambda ids: spoilt(ids, value)), scoring)
    assert "for 4 of 11 scored tokens, for which the exact reference" in why
    assert (kept.text.not_a_number, kept.text.not_finite) == (2, 2)
    assert kept.answers[0].scored.not_a_number == 2
    assert [kl is None for kl in kept.text.kl] == [at in (1, 2) for at in range(9)]


@pytest.mark.parametrize("small", [False, True])
def test_a_token_that_is_ruled_out_is_a_number(tmp_path, small):
    ids = list(range(9))
    text = placed(tmp_path, passage(ids, 0, ids, key="t"))
    if small:
        write_small_forms(tmp_path / "small.npz", {"t": condense(rows_of(ids), ids)})
        text = ScoredPassage(passage=text.passage, file=str(tmp_path / "small.npz"), small=True)
    document = DocumentJob(ids=[5, 9, 10, 5], n_word=2)
    scoring = Scoring(
        reference=REFERENCE,
        passages=[text],
        lambada=LambadaJob(sha256="s", documents=[document]),
    )
    masked = Session(lambda ids: spoilt(ids, -np.inf, range(len(ids))))
    found = quality_of(masked, scoring)
    assert (found.text.not_finite, found.text.not_a_number) == (9, 0)
    assert found.text.log_p[5] is None
    assert (found.lambada.log_p, found.lambada.not_a_number) == ([None], 0)


def test_rows_that_rule_out_every_token_say_nothing(tmp_path):
    one = placed(tmp_path, passage(range(9), 0, range(9)))
    scoring = Scoring(reference=REFERENCE, passages=[one])
    nothing = Session(lambda ids: np.full((len(ids), V), -np.inf, dtype=np.float32))
    kept, why = judged_not_a_number(nothing, scoring)
    assert "for 9 of 9 scored tokens" in why
    assert kept.text.not_a_number == 9


def test_last_words_that_are_no_numbers_end_a_trial_once_all_are_read(tmp_path):
    one = placed(tmp_path, passage(range(9), 0, range(9)))
    documents = [DocumentJob(ids=[5, 9, 10, 11], n_word=2), DocumentJob(ids=[5, 9], n_word=1)]
    scoring = Scoring(
        reference=REFERENCE,
        passages=[one],
        lambada=LambadaJob(sha256="s", documents=documents),
    )

    def model(ids):
        return spoilt(ids, at=[-1]) if len(ids) == 3 else rows_of(ids)

    kept, why = judged_not_a_number(Session(model), scoring)
    assert "for 1 token of last words" in why
    assert kept.text.not_a_number == 0
    assert kept.lambada.not_a_number == 1
    assert [one is None for one in kept.lambada.log_p] == [True, False]
    assert kept.missing == {}
