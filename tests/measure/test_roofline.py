"""The machine's limits: asked once per run and thread count, kept, and what trials make of them."""

from datetime import datetime, timezone

import pytest
from msgspec import structs

from harness.config.limit_settings import Limits as StudyLimits
from harness.config.noise_settings import Noise
from harness.config.study import Model, Study, Workloads
from harness.engines.fake import FakeEngine
from harness.errors import Unsupported
from harness.machine.memory import MemoryReading
from harness.machine.quiet import Probes
from harness.measure import roofline
from harness.measure.job import Failed, Finished, Job, LimitFound
from harness.measure.memory_limit import MemoryRoom
from harness.measure.probing import probe_limits
from harness.measure.process import Ended, Interrupted, run_job
from harness.measure.roofline import (
    DEVICE_BYTES,
    HOST_BYTES,
    MOST_HOST_BYTES,
    UNKNOWN_CACHES_BYTES,
    Limits,
    host_buffer_bytes,
    questions_for,
    run_limits,
)
from harness.measure.roofline_share import Timed, roofline_of, trial_roofline
from harness.plan.cell import Cell, PlannedCell
from harness.plan.plan import Plan
from harness.records.latency import Prefill
from harness.records.limits_file import LIMITS_NAME, append_limits, read_limits
from harness.records.record import SlotRecord
from harness.records.roofline import Limit, LimitSet
from harness.runtime.limits import LimitQuestion, MeasuredLimit
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import resolve
from harness.runtime.traffic import decode_traffic

SHAPE = ModelShape(n_layer=2, n_embd=64, n_vocab=100, dim_ffn=256)
NOW = datetime(2024, 5, 1, tzinfo=timezone.utc)
NOTHING = MemoryReading(missing="faked")


class Worker:
    """Stands for a worker: answers as many questions as it is told to, then ends as it is told."""

    def __init__(self, answers=99, last=None, returncode=0):
        self.answers, self.returncode = answers, returncode
        self.last = last or Finished(peak_rss=NOTHING, device_peak_bytes={})
        self.jobs, self.rooms = [], []

    def __call__(self, job, *, watcher, room, **_):
        self.jobs.append(job)
        self.rooms.append(room)
        watcher.start(0)
        watcher.stop()
        found = [
            LimitFound(
                limit=Limit(kind=q.kind, device=q.device, dtype=q.dtype, bytes_per_s=1e9 + i)
            )
            for i, q in enumerate(job.limits[: self.answers])
        ]
        return Ended(
            messages=(*found, self.last),
            returncode=self.returncode,
            timed_out_s=None,
            oom_kills=0,
            log_tail="",
        )


def limits_of(tmp_path, run, facts=None, strategy="cpu fp32", **changes):
    (tmp_path / "logs").mkdir(exist_ok=True)
    asked = questions_for([resolve(strategy, 2)], HOST_BYTES)
    settings = {"folder": tmp_path, "facts": facts or {}, "questions": {1: asked, 2: asked}}
    return Limits(**{**settings, "run": run, "now": lambda: NOW, **changes})


def test_asked_before_the_first_trial_and_never_again(tmp_path):
    worker = Worker()
    limits = limits_of(tmp_path, worker)
    limits.before(1)
    limits.before(1)
    assert len(worker.jobs) == 1
    assert worker.jobs[0].engine == "torch"
    limits.before(2)
    assert [job.threads for job in worker.jobs] == [1, 2]
    assert limits.of(1).limits[0].bytes_per_s == 1e9


def test_at_the_end_all_of_it_is_asked_again(tmp_path):
    worker = Worker()
    limits = limits_of(tmp_path, worker)
    limits.at_end()
    assert worker.jobs == []  # no trial needed any
    limits.before(1)
    limits.at_end()
    kinds = [[question.kind for question in job.limits] for job in worker.jobs]
    assert kinds == [["multiply", "read", "product"]] * 2
    kept, note = read_limits(tmp_path)
    assert [one.when for one in kept] == ["begin", "end"]
    assert note is None


