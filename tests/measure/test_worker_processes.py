"""Workers as processes: small stand-ins that say what they like and end as they like."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest
import yaml

from harness.config.load import load_study
from harness.config.study import Speed
from harness.errors import BadInput
from harness.machine import probe_machine
from harness.measure import process, trial
from harness.measure.bench import prepare_bench
from harness.measure.conversion import Reading
from harness.measure.identity import ModelIdentity
from harness.measure.job import Failed, Finished, Imported, Job, Opened, Passed
from harness.measure.judge import judge
from harness.measure.process import run_job
from harness.measure.trial import Trial, measure
from harness.measure.worker import describe
from harness.plan.plan import plan
from harness.runtime.strategy import resolve
from tests.measure.workers import Clock

LONG_S = 600  # never reached: a stand-in's alarm comes before it
JOB = Job(
    engine="fake",
    strategy="cpu fp32",
    weights="none",
    weights_seed=0,
    threads=3,
    seed=0,
    speed=Speed(),
)


@pytest.fixture
def late(monkeypatch):
    """Let the deadline pass as soon as a message of a type has come."""

    def use(until):
        clock = Clock(until)
        monkeypatch.setattr(process, "time", clock)
        monkeypatch.setattr(process, "_EXIT_S", LONG_S)  # is not granted to one that is late
        return clock.hear

    return use


def run(tmp_path, **options):
    return run_job(JOB, log=tmp_path / "log", **{"deadline_s": LONG_S, **options})


def wait_until_gone(pid):
    """Wait for the process's end; its own alarm would come long after we have given up."""
    deadline = time.monotonic() + 30
    while _is_alive(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        os.sched_yield()


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "goes_on",
    ["hang()", 'os.write(pipe, b\'{"type": "pas\')\nhang()', "while True: passed()"],
    ids=["silent", "in mid-message", "talking for ever"],
)
def test_a_worker_that_goes_on_after_results_is_stopped_at_its_deadline(
    goes_on, stand_in, late, tmp_path
):
    stand_in(f"imported(); opened(); passed()\n{goes_on}")
    ended = run(tmp_path, on_message=late(Passed))
    assert ended.timed_out_s == LONG_S
    assert ended.returncode == -signal.SIGKILL
    assert any(isinstance(message, Passed) for message in ended.messages)
    assert judge(ended, None).kind == "timeout"


def test_results_before_a_deadline_are_kept(stand_in, late, tmp_path):
    stand_in("imported(); opened(); passed(); hang()")
    ended = run(tmp_path, on_message=late(Passed))
    assert [type(message) for message in ended.messages] == [Imported, Opened, Passed]
    assert "after 1 result" in judge(ended, None).reason


@pytest.mark.parametrize(
    ("renewed_by", "end", "late_s"),
    [(None, "hang()", LONG_S), (Opened, "hang()", LONG_S), (Passed, "finished()", None)],
)
def test_a_worker_that_gets_on_has_its_deadline_renewed(
    renewed_by, end, late_s, stand_in, tmp_path, monkeypatch
):
    """Three messages, each at two thirds of a deadline after the one before."""
    now = [0.0]
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def hear(message):
        if isinstance(message, Passed):
            now[0] += LONG_S * 2 / 3

    stand_in(f"imported(); opened(); passed(); passed(); passed(); {end}")
    assert run(tmp_path, renewed_by=renewed_by, on_message=hear).timed_out_s == late_s


