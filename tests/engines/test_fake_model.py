"""The `fake` engine with a model behind its script: known rows, and strategies off them."""

import math
import os
import threading

import numpy as np
import pytest

from harness.engines.base import SCORE_CHUNK, ModelSource, Referring
from harness.engines.fake import FakeEngine
from harness.errors import BadInput, Unsupported
from harness.quality.gate import judge_gate
from harness.quality.tokens import compare_rows
from harness.runtime.passage import Passage
from tests.engines.scripts import script

V = 50
LIKELY = 4.0
MODEL = {"vocab": V, "model": {"likely": LIKELY}}
IDS = tuple((7 * n + n * n) % V for n in range(100))
EXACT = "cpu fp32"


def session(path, strategy=EXACT):
    return FakeEngine().open(ModelSource(weights=path), strategy, threads=1)


def scored(path, strategy=EXACT, ids=IDS):
    return np.concatenate(list(session(path, strategy).score(np.array(ids))))


def reference(path, *passages, on_progress=lambda *_: None):
    """The rows of each passage."""
    rows = [[] for _ in passages]
    engine = FakeEngine()
    for index, some in engine.reference(
        ModelSource(weights=path), passages, threads=1, on_progress=on_progress
    ):
        assert 1 <= len(some) <= SCORE_CHUNK
        rows[index].append(some)
    return [np.concatenate(some) for some in rows]


def strategies(**off):
    return {**MODEL, "strategies": {"cpu bf16": {"off": off}}}


def compared(path, strategy="cpu bf16"):
    (rows,) = reference(path, Passage(ids=IDS))
    return compare_rows(rows, scored(path, strategy), [0] * len(IDS))


def log_p(likely=LIKELY):
    """Of the likely token, and of each of the others."""
    total = math.log(math.exp(likely) + V - 1)
    return likely - total, -total


def divergence(likely, other_likely):
    """Of two rows with the same likely token, in float64."""
    (p, p_other), (q, q_other) = log_p(likely), log_p(other_likely)
    return math.exp(p) * (p - q) + (V - 1) * math.exp(p_other) * (p_other - q_other)


def test_the_reference_is_what_a_strategy_that_is_not_off_computes(tmp_path):
    path = script(tmp_path, strategies(likely=0.1))
    heard = []
    passages = [Passage(ids=IDS), Passage(ids=IDS[3:80], first=10), Passage(ids=IDS[:1])]
    rows = reference(path, *passages, on_progress=lambda *done: heard.append(done))
    assert isinstance(FakeEngine(), Referring)
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    for one, of_one in zip(passages, rows, strict=True):
        np.testing.assert_array_equal(of_one, scored(path, ids=one.ids)[one.first :])
    assert np.sort(rows[0])[:, [-1, 0]] == pytest.approx(np.tile(log_p(), (100, 1)), abs=1e-6)


def test_what_follows_hangs_on_all_tokens_before(tmp_path):
    path = script(tmp_path, MODEL)
    for at in (0, 50, 98):
        changed = [*IDS[:at], (IDS[at] + 1) % V, *IDS[at + 1 :]]
        apart = (scored(path) != scored(path, ids=changed)).any(axis=1)
        assert not apart[:at].any()
        assert apart[at:].mean() > 0.5


def test_answers_are_drawn_from_the_same_function_however_tokens_are_fed(tmp_path):
    path = script(tmp_path, {**MODEL, "tokens": [[1]]})
    rows = scored(path)
    one = session(path)
    logits, state = one.prefill(np.array([IDS[:40], IDS[1:41]]), None)
    beside, _ = session(path).prefill(np.array([IDS[1:41]]), None)
    assert logits[0].argmax() == rows[39].argmax()
    np.testing.assert_array_equal(logits[1], beside[0])
    more, _ = one.prefill(np.array([IDS[40:60], IDS[40:60]]), state)
    assert more[0].argmax() == rows[59].argmax()
    step, again = one.step(np.array([IDS[40], IDS[40]]), state)
    np.testing.assert_array_equal(step[0], logits_of(rows[40]))
    step, _ = one.step(np.array([IDS[41], 0]), again)
    np.testing.assert_array_equal(step[0], logits_of(rows[41]))
    anew, _ = one.step(np.array([IDS[40], IDS[40]]), state)  # a state is a value
    np.testing.assert_array_equal(anew[0], logits_of(rows[40]))


def logits_of(row):
    return np.where(row == row.max(), LIKELY, 0.0)


@pytest.mark.parametrize("off", [0.1, -0.5, 1.0])
def test_a_strategy_that_is_a_bit_off_has_a_known_divergence(off, tmp_path):
    quality = compared(script(tmp_path, strategies(likely=off)))
    expected = divergence(LIKELY, LIKELY * (1 + off))
    assert quality.kl == pytest.approx([expected] * len(IDS), rel=1e-5)
    assert expected > 1e-3
    assert quality.agree == [1] * len(IDS)