def test_a_run_that_goes_on_uses_what_it_has_and_asks_again_under_other_facts(tmp_path):
    limits_of(tmp_path, Worker()).before(1)
    again, elsewhere = Worker(), Worker()
    same = limits_of(tmp_path, again)
    same.before(1)
    assert again.jobs == []
    assert same.of(1).measured_at == "2024-05-01T00:00:00+00:00"
    limits_of(tmp_path, elsewhere, {"cpu_governor": "powersave"}).before(1)
    assert len(elsewhere.jobs) == 1
    assert len(read_limits(tmp_path)[0]) == 2


def test_of_several_measurements_the_newest_at_a_begin_is_used(tmp_path):
    def measured(when, rate, at):
        answers = [
            Limit(kind=q.kind, device=q.device, dtype=q.dtype, bytes_per_s=rate)
            for q in limits.questions[1]
        ]
        append_limits(
            tmp_path,
            LimitSet(measured_at=at, when=when, threads=1, facts_sha256=same, limits=answers),
        )

    limits = limits_of(tmp_path, Worker())
    same = limits._facts_sha256()
    for when, rate, at in (("begin", 1.0, "a"), ("begin", 2.0, "b"), ("end", 3.0, "c")):
        measured(when, rate, at)
    limits.before(1)
    assert limits.of(1).measured_at == "b"


def test_a_run_that_goes_on_with_another_strategy_asks_again(tmp_path):
    limits_of(tmp_path, Worker()).before(1)
    again = Worker()
    limits_of(tmp_path, again, strategy="cpu bf16").before(1)
    assert len(again.jobs) == 1


def test_what_a_worker_did_not_answer_has_the_reason(tmp_path):
    dead = Failed(kind="out_of_memory_host", reason="no room", detail="", peak_rss=NOTHING)
    limits = limits_of(tmp_path, Worker(answers=1, last=dead, returncode=1))
    limits.before(1)
    first, read, _ = limits.of(1).limits
    assert first.bytes_per_s == 1e9
    assert (read.kind, read.bytes_per_s) == ("read", None)
    assert read.missing == "out_of_memory_host: no room"


def test_where_nothing_was_found_out_a_run_that_goes_on_tries_again(tmp_path):
    dead = Failed(kind="crashed", reason="bang", detail="", peak_rss=NOTHING)
    failing = Worker(answers=0, last=dead)
    limits = limits_of(tmp_path, failing)
    limits.before(1)
    limits.before(1)
    assert len(failing.jobs) == 1  # but not before each trial
    again = Worker()
    limits_of(tmp_path, again).before(1)
    assert len(again.jobs) == 1


def test_switched_off_nothing_is_asked(tmp_path):
    worker = Worker()
    limits = limits_of(tmp_path, worker, off="the study says `roofline: false`")
    limits.before(1)
    limits.at_end()
    assert worker.jobs == []
    assert limits.of(1) == "the study says `roofline: false`"
    assert not (tmp_path / LIMITS_NAME).exists()


def test_threads_whose_slots_are_not_known_need_no_limits(tmp_path):
    worker = Worker()
    limits = limits_of(tmp_path, worker)
    limits.before(7)
    assert worker.jobs == []
    assert "no strategy" in limits.of(7)


def test_a_damaged_file_is_left_out_with_a_note_and_measured_again(tmp_path):
    (tmp_path / LIMITS_NAME).write_text("{", encoding="utf-8")
    assert "cannot be read" in read_limits(tmp_path)[1]
    worker = Worker()
    limits_of(tmp_path, worker).before(1)
    assert len(worker.jobs) == 1
    assert read_limits(tmp_path)[1] is None


def test_an_interrupted_measurement_keeps_nothing(tmp_path):
    def interrupted(job, **_):
        raise Interrupted(
            Ended(messages=(), returncode=-9, timed_out_s=None, oom_kills=0, log_tail="")
        )

    with pytest.raises(Interrupted):
        limits_of(tmp_path, interrupted).before(1)
    assert read_limits(tmp_path) == ((), None)


