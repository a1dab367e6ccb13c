"""Which file a trial reads: converted once where that pays, the original where that fails."""

import os
import threading
from pathlib import Path

import pytest
import torch

from harness.config.engines import FAKE, RWKV
from harness.config.limit_settings import Limits
from harness.engines.base import ModelSource
from harness.engines.torch_engine import TorchEngine
from harness.machine.memory import MemoryReading
from harness.measure import conversion, file_lock, process
from harness.measure.conversion import Conversions, Watch, Weights
from harness.measure.conversion_cache import ConvertedCache
from harness.measure.job import Converted, Failed, Finished, Imported, Job, Written
from harness.measure.process import Ended
from harness.plan.original import Original, look_at, why_original
from harness.quickstart import files
from harness.runtime.model import load_model
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.stored import stored_plan
from tests.measure.conftest import STAND_IN
from tests.measure.test_worker_processes import wait_until_gone

SHA256 = "ab" * 32
LONG_S = 60
GIB = 2**30
SHAPE = RANDOM_SHAPES["169m"]


def original(dtype, **changes):
    """A file of the 169M shape in one format; random weights where that is None."""
    n_bytes = {"fp32": 4, "bf16": 2, "fp16": 2, None: 2}[dtype]
    dtypes = frozenset() if dtype is None else frozenset({dtype})
    settings = {"shape": SHAPE, "nbytes": n_bytes * SHAPE.n_params, "matrix_dtypes": dtypes}
    return Original(**{**settings, **changes})


# -- where converting pays ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "strategy", "reason"),
    [
        ("bf16", "cpu fp32i8", None),
        ("bf16", "cpu fp32i8 *3 -> cpu fp32", None),  # larger than the original, but quantised
        ("fp32", "cuda fp16i8 *4+", None),
        ("bf16", "cuda fp16", None),  # the same size, but for what is float32 in every plan
        ("fp32", "cpu bf16", None),
        ("bf16", "cpu fp32", "save no quantising"),
        ("bf16", "cuda fp16 *6 -> cpu fp32", "save no quantising"),
        ("bf16", "cpu bf16", "in the plan's format"),
        ("fp32", "cpu fp32", "in the plan's format"),
        (None, "cpu bf16", None),  # random weights are made anew at each load
        (None, "cpu fp32", "save no quantising"),
    ],
)
def test_weights_are_converted_where_that_pays(dtype, strategy, reason):
    why = why_original(original(dtype), stored_plan(strategy, SHAPE.n_layer))
    assert why is None if reason is None else reason in why


def test_a_converted_file_is_read_as_it_is():
    plan = stored_plan("cpu fp32i8", SHAPE.n_layer)
    assert "converted file" in why_original(original("bf16", is_converted=True), plan)


def test_the_header_says_what_there_is(converted_by_hand):
    shipped = look_at(files.WEIGHTS)
    assert not shipped.is_converted
    assert shipped.nbytes == files.WEIGHTS.stat().st_size
    assert shipped.matrix_dtypes == {"bf16"}
    assert look_at(converted_by_hand).is_converted
    assert look_at("random:169m") == original(None)


# -- once --------------------------------------------------------------------------------------


class Worker:
    """Stands for the converting process: converts in this one."""

    def __init__(self):
        self.jobs = []

    def __call__(self, job, *, deadline_s, log, on_message, on_wait, room):
        del deadline_s, log, on_wait, room
        self.jobs.append(job)
        on_message(Imported(versions={}, peak_rss=MemoryReading(bytes=1)))
        TorchEngine().convert(
            ModelSource(weights=Path(job.weights)),
            job.strategy,
            Path(job.conversion.out),
            threads=job.threads,
            source_sha256=job.conversion.source_sha256,
            on_progress=lambda done, total: on_message(Written(done_bytes=done, total_bytes=total)),
        )
        return ended(
            Converted(convert_s=1.5),
            Finished(peak_rss=MemoryReading(bytes=7), device_peak_bytes={}),
        )


def ended(*messages, returncode=0):
    return Ended(
        messages=messages, returncode=returncode, timed_out_s=None, oom_kills=0, log_tail="said"
    )


@pytest.fixture
def worker(monkeypatch):
    stands_in = Worker()
    monkeypatch.setattr(conversion, "run_job", stands_in)
    return stands_in


@pytest.fixture(scope="module")
def converted_by_hand(tmp_path_factory):
    out = tmp_path_factory.mktemp("by-hand") / "model.safetensors"
    source = ModelSource(weights=files.WEIGHTS)
    said = []
    TorchEngine().convert(
        source,
        "cpu fp32i8",
        out,
        threads=1,
        source_sha256=SHA256,
        on_progress=lambda *how_far: said.append(how_far),
    )
    assert said[-1][0] == said[-1][1]
    return out


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def conversions(folder):
    """The conversions of a new run; closed at the end."""
    opened = []

    def new(budget=GIB):
        opened.append(Conversions(ConvertedCache(folder, budget=budget)))
        return opened[-1]

    yield new
    for one in opened:
        one.close()


