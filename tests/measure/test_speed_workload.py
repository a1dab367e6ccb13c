"""What the `speed` workload asks of a session, in which order, and what it makes of the answers."""

import gc

import numpy as np
import pytest

from harness.config.study import Speed
from harness.engines.base import Capabilities
from harness.errors import NotANumber, Unsupported
from harness.measure.job import FirstPassed, Passed
from harness.measure.speed import measure_speed

pytestmark = pytest.mark.usefixtures("quick_collections")

N_VOCAB = 1000
PREFILL, STEP = "prefill", "step"


class Recording:
    """A session and its clock, which write down all that is asked; a state is all tokens fed."""

    def __init__(self, spoilt=None, value=np.nan, seconds=None):
        self.capabilities = Capabilities(n_vocab=N_VOCAB)
        self.events = []  # "sync", "clock", or (call, ids, state)
        self.collects = []  # whether garbage collection was on, per call
        self._spoilt = spoilt  # (call, which one of them) whose logits hold `value`
        self._value = value
        self._now = 0
        self._seconds = seconds  # of each call, the last one's over and over; else a reading's 1

    def prefill(self, ids, state):
        return self._feed(PREFILL, ids, state, () if state is None else state)

    def step(self, ids, state):
        return self._feed(STEP, ids[:, None], state, state)

    def _feed(self, call, ids, state, fed):
        index = len(self.calls(call))
        self.events.append((call, ids, state))
        self.collects.append(gc.isenabled())
        if self._seconds is not None:
            self._now += self._seconds[call][min(index, len(self._seconds[call]) - 1)]
        logits = np.zeros((len(ids), N_VOCAB), dtype=np.float32)
        if self._spoilt == (call, index):
            logits[-1, 7] = self._value
        return logits, (*fed, *(tuple(column) for column in ids.T))

    def synchronize(self):
        self.events.append("sync")

    def clock(self):
        self.events.append("clock")
        self._now += self._seconds is None
        return self._now

    def calls(self, call):
        return [event for event in self.events if event[0] == call]


def everything_sent(session, seed=0, batch=1, **changes):
    settings = {"prompt_tokens": [3, 5], "generate_tokens": 4, "passes": 2, "warmup_passes": 1}
    sent = []
    speed = Speed(**{**settings, **changes})
    measure_speed(session, speed, seed, session.clock, sent.append, batch=batch)
    return sent


def measured(session, seed=0, **changes):
    return [m for m in everything_sent(session, seed, **changes) if isinstance(m, Passed)]


def test_decoding_carries_the_state_of_the_last_prefill_through_every_step():
    session = Recording()
    measured(session, warmup_passes=0, passes=1)
    first, last = session.calls(PREFILL)
    assert (first[2], last[2]) == (None, None)  # each prompt begins empty
    fed = tuple(tuple(column) for column in last[1].T)
    steps = session.calls(STEP)
    assert len(steps) == 4
    for _, ids, state in steps:
        assert state == fed
        fed = (*fed, tuple(ids[:, 0]))


def test_each_pass_begins_anew_with_the_same_tokens():
    session = Recording()
    measured(session)
    calls = [event for event in session.events if isinstance(event, tuple)]
    per_pass = len(calls) // 3
    for one, again in zip(calls[per_pass:], calls[:-per_pass], strict=True):
        assert one[0] == again[0]
        assert np.array_equal(one[1], again[1])
        assert one[2] == again[2]


@pytest.mark.parametrize(
    ("spoilt", "value", "said"),
    [
        ((PREFILL, 0), np.nan, "after prefill of 3 tokens"),
        ((PREFILL, 1), np.nan, "after prefill of 5 tokens"),
        ((STEP, 2), np.inf, "after decoding 3 tokens"),
        ((STEP, 1), -np.inf, "after decoding 2 tokens"),
        ((STEP, 3), np.nan, "after decoding 4 tokens"),
    ],
)
def test_logits_that_are_no_numbers_are_an_error(spoilt, value, said):
    session = Recording(spoilt, value)
    with pytest.raises(NotANumber, match=said):
        measured(session, passes=1, warmup_passes=0)
    assert gc.isenabled()


def test_passes_before_the_bad_one_were_sent():
    session = Recording((STEP, 9))  # the second step of the third pass, warm-up counted
    sent = []
    speed = Speed(prompt_tokens=3, generate_tokens=4, passes=2, warmup_passes=1)
    with pytest.raises(NotANumber):
        measure_speed(session, speed, 0, session.clock, sent.append)
    first, whole, broken = sent
    assert (type(first), type(whole)) == (FirstPassed, Passed)
    # And of the bad one what was measured before.
    assert [one.tokens for one in broken.prefill] == [3]
    assert len(broken.decode_s) == 1
    assert broken.end_to_end_s is None


