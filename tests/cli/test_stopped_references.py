"""What becomes of a reference whose run is stopped, killed, or beside another, in real processes.

The fake engine computes it, held up by a named pipe in the midst of writing: a moment that a test
can choose. What the pipe's other end tells is whether the worker is still there.
"""

import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from harness.records.store import read_run

ROOT = Path(__file__).parents[2]
LONG_S = 60
SCRIPT = {
    "vocab": 5,
    "model": {"likely": 4.0},
    "references": "references.log",
    "log": "opened.log",
    "wait": {"at": "reference", "after": 2, "file": "pipe"},  # two chunks of rows are written
}
STUDY = {
    "workloads": {
        "speed": {"prompt_tokens": 4, "generate_tokens": 2, "passes": 1, "trials": 1},
        "quality": {"text": "text.txt", "max_tokens": 200},
    }
}
# As `python -m harness`, without the report, which takes longer than all the rest.
HARNESS = """
import sys
import harness.cli.main, harness.cli.run
harness.cli.run._report = lambda *_, **__: None
harness.cli.main.main()
"""
WAITING = "Another process computes the same reference; waiting for it"


@pytest.fixture
def home(fake_study, tmp_path, monkeypatch):
    """The folder with the study, whose reference waits for the pipe."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    (tmp_path / "text.txt").write_text("yes no Paris " * 80, encoding="utf-8")
    fake_study(SCRIPT, **STUDY)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@contextmanager
def running(home, results="results", *, first=""):
    """The command in a process of its own, which is gone at the end; `first` is run before it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", first + HARNESS, "run", str(home / "study.yaml")),
            *("--results", str(home / results), "--machine", "here"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def held_up(home):
    """A worker stands in the midst of a reference, until the block ends, if it lives so long."""
    # A worker that never comes must not hold the test up for ever.
    rescue = threading.Timer(LONG_S, os.open, (home / "pipe", os.O_RDONLY | os.O_NONBLOCK))
    rescue.start()
    descriptor = os.open(home / "pipe", os.O_WRONLY)  # returns when the worker has come so far
    rescue.cancel()
    (home / "pipe").unlink()
    (home / "pipe").touch()  # nobody is held up again
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def wait_until_gone(descriptor):
    """The worker that read from the pipe is no more."""
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are always told
    assert poll.poll(1000 * LONG_S) == [(descriptor, select.POLLERR)]


def ended(process):
    """The exit code, and what was said."""
    out, err = process.communicate(timeout=LONG_S)
    return process.returncode, " ".join((out + err).split())


def kept(home):
    """Names of all files of references in the cache."""
    folder = home / "cache" / "references"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def is_whole(names):
    return [name.endswith(".safetensors") and not name.startswith(".") for name in names]


def computed(home):
    return (home / "references.log").read_text("utf-8").splitlines()


def runs(home, results="results"):
    return [read_run(one.parent) for one in sorted(home.glob(f"{results}/here/*/records.jsonl"))]


def assert_all_is_there(home, results="results"):
    (run,) = runs(home, results)
    places = [(one.cell.workload, one.trial, one.attempt) for one in run.records]
    assert len(set(places)) == len(places)
    done = [one for one in run.records if one.outcome.kind != "interrupted"]
    assert sorted((one.cell.workload, one.outcome.kind) for one in done) == [
        ("quality", "ok"),
        ("speed", "ok"),
    ]
    speed, scored = sorted(done, key=lambda one: one.cell.workload == "quality")
    assert speed.gate.tokens == 32
    assert len(scored.quality.text.kl) == 200
    assert not scored.quality.missing
    assert is_whole(kept(home)) == [True]


def test_killed_in_the_midst_it_is_computed_anew_and_nothing_half_stays(home):
    with running(home) as process, held_up(home) as descriptor:
        assert is_whole(kept(home)) == [False]
        process.kill()
        assert process.wait(LONG_S) == -signal.SIGKILL
        wait_until_gone(descriptor)
    assert is_whole(kept(home)) == [False]  # nobody was left to remove it
    assert [len(run.records) for run in runs(home)] == [0]
    with running(home) as process:
        code, said = ended(process)
    assert code == 0
    assert "Going on with" in said
    assert_all_is_there(home)
    assert len(computed(home)) == 2  # the one that was killed, and its successor


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_in_the_midst_it_leaves_nothing_and_the_run_goes_on(name, home):
    with running(home) as process, held_up(home) as descriptor:
        process.send_signal(getattr(signal, name))
        code, said = ended(process)
        wait_until_gone(descriptor)
    assert code == 130
    assert "Interrupted. To go on: " in said
    assert "Traceback" not in said
    assert kept(home) == []
    (run,) = runs(home)
    assert [one.outcome.kind for one in run.records] == ["interrupted"]
    with running(home) as process:
        code, said = ended(process)
    assert code == 0
    assert_all_is_there(home)


def test_where_the_worker_alone_is_killed_it_is_computed_in_smaller_parts(home):
    with running(home) as process:
        with held_up(home):
            os.kill(worker_of(process), signal.SIGKILL)
        assert ended(process)[0] == 0
    assert [one.outcome.kind for run in runs(home) for one in run.records] == ["ok", "ok"]
    assert computed(home) == ["32 200", "32", "200"]
    assert is_whole(kept(home)) == [True, True]


def worker_of(process):
    (child,) = psutil.Process(process.pid).children()
    return child.pid


def test_two_runs_at_once_compute_it_once_and_the_second_says_that_it_waits(home):
    with running(home) as process, running_later(home, "elsewhere") as start_second:
        with held_up(home):
            second = start_second()
            assert any(WAITING in line for line in second.stderr)
        assert ended(process)[0] == ended(second)[0] == 0
    assert len(computed(home)) == 1
    assert_all_is_there(home)
    assert_all_is_there(home, "elsewhere")


@contextmanager
def running_later(home, results):
    """What starts another run, which is gone at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running(home, results))


def test_a_disk_that_is_full_in_the_midst_takes_quality_alone(home, fake_study):
    fake_study({**SCRIPT, "vocab": 250, "wait": []}, **STUDY)  # 200 rows are 200,000 bytes

    # In place of a small disk: no file may be larger.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))"
    with running(home, first=limit) as process:
        code, said = ended(process)
    assert code == 0
    assert "cannot be written: File too large" in said
    (run,) = runs(home)
    speed, scored = run.records
    assert (speed.outcome.kind, len(speed.decode_s)) == ("ok", 1)
    assert speed.gate.tokens == 32  # alone they are few bytes
    assert scored.outcome.kind == "skipped"
    assert "cannot be written: File too large" in scored.outcome.reason
    assert scored.quality.missing == {"text": scored.outcome.reason}
    assert str(home) not in scored.outcome.reason
    assert is_whole(kept(home)) == [True]
