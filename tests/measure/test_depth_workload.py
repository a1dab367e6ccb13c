"""The depth sweep: which tokens each depth has seen, what is timed, and in which order."""

import gc
import time

import numpy as np
import pytest

from harness.config.depth_settings import Depth
from harness.engines.base import Capabilities
from harness.errors import NotANumber
from harness.measure import depth as depth_module
from harness.measure.depth import feed, measure_depth
from harness.measure.job import FedContext, VisitedDepth

pytestmark = pytest.mark.usefixtures("quick_collections")

N_VOCAB = 500
BASE_S, PER_TOKEN_S = 0.25, 0.0009765625  # binary: sums are exact


class Growing:
    """A session whose steps take longer behind more context; a state is all tokens fed."""

    def __init__(self, spoilt_at=None):
        self.capabilities = Capabilities(n_vocab=N_VOCAB)
        self.prompts = []  # (tokens fed at once, tokens before them)
        self.collects = []
        self.stepped_from = []  # the states behind which steps ran
        self._now = 0.0
        self._spoilt_at = spoilt_at

    def prefill(self, ids, state):
        before = () if state is None else state
        self.prompts.append((ids.shape[1], len(before)))
        self._now += 1000.0  # must not be seen in a visit
        return self._feed(ids[0], before)

    def step(self, ids, state):
        self.collects.append(gc.isenabled())
        self.stepped_from.append(state)
        self._now += BASE_S + PER_TOKEN_S * len(state)
        return self._feed(ids, state)

    def _feed(self, ids, before):
        state = (*before, *(int(token) for token in ids))
        logits = np.zeros((1, N_VOCAB), dtype=np.float32)
        if len(state) == self._spoilt_at:
            logits[0, 3] = np.nan
        return logits, state

    def synchronize(self):
        pass

    def clock(self):
        return self._now


class Queued(Growing):
    """The same on a device: what is asked is done when it is waited for."""

    _due = 0.0

    def prefill(self, ids, state):
        return self._later(super().prefill, ids, state)

    def step(self, ids, state):
        return self._later(super().step, ids, state)

    def _later(self, call, ids, state):
        before = self._now
        result = call(ids, state)
        self._due, self._now = self._due + self._now - before, before
        return result

    def synchronize(self):
        self._now, self._due = self._now + self._due, 0.0


def swept(session=None, seed=0, **settings):
    session = session or Growing()
    sent = []
    depth = Depth(**{"at": [0, 300, 40], "generate_tokens": 3, "passes": 2, **settings})
    measure_depth(session, depth, seed, session.clock, sent.append)
    return session, [message.visit for message in sent if isinstance(message, VisitedDepth)]


@pytest.mark.parametrize("kind", [Growing, Queued])
def test_feeding_is_timed_from_depth_to_depth(kind, monkeypatch):
    monkeypatch.setattr(depth_module, "CHUNK_TOKENS", 100)
    session, sent = kind(), []
    settings = Depth(at=[0, 250, 40], generate_tokens=1, passes=1)
    measure_depth(session, settings, 0, session.clock, sent.append)
    fed = [message.fed for message in sent if isinstance(message, FedContext)]
    assert [(one.from_tokens, one.to_tokens) for one in fed] == [(0, 40), (40, 250)]
    assert [one.s for one in fed] == [1000.0, 3 * 1000.0]  # per chunk
    assert sent[:2] == [FedContext(fed=one) for one in fed]  # before the first visit


@pytest.mark.parametrize("kind", [Growing, Queued])
def test_each_visit_has_the_time_of_its_steps_alone(kind):
    _, visits = swept(kind())
    for visit in visits:
        # Behind the context comes one token that is not timed.
        behind = [visit.tokens + 1 + step for step in range(3)]
        assert visit.decode_s == [BASE_S + PER_TOKEN_S * n for n in behind]


def test_every_pass_visits_every_depth_once_in_an_order_of_its_own():
    _, visits = swept(at=[0, 10, 20, 30], passes=6)
    tokens = [visit.tokens for visit in visits]
    passes = [tuple(tokens[at : at + 4]) for at in range(0, 24, 4)]
    assert {tuple(sorted(one)) for one in passes} == {(0, 10, 20, 30)}
    assert len(set(passes)) > 1
    assert passes != [tuple(sorted(one)) for one in passes]


def test_the_context_is_fed_once_in_chunks_with_the_state_carried_on(monkeypatch):
    monkeypatch.setattr(depth_module, "CHUNK_TOKENS", 100)
    session, visits = swept(at=[0, 250, 40])
    fed = [(n, before) for n, before in session.prompts if n > 1]
    assert fed == [(40, 0), (100, 40), (100, 140), (10, 240)]
    # A warm-up and each visit: one token more, behind the state that was kept.
    assert [before for n, before in session.prompts if n == 1] == [0] + [v.tokens for v in visits]


def test_deeper_contexts_begin_with_the_shallower_ones_and_steps_are_alike():
    session, _ = swept(at=[5, 20], passes=3)
    contexts = {len(state) - 1: state[:-1] for state in session.stepped_from[::3]}
    assert sorted(contexts) == [5, 20]
    assert contexts[20][:5] == contexts[5]
    assert len({state[-1] for state in session.stepped_from[::3]}) == 1


def test_garbage_is_not_collected_while_steps_are_timed():
    session, _ = swept()
    assert session.collects
    assert not any(session.collects)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("spoilt_at", "said"), [(40, "feeding 40 tokens of context"), (43, "after decoding 2 tokens")]
)
def test_logits_that_are_no_numbers_are_an_error(spoilt_at, said):
    with pytest.raises(NotANumber, match=said):
        swept(Growing(spoilt_at), at=[40])


def test_tokens_and_order_follow_from_the_seed():
    (one, visits), (again, visits_again), (other, _) = swept(seed=1), swept(seed=1), swept(seed=2)
    assert one.stepped_from == again.stepped_from
    assert visits == visits_again
    assert one.stepped_from != other.stepped_from


@pytest.mark.parametrize(
    ("written", "depths"),
    [([0, "1k", 400], (0, 400, 1000)), (["16k", "4k"], (4000, 16000)), ([7], (7,))],
)
def test_depths_are_numbers_of_tokens_the_least_first(written, depths):
    assert Depth(at=written).depths == depths


def test_the_states_of_the_torch_engine_are_those_of_the_context_fed_whole():
    """On the shipped model: carried on in chunks, and in one piece, to the rounding of sums."""
    pytest.importorskip("torch")
    from harness.engines.base import ModelSource
    from harness.engines.torch_engine import TorchEngine
    from harness.quickstart import files

    session = TorchEngine().open(ModelSource(weights=files.WEIGHTS), "cpu fp32", threads=1)
    context = np.random.default_rng(0).integers(0, 768, size=(1, 600))
    depths = (0, 130, 600)
    fed = feed(session, context, depths, time.perf_counter)
    for tokens, (_, state) in zip(depths, fed, strict=True):
        carried, _ = session.prefill(np.array([[5]]), state)
        whole, _ = session.prefill(np.append(context[:, :tokens], [[5]], axis=1), None)
        assert np.abs(carried - whole).max() < 1e-3
        assert np.abs(whole).max() > 1  # there is something to compare