@pytest.mark.parametrize(
    ("spoilt", "lengths", "n_steps"),
    [((PREFILL, 1), [3], 0), ((STEP, 0), [3, 5], 0), ((STEP, 2), [3, 5], 2)],
)
def test_a_first_pass_that_fails_keeps_what_it_had(spoilt, lengths, n_steps):
    session, sent = Recording(spoilt), []
    speed = Speed(prompt_tokens=[3, 5], generate_tokens=4, passes=2, warmup_passes=1)
    with pytest.raises(NotANumber):
        measure_speed(session, speed, 0, session.clock, sent.append)
    (message,) = sent
    assert [one.tokens for one in message.first_pass.prefill] == lengths
    assert len(message.first_pass.decode_s) == n_steps
    assert not message.first_pass.measured


def test_a_pass_that_measured_nothing_is_not_sent():
    session, sent = Recording((PREFILL, 0)), []
    with pytest.raises(NotANumber):
        measure_speed(session, Speed(prompt_tokens=3), 0, session.clock, sent.append)
    assert sent == []


def test_garbage_is_collected_between_passes_only():
    session = Recording()
    enabled_when_sent = []
    speed = Speed(prompt_tokens=3, generate_tokens=2, passes=2, warmup_passes=1)
    measure_speed(
        session, speed, 0, session.clock, lambda _: enabled_when_sent.append(gc.isenabled())
    )
    assert session.collects == [False] * 9
    assert enabled_when_sent == [True, True, True]  # the first pass, and two measured ones
    assert gc.isenabled()


def test_the_device_is_waited_for_on_both_sides_of_each_timed_call():
    session = Recording()
    measured(session, warmup_passes=0, passes=1)
    kinds = [event if isinstance(event, str) else event[0] for event in session.events]
    assert kinds.count("clock") == 2 * (2 + 4)
    inside = False
    for before, kind in zip(["nothing", *kinds], kinds, strict=False):
        if kind == "clock":
            # Nothing is under way when the clock is read; two readings may follow each other.
            assert before == "sync" or (before == "clock" and not inside)
            inside = not inside
        elif kind in (PREFILL, STEP):
            assert before == "clock"
            assert inside


def test_times_are_those_around_the_calls():
    (one,) = measured(Recording(), passes=1, warmup_passes=0)
    assert [(p.tokens, p.s) for p in one.prefill] == [(3, 1), (5, 1)]
    assert one.decode_s == [1, 1, 1, 1]


def test_end_to_end_is_from_the_last_prompt_to_the_last_logits():
    """On a clock that moves with each reading: 1 + 4 calls, and 1 between each two of them."""
    (one,) = measured(Recording(), passes=1, warmup_passes=0)
    assert one.end_to_end_s == 5 + 4


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_the_first_pass_is_sent_apart_before_all_others(warmup):
    session = Recording(seconds={PREFILL: [50.0, 9.0], STEP: [20.0, 3.0]})
    first, *others = everything_sent(session, warmup_passes=warmup, prompt_tokens=3)
    assert [type(message) for message in others] == [Passed] * 2
    assert [(p.tokens, p.s) for p in first.first_pass.prefill] == [(3, 50.0)]
    assert first.first_pass.decode_s == [20.0, 3.0, 3.0, 3.0]
    assert first.first_pass.end_to_end_s == 50 + 20 + 3 * 3
    # Who asks for no warm-up measures the cold pass too, and the record says so.
    assert first.first_pass.measured is (warmup == 0)
    assert (others[0].decode_s == first.first_pass.decode_s) is (warmup == 0)


def test_a_batch_is_refused_by_an_engine_that_runs_one_row_at_a_time():
    session = Recording()
    session.capabilities = Capabilities(n_vocab=N_VOCAB, batch=False)
    assert len(measured(session, batch=1)) == 2
    with pytest.raises(Unsupported, match="a batch of 4"):
        measured(session, batch=4)


def test_rows_of_the_batch_are_fed_at_once_and_differ():
    session = Recording()
    measured(session, batch=6, passes=1, warmup_passes=0)
    assert [ids.shape for _, ids, _ in session.calls(PREFILL)] == [(6, 3), (6, 5)]
    assert [ids.shape for _, ids, _ in session.calls(STEP)] == [(6, 1)] * 4
    rows = session.calls(PREFILL)[1][1]
    assert len({tuple(row) for row in rows}) == 6


@pytest.mark.parametrize("warmup", [0, 2])
def test_warm_up_passes_run_and_are_not_sent(warmup):
    session = Recording()
    sent = measured(session, passes=3, warmup_passes=warmup)
    assert len(sent) == 3
    assert len(session.calls(STEP)) == (3 + warmup) * 4


def test_one_length_is_a_list_of_one():
    (one,) = measured(Recording(), prompt_tokens=3, passes=1)
    assert [p.tokens for p in one.prefill] == [3]


def _tokens(seed):
    session = Recording()
    measured(session, seed, passes=1, warmup_passes=0)
    fed = [event[1] for event in session.events if isinstance(event, tuple)]
    return np.concatenate([ids.ravel() for ids in fed])


def test_tokens_follow_from_the_seed():
    # A strategy is not told to the workload: its session is all that differs, and cannot matter.
    assert np.array_equal(_tokens(1), _tokens(1))
    assert not np.array_equal(_tokens(1), _tokens(2))
    assert _tokens(1).dtype == np.int64
    assert 0 <= _tokens(1).min() <= _tokens(1).max() < N_VOCAB
