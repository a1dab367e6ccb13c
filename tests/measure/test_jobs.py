"""One job in a fresh interpreter: what it measures, and each way to end."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from harness.config.study import Speed
from harness.measure.job import Finished, Job, Opened, Passed
from harness.measure.judge import judge
from harness.measure.process import run_job


def job_of(tmp_path, script, **changes):
    path = tmp_path / "script.yaml"
    path.write_text(yaml.safe_dump(script), encoding="utf-8")
    speed = Speed(prompt_tokens=[4, 10], generate_tokens=4, passes=2, warmup_passes=1)
    settings = {"engine": "fake", "strategy": "cpu fp32", "weights": str(path), "weights_seed": 0}
    return Job(**{**settings, "threads": 1, "seed": 0, "speed": speed, **changes})


def run(tmp_path, script, deadline_s=60, **changes):
    return run_job(
        job_of(tmp_path, script, **changes), deadline_s=deadline_s, log=tmp_path / "job.log"
    )


def test_times_are_those_of_the_engine(tmp_path):
    ended = run(tmp_path, {"load_s": 2.0, "prefill_s": 0.01, "decode_s": [0.1, 0.2, 0.3]})
    assert judge(ended, None).kind == "ok"
    (opened,) = [m for m in ended.messages if isinstance(m, Opened)]
    first, second = [m for m in ended.messages if isinstance(m, Passed)]
    assert opened.load_s == pytest.approx(2.0)
    assert [(p.tokens, p.s) for p in first.prefill] == [
        (4, pytest.approx(0.04)),
        (10, pytest.approx(0.1)),
    ]
    # The warm-up took four steps of the script, so the first measured one is its second.
    assert first.decode_s == pytest.approx([0.2, 0.3, 0.1, 0.2])
    assert second.decode_s == pytest.approx([0.3, 0.1, 0.2, 0.3])


def test_memory_of_the_worker_is_its_own(tmp_path):
    ended = run(tmp_path, {})
    finished = ended.messages[-1]
    assert isinstance(finished, Finished)
    imported = ended.messages[0].peak_rss.bytes
    # pytest with torch loaded is far larger than a worker without
    assert 5e6 < imported <= finished.peak_rss.bytes < 150e6


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ("crash", "crashed", "killed by SIGSEGV, after 1 result"),
        ("exit", "crashed", "exited with code 7, after 1 result"),
        ("out_of_memory_host", "out_of_memory_host", "scripted"),
        ("out_of_memory_device", "out_of_memory_device", "scripted"),
        ("not_a_number", "not_a_number", "1 of 768 logits are NaN or infinite after decoding"),
        ("unsupported", "unsupported", "this engine does not do that"),
        ("error", "crashed", "scripted error"),
    ],
)
def test_each_way_to_fail_has_its_outcome_and_keeps_what_was_measured(how, kind, reason, tmp_path):
    # Eight steps succeed: the warm-up and one measured pass.
    ended = run(tmp_path, {"fail": {"at": "decode", "how": how, "after": 8}})
    outcome = judge(ended, None)
    assert outcome.kind == kind
    assert reason in outcome.reason
    passes = [m for m in ended.messages if isinstance(m, Passed)]
    whole = [one for one in passes if one.end_to_end_s is not None]
    broken_off = [one for one in passes if one.end_to_end_s is None]
    assert len(whole) == 1
    # A worker that is killed cannot say how far its last pass was; one that fails can.
    assert len(broken_off) == (how not in ("crash", "exit"))
    assert all(one.prefill and not one.decode_s for one in broken_off)


def test_a_worker_that_hangs_is_killed_at_its_deadline(tmp_path):
    ended = run(tmp_path, {"fail": {"at": "open", "how": "hang"}}, deadline_s=2)
    assert judge(ended, None).kind == "timeout"
    assert "gave no result within 2 s" in judge(ended, None).reason
    assert ended.returncode == -signal.SIGKILL


def test_a_file_that_is_not_there_is_named(tmp_path):
    ended = run(tmp_path, {}, weights=str(tmp_path / "none.yaml"))
    assert judge(ended, None).kind == "unsupported"
    assert "none.yaml" in judge(ended, None).reason


PARENT = """
import sys
from pathlib import Path
from harness.measure.process import run_job
from harness.measure.job import Job
import msgspec
job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
run_job(job, deadline_s=600, log=Path(sys.argv[2]),
        on_message=lambda m: print("working", flush=True))
"""


def test_a_worker_dies_with_its_parent(tmp_path):
    import msgspec

    job = job_of(tmp_path, {"fail": {"at": "prefill", "how": "hang"}})
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "job.json"), str(tmp_path / "log")],
        stdout=subprocess.PIPE,
    )
    with parent:
        parent.stdout.readline()  # imported
        parent.stdout.readline()  # opened: the worker is alive and hangs
        children = _children(parent.pid)
        parent.kill()
    assert len(children) == 1
    deadline = time.monotonic() + 30
    while _is_alive(children[0]) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _is_alive(children[0])


def _children(pid):
    return [child.pid for child in psutil.Process(pid).children()]


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