def test_the_display_is_called_while_a_worker_is_silent(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_WAKE_S", 0.01)
    stand_in("imported(); hang()")

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(process.Interrupted) as stopped:
        run(tmp_path, on_wait=stop)
    assert stopped.value.ended.returncode == -signal.SIGKILL


def test_libraries_are_told_the_threads_of_the_job(stand_in, tmp_path, monkeypatch):
    names = (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    )
    for name in names:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    stand_in("imported(**os.environ); finished()")
    ended = run(tmp_path)
    environment = ended.messages[0].versions
    assert {environment[name] for name in names} == {"3"}
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # as the plan numbers GPUs
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_descendants_die_with_a_worker_at_its_deadline(stand_in, late, tmp_path):
    stand_in("imported(pid=descendant()); hang()")
    ended = run(tmp_path, on_message=late(Imported))
    assert ended.timed_out_s == LONG_S
    wait_until_gone(int(ended.messages[0].versions["pid"]))


@pytest.mark.parametrize("last", ["finished()", "os._exit(5)"])
def test_a_descendant_that_holds_the_pipe_delays_nothing_and_is_killed(
    last, stand_in, tmp_path, monkeypatch
):
    monkeypatch.setattr(process, "_WAKE_S", 0.05)
    stand_in(f"imported(pid=descendant()); {last}")
    ended = run(tmp_path, deadline_s=20)
    assert ended.timed_out_s is None
    assert ended.returncode == (0 if last == "finished()" else 5)
    wait_until_gone(int(ended.messages[0].versions["pid"]))


def test_a_worker_that_does_not_leave_after_its_last_word_is_made_to(
    stand_in, tmp_path, monkeypatch
):
    monkeypatch.setattr(process, "_EXIT_S", 0.05)
    stand_in("imported(); opened(); passed(); finished(); hang()")
    ended = run(tmp_path)
    assert ended.returncode == -signal.SIGKILL
    assert ended.timed_out_s is None
    assert judge(ended, None).kind == "ok"


@pytest.mark.parametrize("inherited", [None, "", "somewhere", f"{os.pathsep}somewhere"])
def test_nothing_is_imported_from_the_current_directory(inherited, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    installed = os.environ.get("PYTHONPATH")  # libraries too, where Nix builds
    entries = [entry for entry in (inherited, installed) if entry is not None]
    if entries:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entries))
    for name in ("yaml", "numpy", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is another')\n")
    (tmp_path / "script").write_text("{}", encoding="utf-8")
    job = Job(
        engine="fake",
        strategy="cpu fp32",
        weights=str(tmp_path / "script"),
        weights_seed=0,
        threads=1,
        seed=0,
        speed=Speed(prompt_tokens=2, generate_tokens=1, passes=1),
    )
    ended = run_job(job, deadline_s=LONG_S, log=tmp_path / "log")
    assert judge(ended, None).kind == "ok", ended.log_tail


def test_a_log_begins_anew(stand_in, tmp_path):
    stand_in("print('first'); finished()")
    assert run(tmp_path).log_tail == "first\n"
    stand_in("print('second'); finished()")
    assert run(tmp_path).log_tail == "second\n"


def test_what_is_no_message_is_a_failure_in_words(stand_in, tmp_path):
    stand_in("imported(); os.write(pipe, b'not json\\n')")
    outcome = judge(run(tmp_path), None)
    assert outcome.kind == "crashed"
    assert "not json" in outcome.detail


@pytest.fixture
def bench(tmp_path):
    """The bench of a real study with random weights, and its one planned cell."""
    study = {
        "name": "stood-in",
        "models": {"m": {"weights": "random:169m"}},
        "strategies": ["cpu fp32"],
        "workloads": {"speed": {"prompt_tokens": 2, "generate_tokens": 1, "trials": 1}},
        "noise": False,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    loaded = load_study(tmp_path / "study.yaml")
    machine = probe_machine()
    planned = plan(loaded, machine)
    nothing = ModelIdentity(weights_sha256=None, tokenizer_sha256=None)
    prepared = prepare_bench(loaded, planned, machine, {"m": nothing}, tmp_path)
    return prepared, planned.cells[0].cell


def slots(strategy):
    """The effective plan that a worker would send, as Python."""
    return [
        {
            "slot": index,
            "device": one.device,
            "dtype": one.dtype,
            "weight_dtype": one.weight_dtype,
            "streamed": one.streamed,
            "bytes": 1,
        }
        for index, one in enumerate(resolve(strategy, 12))
    ]


@pytest.mark.parametrize(
    ("got", "kind"),
    [
        ("cpu fp32", "ok"),
        ("cpu bf16", "wrong_strategy"),
        ("cpu fp32 *12 -> cpu bf16", "wrong_strategy"),
    ],
)
def test_a_trial_is_judged_by_the_plan_of_its_study(got, kind, bench, stand_in):
    prepared, cell = bench
    stand_in(f"imported(); opened({slots(got)}); passed(); finished()")
    record = measure(Trial(cell=cell, trial=0, attempt=0), prepared)
    assert record.outcome.kind == kind
    assert [slot.dtype for slot in record.plan] == [one.dtype for one in resolve(got, 12)]
    assert record.decode_s == [[0.25]]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(3)", ["after its last result the worker exited with code 3"]),
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            ["after its last result the worker was killed by SIGSEGV"],
        ),
        ("sys.exit(0)", []),
    ],
)
def test_a_worker_that_stumbles_after_its_last_result_is_ok_with_a_warning(
    end, said, bench, stand_in
):
    prepared, cell = bench
    stand_in(f"imported(); opened({slots('cpu fp32')}); passed(); finished(); {end}")
    record = measure(Trial(cell=cell, trial=0, attempt=0), prepared)
    assert record.outcome.kind == "ok"
    assert record.warnings == said