def test_ctrl_c_at_the_end_leaves_out_the_end_alone(tmp_path):
    worker, said = Worker(), []
    limits = limits_of(tmp_path, worker)
    limits.before(1)

    def interrupted(job, **_):
        raise KeyboardInterrupt

    going_on = limits_of(tmp_path, interrupted)
    going_on.before(1)
    going_on.at_end(on_note=said.append)
    assert "Left out" in said[-1]
    assert [one.when for one in read_limits(tmp_path)[0]] == ["begin"]


def test_questions_follow_from_the_slots_each_once():
    plans = [resolve("cuda fp16i8 *1 -> cuda fp16 *0+", 2), resolve("cuda:0 fp16i8", 2)]
    asked = questions_for(plans, 7)
    assert [(q.kind, q.device, q.dtype) for q in asked] == [
        ("multiply", "cuda:0", "fp16"),  # which takes least memory
        ("read", "cpu", None),  # where the embedding lies
        ("read", "cuda:0", None),
        ("product", "cuda:0", "fp16i8"),
        ("product", "cuda:0", "fp16"),
        ("bus", "cuda:0", None),
    ]
    assert [q.n_bytes for q in asked if q.device == "cpu"] == [7]
    assert {q.n_bytes for q in asked if q.device != "cpu"} == {DEVICE_BYTES}
    assert questions_for([], 7) == ()


@pytest.mark.parametrize(
    ("caches", "used", "n_bytes"),
    [
        ({"L2": 2**20, "L3": 2**25}, 1, HOST_BYTES),
        ({"L3": 2**26}, 1, 4 * 2**26),
        ({"L2": 2**20, "L3": 2**25}, 8, 8 * 4 * 2**25),  # eight of them, for eight threads
        ({"L3": 2**31}, 1, MOST_HOST_BYTES),
        ({"unavailable": "no"}, 1, UNKNOWN_CACHES_BYTES),
    ],
)
def test_the_buffer_is_much_larger_than_the_caches(caches, used, n_bytes):
    assert host_buffer_bytes({"cpu_caches_bytes": caches}, used) == n_bytes


class Busy(Probes):
    """A machine on which somebody else computes."""

    def sources(self, *, gpus):
        self.gpus = gpus
        return (OtherCpu(),)


class OtherCpu:
    figures, sampled = ("other_cpu_cores",), False

    def read(self, worker):
        return 1.5

    def tell(self, readings, seconds):
        return {"other_cpu_cores": readings[0]}


def test_limits_are_measured_under_the_limit_of_memory_and_watched(tmp_path):
    worker, probes = Worker(), Busy()
    room = MemoryRoom(bytes=5, source="study")
    limits = limits_of(tmp_path, worker, room=lambda: room, noise=True, probes=probes)
    limits.before(1)
    assert worker.rooms == [room]
    assert probes.gpus == set()
    [disturbed] = limits.of(1).disturbances
    assert (disturbed.cause, disturbed.figure) == ("other_cpu_cores", 1.5)
    assert read_limits(tmp_path)[0][0].disturbances == [disturbed]


def test_gpus_are_watched_where_their_limits_are_measured(tmp_path):
    probes = Busy()
    limits_of(tmp_path, Worker(), strategy="cuda fp16", noise=True, probes=probes).before(1)
    assert probes.gpus == {"cuda:0"}


def test_a_limit_of_memory_that_is_too_low_leaves_out_the_limits_and_says_so(tmp_path):
    asked = (LimitQuestion(kind="read", device="cpu", n_bytes=2**31),)
    limits = Limits(
        folder=tmp_path,
        questions={1: asked},
        room=lambda: MemoryRoom(bytes=1, source="study"),
        now=lambda: NOW,
    )
    (tmp_path / "logs").mkdir()
    limits.before(1)
    [found] = limits.of(1).limits
    assert found.bytes_per_s is None
    assert found.missing.startswith("measuring it held ")
    assert "more than limits.memory: 1 B: it needs buffers" in found.missing