def read(conversions, strategy="cpu fp32i8", weights=files.WEIGHTS, watch=None, **changes):
    settings = {"engine": "torch", "strategy": strategy, "weights": str(weights), "threads": 1}
    return conversions.reading(
        Weights(path=weights, seed=0, sha256=lambda: SHA256),
        Job(**{**settings, "weights_seed": 0, **changes}),
        limits=Limits(trial_s=LONG_S),
        log=Path(os.devnull),
        watch=watch or Watch(),
    )


def whole(folder):
    return [path.name for path in folder.glob("*") if path.suffix != ".lock"]


def test_weights_are_converted_once_for_all_that_need_the_same(worker, conversions, folder):
    run = conversions()
    first = read(run)
    assert first.weights == folder / first.converted.file
    assert first.missing is None
    assert first.warning is None
    assert first.converted.made_now
    assert first.converted.convert_s == 1.5
    assert first.converted.convert_peak_rss_bytes == 7
    assert first.converted.source_sha256 == SHA256
    assert first.converted.bytes == first.weights.stat().st_size
    assert "i8" in first.converted.plan
    for again, strategy in ((run, "cpu fp32i8 *2"), (conversions(), "cuda fp32i8 -> cpu fp32i8")):
        later = read(again, strategy, threads=2)
        assert later.weights == first.weights
        assert not later.converted.made_now
        assert later.converted.convert_s is None
    assert len(worker.jobs) == 1
    other = read(run, "cpu bf16i8")
    assert other.weights != first.weights
    assert len(worker.jobs) == 2
    assert len(whole(folder)) == 2


def test_progress_is_told_from_the_first_to_the_last_byte(worker, conversions):
    heard = []
    read(conversions(), watch=Watch(message=heard.append))
    assert {type(message) for message in heard} == {Written}
    assert heard[0].done_bytes == 0
    assert heard[-1].done_bytes == heard[-1].total_bytes
    assert len({message.total_bytes for message in heard}) == 1
    assert len(worker.jobs) == 1


@pytest.mark.parametrize(
    "strategy", ["cpu fp32i8", "cpu bf16i8", "cpu fp16i8 *2 -> cpu fp32", "cpu fp16"]
)
def test_logits_are_equal_bit_for_bit_whichever_file_is_read(strategy, worker, conversions):
    reading = read(conversions(), strategy)
    assert reading.converted is not None
    tokens = list(range(40, 60))
    ours, _ = load_model(reading.weights, strategy).forward(tokens, full_output=True)
    theirs, _ = load_model(files.WEIGHTS, strategy).forward(tokens, full_output=True)
    assert torch.equal(ours, theirs)
    assert len(worker.jobs) == 1


def test_two_processes_that_want_the_same_file_make_it_once(worker, conversions, monkeypatch):
    monkeypatch.setattr(file_lock, "_POLL_S", 0.001)
    waits, heard, found = threading.Event(), [], []

    def converts(*args, **settings):
        # The other one waits for the lock by now: its first look found no file.
        thread.start()
        assert waits.wait(LONG_S)
        return worker(*args, **settings)

    def note(text):
        heard.append(text)
        waits.set()

    second = conversions()
    thread = threading.Thread(
        target=lambda: found.append(read(second, watch=Watch(note=note, wait=lambda: None)))
    )
    monkeypatch.setattr(conversion, "run_job", converts)
    first = read(conversions())
    thread.join(LONG_S)
    assert len(worker.jobs) == 1
    assert first.converted.made_now
    assert found[0].weights == first.weights
    assert not found[0].converted.made_now
    assert [text for text in heard if "waiting" in text] == heard
    assert len(heard) == 1


# -- not converted -----------------------------------------------------------------------------


def refuse(*_args, **_settings):
    raise AssertionError("nothing is to be converted here")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"strategy": "cpu bf16"}, "in the plan's format"),
        ({"engine": FAKE}, "the fake engine reads no other"),
        ({"engine": RWKV}, "the rwkv engine reads no other"),
        ({"weights": Path("/none.pth")}, "cannot be converted"),
        ({"weights": "random:169m", "strategy": "cpu fp32"}, "save no quantising"),
    ],
)
def test_the_original_is_read_with_a_reason(case, reason, conversions, monkeypatch, folder):
    monkeypatch.setattr(conversion, "run_job", refuse)
    reading = read(conversions(), **case)
    assert reading.weights == case.get("weights", files.WEIGHTS)
    assert reading.converted is None
    assert reading.missing.startswith("read from the original: ")
    assert reason in reading.missing
    assert reading.warning is None
    assert not folder.exists()


