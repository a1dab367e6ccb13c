"""The `torch` engine says in numpy what the runtime computes, and passes on what it is told."""

import gc
import types
import weakref

import numpy as np
import pytest
import torch

from harness.engines.base import SCORE_CHUNK, ModelSource, Referring
from harness.engines.torch_engine import TorchEngine, TorchSession
from harness.runtime import load_model
from harness.runtime.exact import exact_log_probs
from harness.runtime.passage import Passage
from harness.runtime.shape import RANDOM_SHAPES
from tests.runtime.conftest import Case, random_tensors

CASE = Case(3, 32, 80, torch.float32)
IDS = np.random.default_rng(0).integers(0, CASE.shape.n_vocab, (2, 140))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save(random_tensors(CASE), path)
    return path


@pytest.fixture(autouse=True)
def _threads_stay():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def opened(weights, strategy="cpu fp32", threads=1):
    return TorchEngine().open(ModelSource(weights=weights), strategy, threads=threads)


@pytest.mark.parametrize("threads", [1, 3, 2])
def test_threads_are_those_asked_for(threads, weights):
    opened(weights, threads=threads)
    assert torch.get_num_threads() == threads


def test_capabilities_are_those_of_the_model(weights):
    capabilities = opened(weights).capabilities
    assert capabilities.n_vocab == CASE.shape.n_vocab
    assert capabilities.batch
    assert capabilities.score


def test_prefill_gives_the_last_logits_of_every_row(weights):
    logits, _ = opened(weights).prefill(IDS[:, :12], None)
    expected, _ = load_model(weights, "cpu fp32").forward(IDS[:, :12], full_output=True)
    assert logits.dtype == np.float32
    assert logits.shape == (2, CASE.shape.n_vocab)
    assert np.abs(logits - expected[:, -1].numpy()).max() < 2e-5


@pytest.mark.parametrize("first", [1, 5, 11])
def test_prefill_goes_on_from_a_state(first, weights):
    session = opened(weights)
    whole, _ = session.prefill(IDS[:, :12], None)
    _, state = session.prefill(IDS[:, :first], None)
    twice = [session.prefill(IDS[:, first:12], state)[0] for _ in range(2)]
    fresh, _ = session.prefill(IDS[:, first:12], None)
    assert np.abs(twice[0] - whole).max() < 5e-5
    assert np.array_equal(twice[0], twice[1])
    assert np.abs(fresh - whole).max() > 1e-3


def test_steps_go_on_from_a_state(weights):
    session = opened(weights)
    whole, _ = session.prefill(IDS[:, :12], None)
    _, state = session.prefill(IDS[:, :9], None)
    kept = state
    for t in (9, 10, 11):
        logits, state = session.step(IDS[:, t], state)
    assert logits.dtype == np.float32
    assert np.abs(logits - whole).max() < 5e-5
    again, _ = session.step(IDS[:, 9], kept)
    expected, _ = session.prefill(IDS[:, :10], None)
    assert np.abs(again - expected).max() < 5e-5


@pytest.mark.parametrize("n_tokens", [1, 2, 12, 64, 65, 66, 75, 129, 130, 140])
def test_scores_are_log_probabilities_of_what_comes_next(n_tokens, weights):
    ids = IDS[0, :n_tokens]
    chunks = list(opened(weights).score(ids))
    assert [len(chunk) for chunk in chunks[:-1]] == [SCORE_CHUNK] * (len(chunks) - 1)
    scores = np.concatenate(chunks)
    assert scores.dtype == np.float32
    logits, _ = load_model(weights, "cpu fp32").forward(ids, full_output=True)
    log_p = torch.log_softmax(logits.double(), dim=-1).numpy()
    assert scores.shape == log_p.shape
    assert np.abs(scores - log_p).max() < 5e-5


def test_the_reference_is_that_of_the_runtime(weights):
    passages = [Passage(ids=tuple(IDS[0, :9].tolist()), first=3)]
    told = []
    source = ModelSource(weights=weights)
    found = TorchEngine().reference(
        source, passages, threads=1, on_progress=lambda *progress: told.append(progress)
    )
    ((index, rows),) = list(found)
    ((_, expected),) = list(exact_log_probs(weights, passages))
    assert index == 0
    assert isinstance(TorchEngine(), Referring)
    np.testing.assert_array_equal(rows, expected)
    assert told[-1][0] == told[-1][1] > 1


