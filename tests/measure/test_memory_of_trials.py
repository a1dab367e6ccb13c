"""The memory that a worker and its children take is in the record, phase by phase."""

import sys

import pytest
import yaml

from harness.config.questions import Question
from harness.config.study import Answers, Speed
from harness.engines.memory import Held, SessionMemory
from harness.machine.memory import MemoryReading
from harness.measure.job import Finished, Job, Opened
from harness.measure.judge import judge
from harness.measure.memory_record import memory_of
from harness.measure.phase_memory import MemoryWatch, prefill_and_decode_apart
from harness.measure.process import run_job
from harness.quickstart.files import TOKENIZER
from harness.records.phases import DEVICE_FIGURES, HOST_FIGURES, PHASES

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="about Linux's counting of children")


def memory_in(tmp_path, script, workload="speed", **changes):
    path = tmp_path / "script.yaml"
    path.write_text(yaml.safe_dump(script), encoding="utf-8")
    speed = Speed(prompt_tokens=[4, 10], generate_tokens=4, passes=2, warmup_passes=1)
    job = Job(
        **{
            "engine": "fake",
            "strategy": "cpu fp32",
            "weights": str(path),
            "weights_seed": 0,
            "threads": 1,
            "speed": speed,
            **changes,
        }
    )
    ended = run_job(job, deadline_s=120, log=tmp_path / "job.log")
    return ended, memory_of(ended.messages, None, workload)


def phases(memory):
    return {one.phase: one for one in memory.phases}


@linux
def test_300_mib_that_a_child_holds_for_a_fifth_of_a_second_are_seen(tmp_path):
    child = {"at": "prefill", "bytes": 300 * MIB, "where": "child", "for_s": 0.2}
    ended, memory = memory_in(tmp_path, {"memory": child})
    assert judge(ended, None).kind == "ok"
    found = phases(memory)
    held = found["passes"].host["children_peak_rss_bytes"]
    assert held.bytes == pytest.approx(300 * MIB, rel=0.05)
    own = found["passes"].host["own_peak_rss_bytes"].bytes
    assert own < 200 * MIB
    assert found["passes"].host["peak_rss_bytes"].bytes == own + held.bytes
    # Before and behind it there was no child, and none is counted.
    for other in ("load", "prefill", "decode"):
        assert found[other].host["children_peak_rss_bytes"].bytes == 0


@linux
def test_a_child_in_the_shadow_of_its_parent_is_missing_and_not_guessed(tmp_path):
    own = {"at": "open", "bytes": 400 * MIB}
    child = {"at": "prefill", "bytes": 100 * MIB, "where": "child", "for_s": 0}
    found = phases(memory_in(tmp_path, {"memory": [own, child]})[1])
    assert found["load"].host["own_peak_rss_bytes"].bytes > 400 * MIB
    figure = found["passes"].host["children_peak_rss_bytes"]
    assert figure.bytes is None
    assert "parent" in figure.missing
    assert found["passes"].host["peak_rss_bytes"].missing == figure.missing
    assert found["passes"].host["own_peak_rss_bytes"].bytes > 400 * MIB


@linux
def test_what_one_phase_takes_is_not_the_next_ones(tmp_path):
    # The first prefill of all, in the warm-up; given back before it ends.
    taken = {"at": "prefill", "bytes": 200 * MIB, "for_s": 0}
    _, memory = memory_in(tmp_path, {"memory": taken})
    found = {name: one.host["own_peak_rss_bytes"] for name, one in phases(memory).items()}
    if "cannot be set back" in found["load"].method:
        pytest.skip("this kernel does not let a high-water mark be set back")
    assert found["passes"].bytes > found["load"].bytes + 190 * MIB
    assert found["prefill"].bytes < found["passes"].bytes - 190 * MIB
    assert memory.peak_rss_bytes >= found["passes"].bytes  # of the whole trial, as ever
    assert memory.load_rss_bytes < found["passes"].bytes - 190 * MIB


def test_every_figure_has_a_name_that_is_defined_and_a_method_or_a_reason(tmp_path):
    script = {"device_memory": {"cuda:0": {"allocated_peak_bytes": 7, "reserved_peak_bytes": 9}}}
    _, memory = memory_in(tmp_path, script)
    assert [one.phase for one in memory.phases] == ["load", "passes", "prefill", "decode"]
    assert memory.device_peak_bytes == {"cuda:0": 7}
    for one in memory.phases:
        assert one.phase in PHASES
        assert set(one.host) == set(HOST_FIGURES)
        assert set(one.devices["cuda:0"]) == set(DEVICE_FIGURES)
        for figure in (*one.host.values(), *one.devices["cuda:0"].values()):
            assert (figure.bytes is None) == (figure.missing is not None)
            assert (figure.bytes is None) == (figure.method is None)
            assert figure.bytes is None or figure.bytes >= 0
        assert one.devices["cuda:0"]["reserved_peak_bytes"].bytes == 9


def test_answering_is_a_phase_of_its_own(tmp_path):
    ended, memory = memory_in(
        *(tmp_path, {"tokens": [[263, 0]]}, "answers"),
        speed=None,
        answers=Answers(questions="q.yaml", max_tokens=2),
        tokenizer=str(TOKENIZER),
        questions=[Question(id="q", text="What is 1 + 1?")],
    )
    assert judge(ended, None).kind == "ok", ended.messages[-1]
    assert [(one.phase, one.missing) for one in memory.phases] == [
        ("load", None),
        ("answering", None),
    ]


