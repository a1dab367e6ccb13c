"""The `rwkv` engine: the official package behind the protocol, its habits kept inside."""

import copy
import sys

import numpy as np
import pytest
import torch

from harness.engines.base import ModelSource
from harness.engines.rwkv_engine import RwkvEngine
from harness.errors import CheckpointError, MissingExtra, Unsupported
from harness.runtime import load_model
from harness.runtime.convert import convert
from tests.runtime.conftest import Case, random_tensors

CASE = Case(3, 32, 80, torch.float32)
DEEP = Case(13, 32, 80, torch.float32)  # more than ten blocks: blocks.1 and blocks.10 differ
IDS = np.random.default_rng(0).integers(0, CASE.shape.n_vocab, (1, 75))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Path of a case's `.pth`."""
    folder = tmp_path_factory.mktemp("weights")

    def write(case):
        path = folder / f"{case.name}.pth"
        if not path.exists():
            torch.save(random_tensors(case), path)
        return path

    return write


@pytest.fixture(autouse=True)
def _threads_stay():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def opened(weights, monkeypatch):
    """Open a case with the package, which is needed from here on."""
    rwkv_model = pytest.importorskip("rwkv.model")
    # It collects garbage after each tensor, which takes longer than all else in a test.
    monkeypatch.setattr(rwkv_model.gc, "collect", lambda: 0)

    def open_case(case=CASE, strategy="cpu fp32", threads=1):
        return RwkvEngine().open(ModelSource(weights=weights(case)), strategy, threads=threads)

    return open_case


# -- what is refused, with or without the package ------------------------------------------------


@pytest.mark.parametrize("name", ["random:169m", "model.safetensors", "model", "model.pth.zip"])
def test_what_the_package_cannot_read_is_unsupported(name, tmp_path):
    model = ModelSource(weights=name if name.startswith("random:") else tmp_path / name)
    with pytest.raises(Unsupported):
        RwkvEngine().open(model, "cpu fp32", threads=1)


def test_a_missing_package_is_named_with_its_extra(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "rwkv", None)
    monkeypatch.setitem(sys.modules, "rwkv.model", None)
    with pytest.raises(MissingExtra, match="peers"):
        RwkvEngine().open(ModelSource(weights=weights(CASE)), "cpu fp32", threads=1)