class Asked(FakeEngine):
    """An engine that answers one kind of question."""

    def limit(self, question, *, threads):
        if question.kind == "bus":
            raise RuntimeError("CUDA out of memory.\nTried to allocate")
        return MeasuredLimit(bytes_per_s=5.0 * threads, method="by asking", samples_s=(1.0, 2.0))


def test_a_worker_sends_each_answer_and_goes_on_behind_one_that_failed():
    sent = []
    asked = [LimitQuestion(kind=kind, device="cpu") for kind in ("read", "bus", "read")]
    probe_limits(Asked(), asked, 2, sent.append)
    first, failed, last = (message.limit for message in sent)
    assert (first.bytes_per_s, first.method) == (10.0, "by asking, best of 2")
    assert failed.missing == "CUDA out of memory. Tried to allocate"
    assert last == first


def test_an_engine_that_cannot_be_asked_is_refused():
    with pytest.raises(Unsupported, match="fake"):
        probe_limits(FakeEngine(), [LimitQuestion(kind="read", device="cpu")], 1, print)


def test_a_real_worker_answers(tmp_path):
    asked = [
        LimitQuestion(kind="read", device="cpu", n_bytes=2**20),
        LimitQuestion(kind="multiply", device="cpu", dtype="fp32", side=32),
        LimitQuestion(kind="read", device="cuda:99", n_bytes=2**20),
    ]
    job = Job(engine="torch", strategy="", weights="", weights_seed=0, threads=1, limits=asked)
    ended = run_job(job, deadline_s=120, log=tmp_path / "log")
    read, multiply, refused = (m.limit for m in ended.messages if isinstance(m, LimitFound))
    assert read.bytes_per_s > 0
    assert multiply.flop_per_s > 0
    assert "no device 'cuda:99'" in refused.missing


# What a trial makes of them.

SLOTS = [
    SlotRecord(slot=i, device="cpu", dtype="fp32", weight_dtype="fp32", streamed=False, bytes=10**6)
    for i in range(3)
]
SPLIT = [structs.replace(SLOTS[0], device="cuda:0"), structs.replace(SLOTS[1], device="cuda:0")]
SPLIT.append(SLOTS[2])
LIMITS = LimitSet(
    measured_at="2024-05-01T00:00:00+00:00",
    when="begin",
    threads=1,
    facts_sha256="",
    limits=[
        Limit(kind="read", device="cpu", bytes_per_s=1e9),
        Limit(kind="read", device="cuda:0", bytes_per_s=4e9),
        Limit(kind="multiply", device="cpu", dtype="fp32", flop_per_s=1e9),
        Limit(kind="multiply", device="cuda:0", dtype="fp32", missing="no room"),
        Limit(kind="bus", device="cuda:0", bytes_per_s=1e7),
    ],
)
TIMED = Timed(
    batch=1,
    prefill=[Prefill(tokens=5, s=9.0), Prefill(tokens=10, s=0.01), Prefill(tokens=10, s=0.03)],
    decode_s=[[0.01, 0.02], [0.02, 0.03]],
)


def test_a_share_is_the_least_time_over_the_median_one():
    found = roofline_of(SLOTS, SHAPE, TIMED, LIMITS)
    n_bytes = decode_traffic(SLOTS, SHAPE, 1).read["cpu"]
    assert found.step_bytes == {"cpu": n_bytes}
    assert found.decode_bound_s == pytest.approx(n_bytes / 1e9)
    assert found.decode_share == pytest.approx(n_bytes / 1e9 / 0.02)
    flop = 2 * (10 * 2 * (5 * 64 * 64 + 2 * 64 * 256) + 100 * 64)
    assert found.prefill_flop == {"cpu": {"fp32": flop}}
    assert (found.prefill_tokens, found.prefill_bound_s) == (10, pytest.approx(flop / 1e9))
    assert found.prefill_share == pytest.approx(flop / 1e9 / 0.02)
    assert found.missing == {}
    assert found.limits_at == LIMITS.measured_at