def test_the_worker_is_told_the_file_that_was_converted_for_it(bench, stand_in, monkeypatch):
    prepared, cell = bench
    read = Reading(weights=Path("converted.safetensors"))
    conversions = SimpleNamespace(reading=lambda *_, **__: read)
    told, real = [], trial.run_job

    def run_job(job, **rest):
        told.append(job.weights)
        return real(job, **rest)

    monkeypatch.setattr(trial, "run_job", run_job)
    stand_in(f"imported(); opened({slots('cpu fp32')}); passed(); finished()")
    measure(Trial(cell=cell, trial=0, attempt=0), replace(prepared, conversions=conversions))
    assert told == ["converted.safetensors"]


def test_each_attempt_has_a_log_of_its_own(bench, stand_in):
    prepared, cell = bench
    for attempt in range(2):
        stand_in(f"print('attempt', {attempt}); imported(); sys.exit(7)")
        record = measure(Trial(cell=cell, trial=0, attempt=attempt), prepared)
        assert record.outcome.kind == "crashed"
        assert record.outcome.detail == f"attempt {attempt}\n"
    logs = sorted(prepared.logs.glob("m_*"))
    assert [log.read_text(encoding="utf-8") for log in logs] == ["attempt 0\n", "attempt 1\n"]


def test_the_peak_of_a_trial_that_failed_is_kept(bench, stand_in):
    prepared, cell = bench
    failed = "say('failed', kind='not_a_number', reason='NaN', detail='none')"
    stand_in(f"imported(); opened({slots('cpu fp32')}); {failed}")
    record = measure(Trial(cell=cell, trial=0, attempt=0), prepared)
    assert record.outcome.kind == "not_a_number"
    assert record.memory.peak_rss_bytes == 1
    assert "peak_rss_bytes" not in record.memory.missing


@pytest.mark.parametrize(
    ("script", "skip_reason", "kind"),
    [
        (f"imported(); opened({slots('cpu fp32')}); passed(); finished()", None, "ok"),
        (f"imported(); opened({slots('cpu bf16')}); finished()", None, "wrong_strategy"),
        ("imported(); sys.exit(7)", None, "crashed"),
        ("sys.exit(7)", None, "crashed"),
        ("", "there is no such device", "skipped"),
    ],
)
def test_every_record_has_the_forecast_of_its_cell(script, skip_reason, kind, bench, stand_in):
    prepared, cell = bench
    stand_in(script)
    record = measure(
        Trial(cell=cell, trial=0, attempt=0, skip_reason=skip_reason),
        prepared,
    )
    assert record.outcome.kind == kind
    host = prepared.forecasts[cell].as_given.host
    assert record.memory.forecast.load_rss_bytes == host.load_bytes
    assert record.memory.forecast.peak_rss_bytes == host.peak_bytes
    assert "forecast" not in record.memory.missing