def test_a_hostile_file_never_reaches_the_package(tmp_path, monkeypatch):
    """The package unpickles whatever it is given."""
    rwkv_model = pytest.importorskip("rwkv.model")
    monkeypatch.setattr(rwkv_model, "RWKV", None)
    torch.save({"emb.weight": object}, tmp_path / "evil.pth")
    model = ModelSource(weights=tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        RwkvEngine().open(model, "cpu fp32", threads=1)


def test_a_converted_file_runs_under_its_own_strategy_only(weights, opened, tmp_path):
    path = tmp_path / "converted.pth"
    convert(weights(CASE), path, "cpu fp32i8 *20", form="pth")
    session = RwkvEngine().open(ModelSource(weights=path), "cpu fp32i8 *20", threads=1)
    from_original = opened(strategy="cpu fp32i8 *20")
    assert np.array_equal(session.prefill(IDS, None)[0], from_original.prefill(IDS, None)[0])
    with pytest.raises(Unsupported, match="'cpu fp32i8 \\*20', and the rwkv package"):
        RwkvEngine().open(ModelSource(weights=path), "cpu fp32i8", threads=1)


@pytest.mark.parametrize("rows", [0, 2])
def test_other_than_one_row_is_unsupported(rows, opened):
    session = opened()
    _, state = session.prefill(IDS[:, :3], None)
    ids = np.ones((rows, 4), dtype=np.int64)
    assert not session.capabilities.batch
    with pytest.raises(Unsupported, match=f"one row at a time, not {rows}"):
        session.prefill(ids, None)
    with pytest.raises(Unsupported, match=f"one row at a time, not {rows}"):
        session.step(ids[:, 0], state)


# -- what it computes ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CASE, DEEP], ids=lambda case: case.name)
@pytest.mark.parametrize("n_tokens", [1, 2, 12])
def test_logits_are_those_of_our_runtime(case, n_tokens, opened, weights):
    logits, _ = opened(case).prefill(IDS[:, :n_tokens], None)
    ours = load_model(weights(case), "cpu fp32", fold="file").forward(IDS[:, :n_tokens])[0]
    assert logits.dtype == np.float32
    assert logits.shape == (1, case.shape.n_vocab)
    assert np.abs(logits - ours.numpy()).max() < 2e-5


@pytest.mark.parametrize("first", [1, 5, 11])
def test_prefill_goes_on_from_a_state_and_leaves_it_as_it_was(first, opened):
    session = opened()
    whole, _ = session.prefill(IDS[:, :12], None)
    _, state = session.prefill(IDS[:, :first], None)
    before = copy.deepcopy(state)
    logits, after = session.prefill(IDS[:, first:12], state)
    assert np.abs(logits - whole).max() < 5e-5
    assert_same(state, before)
    assert not all(torch.equal(a, b) for a, b in zip(state, after, strict=True))


def test_steps_go_on_from_a_state_and_leave_it_as_it_was(opened):
    session = opened()
    whole, _ = session.prefill(IDS[:, :12], None)
    _, state = session.prefill(IDS[:, :9], None)
    for t in (9, 10, 11):
        before = copy.deepcopy(state)
        logits, after = session.step(IDS[:, t], state)
        assert_same(state, before)
        state = after
    assert logits.dtype == np.float32
    assert logits.shape == whole.shape
    assert np.abs(logits - whole).max() < 5e-5


def assert_same(state, before):
    assert len(state) == len(before)
    assert all(torch.equal(a, b) for a, b in zip(state, before, strict=True))


@pytest.mark.parametrize("n_tokens", [1, 2, 12, 65, 75])
def test_scores_are_log_probabilities_of_what_comes_next(n_tokens, opened, weights):
    ids = IDS[0, :n_tokens]
    scores = np.concatenate(list(opened().score(ids)))
    assert scores.dtype == np.float32
    model = load_model(weights(CASE), "cpu fp32", fold="file")
    log_p = torch.log_softmax(model.forward(ids, full_output=True)[0].double(), dim=-1).numpy()
    assert scores.shape == log_p.shape
    assert np.abs(scores - log_p).max() < 5e-5


# -- what it says of itself ----------------------------------------------------------------------


def test_the_plan_is_read_from_the_tensors(opened):
    slots = opened(strategy="cpu fp32i8 *1 -> cpu bf16").effective_plan()
    assert [slot.slot for slot in slots] == [0, 1, 2, 3]
    assert [(slot.dtype, slot.weight_dtype) for slot in slots] == [("fp32", "uint8")] + [
        ("bf16", "bf16")
    ] * 3
    assert {slot.device for slot in slots} == {"cpu"}
    assert not any(slot.streamed for slot in slots)


def test_the_slots_of_the_plan_hold_all_that_is_loaded_once(opened):
    session = opened(DEEP)
    slots = session.effective_plan()
    # All but the embedding, and ln0, which the package folds into it.
    assert len(slots) == 14
    n_params = DEEP.shape.n_params - DEEP.shape.n_vocab * DEEP.n_embd - 2 * DEEP.n_embd
    assert sum(slot.bytes for slot in slots) == 4 * n_params
    assert len({slot.bytes for slot in slots[:-1]}) == 1


def test_threads_are_those_asked_for_and_nothing_is_printed(opened, capsys):
    for threads in (3, 2):
        opened(threads=threads)
        assert torch.get_num_threads() == threads
    assert capsys.readouterr().out == ""


def test_a_cpu_has_no_peak_of_a_device(opened):
    session = opened()
    session.synchronize()
    assert session.memory().devices == {}
    session.restart_memory()
    assert session.capabilities.n_vocab == CASE.shape.n_vocab
    assert session.warnings() == ()


def test_versions_name_what_computes():
    pytest.importorskip("rwkv")
    versions = RwkvEngine().versions()
    assert set(versions) == {"rwkv", "torch"}
    assert str(torch.__version__).startswith(versions["torch"])