def test_the_reference_has_the_threads_and_the_seed_that_it_is_given(monkeypatch):
    monkeypatch.setitem(RANDOM_SHAPES, "tiny", CASE.shape)
    rows = []
    for seed, threads in ((0, 1), (1, 2)):
        source = ModelSource(weights="random:tiny", seed=seed)
        found = TorchEngine().reference(
            source, [Passage((1, 2))], threads=threads, on_progress=lambda *_: None
        )
        assert torch.get_num_threads() == threads
        rows.append(next(iter(found))[1])
        found.close()
        expected = TorchEngine().open(source, "cpu fp32", threads=threads).score(np.array([1, 2]))
        assert np.abs(rows[-1] - next(expected)).max() < 5e-6
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_scores_that_are_no_numbers_are_rows_of_none(tmp_path):
    tensors = random_tensors(CASE)
    tensors["emb.weight"][7] = float("inf")
    torch.save(tensors, tmp_path / "model.pth")
    session = opened(tmp_path / "model.pth")
    (rows,) = session.score(np.array([1, 2, 7, 3]))
    assert np.isfinite(rows[:2]).all()
    assert np.isnan(rows[2:]).all()
    assert list(session.score(np.array([], dtype=np.int64))) == []


def test_the_plan_and_its_warnings_are_those_of_the_loaded_model(weights):
    session = opened(weights, "cpu fp32i8 *1 -> cpu bf16")
    slots = session.effective_plan()
    assert [slot.slot for slot in slots] == [0, 1, 2, 3]
    assert [(slot.dtype, slot.weight_dtype) for slot in slots] == [("fp32", "uint8")] + [
        ("bf16", "bf16")
    ] * 3
    assert session.warnings() == ()
    assert opened(weights, "cpu fp32 *40 -> cpu bf16").warnings()


def test_random_weights_come_of_the_seed(monkeypatch):
    monkeypatch.setitem(RANDOM_SHAPES, "tiny", CASE.shape)
    logits = []
    for seed in (0, 1, 0):
        model = ModelSource(weights="random:tiny", seed=seed)
        session = TorchEngine().open(model, "cpu fp32", threads=1)
        logits.append(session.prefill(IDS[:1, :5], None)[0])
    assert np.array_equal(logits[0], logits[2])
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_a_cpu_has_no_peak_of_a_device_and_nothing_to_wait_for(weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", None)
    session = opened(weights)
    session.synchronize()
    assert session.memory().devices == {}
    assert session.memory().pinned.bytes is None
    assert "page-locked" in session.memory().pinned.missing
    session.restart_memory()


def session_on(*devices, locked=0):
    plans = [types.SimpleNamespace(device=device) for device in devices]
    return TorchSession(
        types.SimpleNamespace(plans=plans, shape=CASE.shape, locked_bytes=lambda: locked)
    )


def test_each_accelerator_is_waited_for_and_asked_for_its_peaks(monkeypatch):
    waited, restarted, peaks = [], [], {"cuda:0": 11, "cuda:1": 22}
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", restarted.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peaks.get)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: peaks[device] * 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (30, 100))
    session = session_on("cuda:1", "cuda:0", "cuda:1", "cpu")
    session.synchronize()
    session.restart_memory()
    assert waited == restarted == ["cuda:0", "cuda:1"]
    memory = session.memory()
    assert memory.allocated_peaks() == peaks
    second = memory.devices["cuda:1"]
    assert {name: one.bytes for name, one in second.items()} == {
        "allocated_peak_bytes": 22,
        "reserved_peak_bytes": 44,
        "device_used_bytes": 70,
    }
    assert all(one.method for one in second.values())


@pytest.mark.parametrize("stats, expected", [({"allocated_bytes.current": 5}, 12), ({}, 7)])
def test_page_locked_memory_is_ours_and_that_of_torch(stats, expected, monkeypatch):
    for name in ("max_memory_allocated", "max_memory_reserved"):
        monkeypatch.setattr(torch.cuda, name, lambda _: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (30, 100))
    monkeypatch.setattr(torch.cuda, "host_memory_stats", lambda: stats, raising=False)
    pinned = session_on("cuda", locked=7).memory().pinned
    assert pinned.bytes == expected
    assert ("host allocator" in pinned.method) == bool(stats)


def test_an_apple_gpu_has_no_peaks_and_says_so(monkeypatch):
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 9)
    memory = session_on("mps", "cpu").memory()
    assert memory.allocated_peaks() == {}
    figures = memory.devices["mps"]
    assert figures["process_bytes"].bytes == 9
    assert figures["allocated_peak_bytes"].missing == "torch keeps no peak for mps"


@pytest.mark.parametrize("cuda", [None, "12.1"])
def test_versions_name_what_computes(cuda, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    versions = TorchEngine().versions()
    assert versions.pop("torch") == str(torch.__version__)
    assert versions == ({} if cuda is None else {"torch_cuda": cuda})


def test_closing_frees_the_weights(weights):
    model = load_model(weights, "cpu fp32")
    session, alive = TorchSession(model), weakref.ref(model.weights.emb)
    del model
    gc.collect()
    assert alive() is not None
    session.close()
    gc.collect()
    assert alive() is None