def test_the_last_messages_come_also_from_a_worker_that_leaves_at_once(stand_in, tmp_path):
    stand_in("imported(); opened(); passed(); passed(); finished(); os._exit(0)")
    ended = run(tmp_path)
    assert [type(message) for message in ended.messages][-3:] == [Passed, Passed, Finished]


@pytest.fixture
def asked_late(monkeypatch):
    """Let the parent look at the pipe only when its worker is dead, and see nothing at first."""
    select, looks = process.select.select, []

    def look(*pipes_and_pause):
        looks.append(1)
        if len(looks) == 1:
            for child in psutil.Process().children():
                wait_until_gone(child.pid)
            return [], [], []
        return select(*pipes_and_pause)

    monkeypatch.setattr(process.select, "select", look)


ALL_SAID = "imported(); opened(); passed(); finished(); os._exit(0)"


@pytest.mark.usefixtures("asked_late")
def test_what_a_worker_said_between_a_look_at_its_pipe_and_one_at_itself_counts(stand_in, tmp_path):
    stand_in(ALL_SAID)
    ended = run(tmp_path)
    assert [type(message) for message in ended.messages] == [Imported, Opened, Passed, Finished]
    assert judge(ended, None).kind == "ok"


@pytest.mark.usefixtures("asked_late")
def test_a_worker_that_was_done_before_a_parent_that_was_stopped_is_not_late(
    stand_in, tmp_path, monkeypatch
):
    """As by Ctrl-Z: the deadline has passed when the parent goes on."""
    times = iter([0.0, 1.0])
    monkeypatch.setattr(
        process, "time", SimpleNamespace(monotonic=lambda: next(times, LONG_S + 1.0))
    )
    stand_in(ALL_SAID)
    ended = run(tmp_path)
    assert ended.timed_out_s is None
    assert judge(ended, None).kind == "ok"


@pytest.mark.usefixtures("asked_late")
@pytest.mark.parametrize(("renewed_by", "late_s"), [(Passed, None), (None, LONG_S)])
def test_what_renews_a_deadline_counts_also_where_it_is_heard_late(
    renewed_by, late_s, stand_in, tmp_path, monkeypatch
):
    times = iter([0.0, 1.0])
    monkeypatch.setattr(
        process, "time", SimpleNamespace(monotonic=lambda: next(times, LONG_S + 1.0))
    )
    stand_in("imported(); opened(); passed(); os._exit(0)")
    assert run(tmp_path, renewed_by=renewed_by).timed_out_s == late_s


def test_an_interrupt_before_a_workers_number_is_known_leaves_none(stand_in, tmp_path, monkeypatch):
    if sys.platform != "linux":
        pytest.skip("elsewhere it is found by its environment, once it has one")
    started = []
    popen = process.subprocess.Popen

    def interrupted(*arguments, **options):
        started.append(popen(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(process.subprocess, "Popen", interrupted)
    stand_in("hang()")
    with pytest.raises(process.Interrupted):
        run(tmp_path)
    (child,) = started
    assert not _is_alive(child.pid)
    child.stdin.close()
    child.returncode = 0  # buried already


def test_a_log_that_was_removed_meanwhile_costs_no_result(stand_in, tmp_path):
    stand_in(f"imported(); os.unlink({str(tmp_path / 'log')!r}); opened(); passed(); finished()")
    ended = run(tmp_path)
    assert ended.log_tail == ""
    assert judge(ended, None).kind == "ok"


def test_a_path_that_is_no_text_is_refused_in_words(tmp_path):
    job = msgspec.structs.replace(JOB, weights="caf\udce9/w.pth")
    with pytest.raises(BadInput, match=r"w\.pth: the name .* is not UTF-8"):
        run_job(job, log=tmp_path / "log", deadline_s=LONG_S)


def test_a_failure_that_names_such_a_path_can_be_said():
    failed = describe(OSError("caf\udce9/w.pth: gone"))
    assert failed.reason == "caf\\udce9/w.pth: gone"
    assert msgspec.json.decode(msgspec.json.encode(failed), type=Failed) == failed
