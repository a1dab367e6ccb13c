"""A conversation: an answer's state goes on, and a fork never changes its parent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engines.base import ModelSource
from harness.language.generate import generate
from harness.language.sampling import SamplingSettings
from harness.language.stopping import StopRules

N_VOCAB = 12
DRAWING = SamplingSettings(temperature=1.5, seed=4)


class Remembering:
    """A session whose state is all it was fed, and whose logits depend on all of it."""

    def prefill(self, ids, state):
        fed = (state or ()) + tuple(ids[0].tolist())
        return np.random.default_rng(fed).normal(0, 2, (1, N_VOCAB)), fed

    def step(self, ids, state):
        return self.prefill(ids[None], state)


class Numbers:
    def decode(self, ids):
        return "".join(f"{i} " for i in ids)


IDS = st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=6)
STOPS = st.sampled_from([StopRules(), StopRules(tokens=(3, 5)), StopRules(strings=("7 ", "2 4"))])


@given(before=IDS, prompt=IDS, stop=STOPS, max_tokens=st.integers(1, 8))
def test_the_state_has_seen_all_but_what_is_unfed(before, prompt, stop, max_tokens):
    asked = {"stop": stop, "max_tokens": max_tokens}
    _, state = Remembering().prefill(np.array([before]), None)
    answer = generate(Remembering(), prompt, Numbers(), DRAWING, state=state, **asked)
    assert answer.state + answer.unfed == (*before, *prompt, *answer.token_ids)
    assert len(answer.unfed) == (0 if answer.stop == "stop_token" else 1)
    whole = generate(Remembering(), [*before, *prompt], Numbers(), DRAWING, **asked)
    assert (whole.token_ids, whole.state) == (answer.token_ids, answer.state)


@given(first=IDS, second=IDS)
def test_two_turns_are_one_long_prompt(first, second):
    one = generate(Remembering(), first, Numbers(), DRAWING, max_tokens=4)
    prompt = [*one.unfed, *second]
    two = generate(Remembering(), prompt, Numbers(), DRAWING, state=one.state, max_tokens=4)
    said = [*first, *one.token_ids, *second]
    assert generate(Remembering(), said, Numbers(), DRAWING, max_tokens=4).state == two.state


def test_penalties_begin_anew_with_each_answer():
    settings = SamplingSettings(frequency_penalty=50.0)
    one = generate(Remembering(), [1], Numbers(), settings, max_tokens=N_VOCAB)
    assert sorted(one.token_ids) == list(range(N_VOCAB))
    prompt = [*one.unfed, 1]
    again = generate(Remembering(), prompt, Numbers(), settings, state=one.state, max_tokens=5)
    alone = generate(Remembering(), [1, *one.token_ids, 1], Numbers(), settings, max_tokens=5)
    assert again.token_ids == alone.token_ids


SCRIPT = "vocab: 12\ntokens: [[5, 6, 0], [7, 8, 0], [9, 0]]\n"


def fake(folder):
    from harness.engines.fake import FakeEngine

    path = folder / "script.yaml"
    path.write_text(SCRIPT, encoding="utf-8")
    return FakeEngine().open(ModelSource(weights=path), "cpu fp32", threads=1)


def torch_session(folder):
    torch = pytest.importorskip("torch")

    from harness.engines.torch_engine import TorchEngine
    from tests.runtime.conftest import Case, random_tensors

    torch.set_num_threads(1)
    torch.save(random_tensors(Case(2, 32, 50, torch.float32)), folder / "model.pth")
    source = ModelSource(weights=folder / "model.pth")
    return TorchEngine().open(source, "cpu fp32", threads=1)


def test_the_fake_engine_can_be_forked(tmp_path):
    session = fake(tmp_path)
    _, parent = session.prefill(np.array([[1]]), None)
    held = tuple(parent)
    ends = StopRules(tokens=(0,))
    first = generate(session, [1], Numbers(), SamplingSettings(), state=parent, stop=ends)
    second = generate(session, [1], Numbers(), SamplingSettings(), state=parent, stop=ends)
    assert (first.token_ids, second.token_ids) == ((7, 8), (9,))  # as scripted, in turn
    assert parent == held
    # The first answer's state still is what it was: another answer did not move it.
    logits, _ = session.step(np.array([7]), (first.state[0], 1))
    assert logits.argmax() == 8


def test_a_fork_never_changes_its_parent(tmp_path):
    session = torch_session(tmp_path)
    _, parent = session.prefill(np.array([[1, 2, 3]]), None)
    before = [tensor.clone() for layer in parent.layers for tensor in layer.tensors()]

    def go_on(prompt, seed):
        settings = SamplingSettings(temperature=1.0, seed=seed)
        return generate(session, prompt, Numbers(), settings, state=parent, max_tokens=12)

    first = go_on([4, 5], 1)
    kept = [tensor.clone() for layer in first.state.layers for tensor in layer.tensors()]
    other = go_on([6], 2)
    further = [*first.unfed, 8]
    generate(session, further, Numbers(), DRAWING, state=first.state, max_tokens=12)
    again = go_on([4, 5], 1)
    assert first.token_ids == again.token_ids != other.token_ids
    now = [tensor for layer in parent.layers for tensor in layer.tensors()]
    assert all(was.equal(tensor) for was, tensor in zip(before, now, strict=True))
    now = [tensor for layer in first.state.layers for tensor in layer.tensors()]
    assert all(was.equal(tensor) for was, tensor in zip(kept, now, strict=True))


def test_a_turn_after_a_turn_is_one_prompt_to_the_torch_engine(tmp_path):
    session = torch_session(tmp_path)
    greedy = SamplingSettings()
    one = generate(session, [1, 2], Numbers(), greedy, max_tokens=5)
    prompt = [*one.unfed, 9, 8]
    two = generate(session, prompt, Numbers(), greedy, state=one.state, max_tokens=5)
    whole = generate(session, [1, 2, *one.token_ids, 9, 8], Numbers(), greedy, max_tokens=5)
    assert two.token_ids == whole.token_ids