def test_a_cache_that_is_off_is_the_reason(monkeypatch):
    monkeypatch.setattr(conversion, "run_job", refuse)
    assert read(Conversions(None, "--no-cache was given")).missing.endswith("--no-cache was given")


def full_disk(job, **_settings):
    Path(job.conversion.out).with_name(f".{Path(job.conversion.out).name}.1.partial").touch()
    reason = f"{job.conversion.out} needs 9 GiB, and its disk has 1 GiB free."
    none = MemoryReading(missing="none")
    return ended(Failed(kind="unsupported", reason=reason, detail="", peak_rss=none), returncode=1)


def killed(_job, **_settings):
    return ended(Written(done_bytes=1, total_bytes=2), returncode=-9)


def no_process(_job, **_settings):
    raise BlockingIOError(11, "Resource temporarily unavailable")


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (full_disk, "safetensors needs 9 GiB"),
        (killed, "killed by SIGKILL, while converting the weights"),
        (no_process, "temporarily unavailable"),
    ],
)
def test_a_conversion_that_fails_costs_a_warning_and_is_not_tried_again(
    fails, reason, conversions, monkeypatch, folder
):
    calls, notes = [], []

    def run_job(job, **settings):
        calls.append(job)
        return fails(job, **settings)

    monkeypatch.setattr(conversion, "run_job", run_job)
    run = conversions()
    first, again = (read(run, watch=Watch(note=notes.append)) for _ in range(2))
    for reading in (first, again):
        assert reading.weights == files.WEIGHTS
        assert reading.converted is None
        assert reason in reading.warning
        assert reading.missing == reading.warning
        assert str(folder) not in reading.warning
    assert len(calls) == len(notes) == 1
    assert reason in notes[0]
    assert whole(folder) == []


def test_a_budget_that_is_too_small_costs_a_warning(conversions, monkeypatch):
    monkeypatch.setattr(conversion, "run_job", refuse)
    reading = read(conversions(budget=2**20))
    assert reading.weights == files.WEIGHTS
    assert "the cache may hold 1.00 MiB" in reading.warning


def test_a_folder_that_cannot_be_written_costs_a_warning(conversions, monkeypatch, folder):
    monkeypatch.setattr(conversion, "run_job", refuse)
    folder.write_text("in the way", encoding="utf-8")
    assert "cannot be written" in read(conversions()).warning


# -- the process that converts -----------------------------------------------------------------


def test_a_worker_converts_as_the_runtime_does(conversions, converted_by_hand):
    reading = read(conversions())
    assert reading.weights.read_bytes() == converted_by_hand.read_bytes()
    assert reading.converted.convert_s > 0
    assert reading.converted.convert_peak_rss_bytes > 0


HALF = """
import pathlib
out = pathlib.Path(json.loads(os.read(told, 2**20))["conversion"]["out"])
out.with_name(f".{out.name}.{os.getpid()}.partial").write_bytes(b"half")
say("written", done_bytes=os.getpid(), total_bytes=2**40)
"""


def test_an_interrupted_conversion_leaves_neither_a_file_nor_a_process(
    conversions, monkeypatch, folder
):
    monkeypatch.setattr(process, "_START", f"{STAND_IN}{HALF}hang()")
    pids = []

    def stop(message):
        if message.done_bytes:
            pids.append(message.done_bytes)
            assert any(name.endswith(".partial") for name in whole(folder))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(conversions(), watch=Watch(message=stop))
    wait_until_gone(pids[0])
    assert whole(folder) == []


def test_a_killed_worker_leaves_no_half_file(conversions, monkeypatch, folder):
    monkeypatch.setattr(process, "_START", f"{STAND_IN}{HALF}os.kill(os.getpid(), signal.SIGKILL)")
    reading = read(conversions())
    assert reading.weights == files.WEIGHTS
    assert "SIGKILL" in reading.warning
    assert whole(folder) == []


def test_an_engine_that_cannot_convert_says_so(tmp_path):
    from harness.measure.job import Conversion
    from harness.measure.judge import judge
    from harness.measure.process import run_job

    job = Job(
        engine=FAKE,
        strategy="cpu fp32",
        weights="none",
        weights_seed=0,
        threads=1,
        conversion=Conversion(out=str(tmp_path / "out"), source_sha256=SHA256),
    )
    outcome = judge(run_job(job, deadline_s=LONG_S, log=tmp_path / "log"), None)
    assert outcome.kind == "unsupported"
    assert "fake engine converts no weights" in outcome.reason