DEVICE = {"device_memory": {"cuda:0": {"allocated_peak_bytes": 7}}}
N_STEPS = 3 * 4  # that are timed: a warm-up and two passes


@pytest.mark.parametrize(
    ("fails_at", "after", "whole", "broken"),
    [
        ("open", 0, [], "load"),
        ("decode", 0, ["load"], "passes"),
        ("decode", N_STEPS, ["load", "passes", "prefill"], "decode"),
    ],
)
def test_a_trial_that_fails_keeps_its_memory_until_then(fails_at, after, whole, broken, tmp_path):
    fails = {"at": fails_at, "after": after, "how": "out_of_memory_host"}
    ended, memory = memory_in(tmp_path, {"fail": fails, **DEVICE})
    assert judge(ended, None).kind == "out_of_memory_host"
    found = phases(memory)
    assert [name for name, one in found.items() if one.broken_off] == [broken]
    for name, one in found.items():
        if name in (*whole, broken):
            assert one.missing is None
            assert one.host["own_peak_rss_bytes"].bytes > 0
            assert set(one.devices) == ({"cuda:0"} if whole else set())
        else:
            assert one.missing == "the trial did not come this far"
    assert memory.device_peak_bytes == ({"cuda:0": 7} if whole else {})


def test_a_trial_that_is_killed_keeps_the_phases_that_were_over(tmp_path):
    kill = {"at": "decode", "after": N_STEPS, "how": "kill"}
    ended, memory = memory_in(tmp_path, {"fail": kill})
    assert judge(ended, None).reason == "the worker was killed by SIGKILL, after 2 results"
    found = phases(memory)
    assert [name for name, one in found.items() if one.missing is None] == [
        *("load", "passes", "prefill")
    ]
    assert not any(one.broken_off for one in found.values())


def test_with_the_probes_off_a_phase_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    ended, memory = memory_in(tmp_path, {})
    assert judge(ended, None).kind == "ok"
    assert {one.missing for one in memory.phases} == {
        "probes are switched off by RWKV_HARNESS_PROBES"
    }


def test_messages_carry_the_phases_as_they_end(tmp_path):
    ended, _ = memory_in(tmp_path, {})
    [opened] = [m for m in ended.messages if isinstance(m, Opened)]
    assert [one.phase for one in opened.phases] == ["load"]
    *_, passes, prefill, decode, finished = ended.messages
    names = [one.memory.phase for one in (passes, prefill, decode)]
    assert names == ["passes", "prefill", "decode"]
    assert isinstance(finished, Finished)


class Session:
    """Its allocator's peak grows with each prompt, and begins anew when told."""

    def __init__(self):
        self.peak, self.calls = 100, []

    def prefill(self, ids, state):
        self.calls.append(("prefill", ids.shape))
        self.peak = 900
        return None, "state"

    def step(self, ids, state):
        self.calls.append(("step", ids.shape))
        return None, state

    def synchronize(self):
        self.calls.append("synchronize")

    def memory(self):
        figures = {
            "allocated_peak_bytes": Held(bytes=self.peak, method="counted"),
            "device_used_bytes": Held(bytes=5, method="the engine's"),
        }
        return SessionMemory(devices={"cuda:0": figures})

    def restart_memory(self):
        self.peak = 200


def test_prefill_and_decode_are_run_once_more_and_read_apart():
    session = Session()
    watch = MemoryWatch(("load", "prefill", "decode"), nvidia=lambda devices: {})
    watch.end(session)
    session.calls.clear()
    fed, decoded = prefill_and_decode_apart(session, 10, 64, 3, watch)
    assert (fed.phase, decoded.phase) == ("prefill", "decode")
    steps = [("step", (3,))] * 4
    assert session.calls == [("prefill", (3, 10)), "synchronize", *steps, "synchronize"]
    assert fed.devices["cuda:0"]["allocated_peak_bytes"].bytes == 900
    assert decoded.devices["cuda:0"]["allocated_peak_bytes"].bytes == 200
    assert watch.device_peaks == {"cuda:0": 900}
    assert watch.broken_off() == []  # all is over


def test_a_device_that_answers_no_more_is_left_out_of_what_is_kept():
    session = Session()
    watch = MemoryWatch(("load", "passes"), nvidia=lambda devices: {})
    watch.end(session)

    def broken():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    session.memory = broken
    (found,) = watch.broken_off()
    assert (found.phase, found.devices, found.broken_off) == ("passes", {}, True)
    assert found.host["own_peak_rss_bytes"].bytes > 0
    assert watch.device_peaks == {"cuda:0": 100}


def test_the_drivers_figure_goes_before_the_engines_where_it_has_one():
    known = MemoryReading(bytes=77, method="NVML")
    unknown = MemoryReading(missing="NVML: no")
    for driver, expected in ((known, 77), (unknown, 5)):
        watch = MemoryWatch(
            ("load",), nvidia=lambda _, one=driver: {"cuda:0": {"device_used_bytes": one}}
        )
        found = watch.end(Session())
        assert found.devices["cuda:0"]["device_used_bytes"].bytes == expected