def test_whatever_read_the_memory_fastest_is_the_limit():
    products = [
        Limit(kind="product", device="cpu", dtype="bf16", bytes_per_s=0.1e9),
        Limit(kind="product", device="cpu", dtype="fp32", bytes_per_s=2e9),
        Limit(kind="product", device="cpu", dtype="fp32i8", missing="no room"),
    ]
    for limits in ([*LIMITS.limits, *products], [*products, *LIMITS.limits]):
        found = roofline_of(SLOTS, SHAPE, TIMED, structs.replace(LIMITS, limits=limits))
        assert found.read_bytes_per_s == {"cpu": 2e9, "cuda:0": 4e9}


def test_a_clock_that_stood_still_gives_no_share():
    still = Timed(batch=1, prefill=[Prefill(tokens=4, s=0.0)], decode_s=[[0.0, 0.0]])
    found = roofline_of(SLOTS, SHAPE, still, LIMITS)
    assert (found.decode_share, found.prefill_share) == (None, None)
    assert set(found.missing) == {"decode_share", "prefill_share"}


def test_rows_of_a_batch_are_one_step():
    timed = Timed(batch=8, prefill=TIMED.prefill, decode_s=TIMED.decode_s)
    one, eight = (roofline_of(SLOTS, SHAPE, each, LIMITS) for each in (TIMED, timed))
    assert eight.prefill_share == pytest.approx(8 * one.prefill_share)
    assert one.decode_share < eight.decode_share < 1.1 * one.decode_share


def test_devices_work_one_after_another():
    found = roofline_of(SPLIT, SHAPE, TIMED, LIMITS)
    read = decode_traffic(SPLIT, SHAPE, 1).read
    assert found.decode_bound_s == pytest.approx(read["cpu"] / 1e9 + read["cuda:0"] / 4e9)
    assert found.prefill_share is None
    assert "'multiply cuda:0 fp32' could not be measured: no room" in found.missing["prefill_share"]


def test_copies_run_beside_the_computation():
    streamed = [SPLIT[0], structs.replace(SPLIT[1], streamed=True), SPLIT[2]]
    found = roofline_of(streamed, SHAPE, TIMED, LIMITS)
    assert found.bus_bytes == {"cuda:0": 4 * (5 * 64 * 64 + 2 * 64 * 256)}
    assert found.decode_bound_s == pytest.approx(found.bus_bytes["cuda:0"] / 1e7)
    fast = structs.replace(
        LIMITS,
        limits=[*LIMITS.limits[:-1], Limit(kind="bus", device="cuda:0", bytes_per_s=1e12)],
    )
    read = roofline_of(streamed, SHAPE, TIMED, fast)
    assert read.decode_bound_s == pytest.approx(
        roofline_of(SPLIT, SHAPE, TIMED, LIMITS).decode_bound_s
    )


@pytest.mark.parametrize(
    ("slots", "shape", "timed", "limits", "name", "why"),
    [
        ([], SHAPE, TIMED, LIMITS, "decode_share", "does not say what it loaded"),
        (SLOTS, None, TIMED, LIMITS, "decode_share", "shape of the model"),
        (SLOTS, SHAPE, TIMED, "switched off", "prefill_share", "switched off"),
        (
            SLOTS,
            SHAPE,
            TIMED,
            structs.replace(LIMITS, limits=[]),
            "decode_share",
            "'read cpu' was not measured",
        ),
        (
            SLOTS,
            SHAPE,
            Timed(batch=1, prefill=TIMED.prefill, decode_s=[]),
            LIMITS,
            "decode_share",
            "nothing was decoded",
        ),
    ],
)
def test_what_is_missing_has_its_reason(slots, shape, timed, limits, name, why):
    found = roofline_of(slots, shape, timed, limits)
    assert getattr(found, name) is None
    assert why in found.missing[name]