def test_a_strategy_that_is_turned_agrees_less_and_the_same_each_time(tmp_path):
    path = script(tmp_path, {**strategies(turned=0.3), "log": "opened.log"})
    quality = compared(path)
    assert 0.5 < np.mean(quality.agree) < 0.9
    assert [kl > 1 for kl in quality.kl] == [not agree for agree in quality.agree]
    assert [kl for kl in quality.kl if kl < 1] == pytest.approx([0] * sum(quality.agree), abs=1e-6)
    assert quality == compared(path)


@pytest.mark.parametrize(
    ("off", "passes"), [({}, True), ({"likely": 0.1}, True), ({"turned": 1.0}, False)]
)
def test_the_gate_stops_a_strategy_that_is_another_function(off, passes, tmp_path):
    path = script(tmp_path, strategies(**off))
    (rows,) = reference(path, Passage(ids=IDS[:32]))
    gate = judge_gate(rows, scored(path, "cpu bf16", IDS[:32]))
    assert (gate.why is None) == passes


def test_one_that_is_off_each_time_anew_is_not_deterministic(tmp_path):
    path = script(tmp_path, {**strategies(turned=0.1, each_time=True), "log": "opened.log"})
    first, second = scored(path, "cpu bf16"), scored(path, "cpu bf16")
    assert 0 < (first != second).any(axis=1).sum() < 50
    (path.parent / "opened.log").unlink()
    np.testing.assert_array_equal(scored(path, "cpu bf16"), first)


def test_that_needs_a_log(tmp_path):
    with pytest.raises(BadInput, match="log: for each_time:"):
        session(script(tmp_path, strategies(each_time=True)), "cpu bf16")


def test_rows_of_one_passage_can_be_spoilt(tmp_path):
    fails = {"fail": {"at": "score", "how": "not_a_number", "after": 1, "times": 1}}
    one = session(script(tmp_path, {**MODEL, **fails}))
    for is_spoilt in (False, True, False):
        rows = np.concatenate(list(one.score(np.array(IDS))))
        assert np.isnan(rows).all() == np.isnan(rows).any() == is_spoilt


def test_a_reference_is_noted_and_can_be_spoilt_or_fail(tmp_path):
    fails = {"fail": {"at": "reference", "how": "not_a_number", "after": 1, "times": 1}}
    path = script(tmp_path, {**MODEL, **fails, "references": "references.log"})
    (rows, others) = reference(path, Passage(ids=IDS), Passage(ids=IDS[:9], first=4))
    assert np.isnan(rows).any(axis=1).tolist() == [False] * 64 + [True] * 36
    assert np.isfinite(others).all()
    assert (tmp_path / "references.log").read_text() == "100 5\n"
    path = script(tmp_path, {**MODEL, "fail": {"at": "reference", "how": "error"}})
    with pytest.raises(RuntimeError, match="scripted"):
        reference(path, Passage(ids=IDS))


def test_a_strategy_s_events_are_not_the_reference_s(tmp_path):
    fails = {"fail": [{"at": kind, "how": "error"} for kind in ("reference", "score")]}
    path = script(tmp_path, {**MODEL, "strategies": {EXACT: fails}})
    assert len(reference(path, Passage(ids=IDS))[0]) == 100


def test_a_script_without_a_model_has_no_reference(tmp_path):
    path = script(tmp_path, {"vocab": V})
    with pytest.raises(Unsupported, match="stands for no model"):
        reference(path, Passage(ids=IDS))


def test_a_pipe_holds_a_call_up_until_it_was_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    path = script(tmp_path, {**MODEL, "wait": {"at": "score", "file": "pipe"}})
    one = session(path)
    order = []

    def let_go():
        with (tmp_path / "pipe").open("wb") as file:
            file.write(b"." * 2**20)  # more than a pipe holds: somebody reads it
            order.append("written")

    threading.Thread(target=let_go, daemon=True).start()
    for _ in range(2):
        assert len(list(one.score(np.array(IDS)))) == 2
        order.append("scored")
    assert order == ["written", "scored", "scored"]


def test_scoring_and_references_take_scripted_time(tmp_path):
    path = script(tmp_path, {**MODEL, "load_s": 1, "prefill_s": 0.5})
    engine = FakeEngine()
    one = engine.open(ModelSource(weights=path), EXACT, threads=1)
    list(one.score(np.array(IDS)))
    assert engine.clock() == 1 + 50
    passage = Passage(ids=IDS, first=20)
    rows = engine.reference(
        ModelSource(weights=path), [passage], threads=1, on_progress=lambda *_: None
    )
    assert sum(len(some) for _, some in rows) == 80
    assert engine.clock() == 1 + 50 + 40