def test_only_speed_trials_that_began_have_a_roofline():
    nothing = Timed(batch=1, prefill=[], decode_s=[])
    assert trial_roofline("answers", SLOTS, SHAPE, TIMED, LIMITS) is None
    assert trial_roofline("speed", [], SHAPE, nothing, LIMITS) is None
    assert trial_roofline("speed", SLOTS, SHAPE, nothing, LIMITS).step_bytes


def test_measurements_are_appended(tmp_path):
    append_limits(tmp_path, LIMITS)
    append_limits(tmp_path, structs.replace(LIMITS, when="end"))
    kept, _ = read_limits(tmp_path)
    assert kept == (LIMITS, structs.replace(LIMITS, when="end"))
    assert read_limits(tmp_path / "elsewhere") == ((), None)


def test_a_run_asks_for_its_speed_trials_and_threads_alone(tmp_path):
    speed, answers, fake, skipped = (
        Cell(model="m", engine="torch", strategy="cpu fp32", workload="speed", threads=2),
        Cell(model="m", engine="torch", strategy="cpu bf16", workload="answers", threads=2),
        Cell(model="m", engine="fake", strategy="cpu fp32", workload="speed", threads=4),
        Cell(model="m", engine="torch", strategy="cuda fp16", workload="speed", threads=2),
    )
    planned = Plan(
        study="s",
        seed=0,
        cells=(
            *(PlannedCell(cell=cell, trials=1) for cell in (speed, answers, fake)),
            PlannedCell(cell=skipped, trials=1, skip_reasons=("no device",)),
        ),
    )
    plans = {cell: resolve(cell.strategy, 2) for cell in (speed, answers, skipped)}
    plans[fake] = None
    study = Study(
        name="s", models={"m": Model(weights="w")}, strategies=["cpu fp32"], workloads=Workloads()
    )
    limits = run_limits(study, planned, plans, {}, tmp_path)
    assert limits.off is None
    assert {n: [(q.kind, q.dtype) for q in some] for n, some in limits.questions.items()} == {
        2: [("multiply", "fp32"), ("read", None), ("product", "fp32")]
    }
    off = structs.replace(study, roofline=False)
    assert "roofline: false" in run_limits(off, planned, plans, {}, tmp_path).off


@pytest.mark.parametrize(("threads", "caches"), [(1, 1), (2, 2), (16, 3)])
def test_a_run_measures_its_limits_as_its_trials_and_beyond_the_caches_of_its_threads(
    threads, caches, tmp_path, monkeypatch
):
    monkeypatch.setattr(roofline, "last_level_caches", lambda: 3)
    cell = Cell(model="m", engine="torch", strategy="cpu fp32", workload="speed", threads=threads)
    planned = Plan(study="s", seed=0, cells=(PlannedCell(cell=cell, trials=1),))
    study = Study(
        name="s",
        models={"m": Model(weights="w")},
        strategies=["cpu fp32"],
        workloads=Workloads(),
        limits=StudyLimits(memory="3GiB"),
        noise=Noise(other_cpu_cores=7.0),
    )
    facts = {"cpu_caches_bytes": {"L3": 2**26}}
    limits = run_limits(study, planned, {cell: resolve("cpu fp32", 2)}, facts, tmp_path)
    assert limits.room() == MemoryRoom(bytes=3 * 2**30, source="study")
    assert limits.noise == Noise(other_cpu_cores=7.0)
    sizes = {q.n_bytes for q in limits.questions[threads]}
    assert sizes == {caches * 4 * 2**26}


def test_with_probes_off_nothing_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    study = Study(
        name="s", models={"m": Model(weights="w")}, strategies=["cpu fp32"], workloads=Workloads()
    )
    planned = Plan(study="s", seed=0, cells=())
    assert "switched off" in run_limits(study, planned, {}, {}, tmp_path).off
