"""One study in which every cell ends in its own way, through `run` and real processes."""

import signal

import psutil
import pytest

from harness.cli.main import main
from harness.measure import process, trial
from harness.measure.job import Answered, Opened
from harness.records.store import read_run
from tests.measure.workers import Clock

MIB = 2**20
LIMIT = 400 * MIB
HANGS = "cpu bf16i8"
MARK = "left-by-the-hanging-cell"
WAYS = {
    "cpu bf16": {"memory": {"at": "decode", "after": 2, "bytes": 2 * LIMIT, "for_s": 60}},
    "cpu fp32i8": {"fail": {"at": "decode", "after": 2, "how": "kill"}},
    HANGS: {
        "child": [
            {"at": "open", "mark": f"{MARK}-{leaves}", "leaves": leaves}
            for leaves in ("nothing", "group", "session", "all")
        ],
        "fail": {"at": "prefill", "how": "hang"},
    },
    "cpu fp32 *5+": {"fail": {"at": "decode", "after": 2, "how": "not_a_number"}},
    "cpu fp32 -> cpu bf16": {"fail": {"at": "open", "how": "unsupported"}},
}
EXPECTED = {
    "cpu fp32": "ok",
    "cpu bf16": "out_of_memory_host",
    "cpu fp32i8": "crashed",
    HANGS: "timeout",
    "cpu fp32 *5+": "not_a_number",
    "cpu fp32 -> cpu bf16": "unsupported",
}
SCRIPT = {"decode_s": [0.01, 0.03, 0.02], "strategies": WAYS}
SPEED = {"prompt_tokens": 10, "generate_tokens": 6, "passes": 2, "trials": 1}


@pytest.fixture
def _hangs_pass_quickly(monkeypatch):
    """Let the deadline of the hanging cell pass as soon as its model is open."""
    run_job = trial.run_job

    def run(job, *, on_message, **rest):
        if job.strategy != HANGS:
            return run_job(job, on_message=on_message, **rest)
        clock = Clock(Opened)

        def hear(message):
            on_message(message)
            clock.hear(message)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "time", clock)
            return run_job(job, on_message=hear, **rest)

    monkeypatch.setattr(trial, "run_job", run)


def run(study, results, *options):
    with pytest.raises(SystemExit) as stop:
        main(["run", str(study), "--results", str(results), "--machine", "here", *options])
    (folder,) = (results / "here").glob("*")
    return stop.value.code, read_run(folder).records


def numbers(record):
    return (record.load_s, record.prefill, record.decode_s, record.decode_tok_per_s)


@pytest.mark.usefixtures("without_report", "_hangs_pass_quickly")
def test_each_cell_ends_in_its_own_way_and_disturbs_no_other(fake_study, tmp_path, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")  # a busy machine is not the subject
    limits = {"trial_s": 600, "memory": f"{LIMIT}B"}
    study = fake_study(SCRIPT, strategies=list(EXPECTED), workloads={"speed": SPEED}, limits=limits)
    code, records = run(study, tmp_path / "all")
    by_strategy = {record.cell.strategy: record for record in records}
    assert code == 3
    assert len(records) == len(EXPECTED)
    assert {name: one.outcome.kind for name, one in by_strategy.items()} == EXPECTED

    outcome = by_strategy["cpu bf16"].outcome
    assert outcome.limit == "limits.memory: 400 MiB"
    assert "more than limits.memory: 400 MiB" in outcome.reason
    outcome = by_strategy["cpu fp32i8"].outcome
    assert (outcome.signal, outcome.exit_code) == (signal.SIGKILL.name, None)
    outcome = by_strategy[HANGS].outcome
    assert outcome.limit == "limits.trial_s: 600 s"
    assert "processes that left the worker's group were ended: 3" in by_strategy[HANGS].warnings
    assert by_strategy["cpu fp32 *5+"].outcome.exit_code == 1
    assert by_strategy["cpu fp32 -> cpu bf16"].outcome.reason == (
        "scripted: this engine does not do that"
    )

    marked = [one for one in psutil.process_iter(["cmdline"]) if _has_mark(one)]
    assert marked == []
    assert psutil.Process().children() == []

    study = fake_study(SCRIPT, workloads={"speed": SPEED}, limits=limits)
    code, (alone,) = run(study, tmp_path / "alone")
    assert code == 0
    assert numbers(alone) == numbers(by_strategy["cpu fp32"])


def _has_mark(one):
    return any(MARK in word for word in one.info["cmdline"] or ())


@pytest.mark.usefixtures("without_report")
def test_a_question_that_never_ends_leaves_the_answers_before_it(fake_study, tmp_path, monkeypatch):
    run_job, clock = trial.run_job, Clock(Answered)

    def run_to_the_first_answer(job, *, on_message, **rest):
        def hear(message):
            on_message(message)
            clock.hear(message)

        return run_job(job, on_message=hear, **rest)

    monkeypatch.setattr(trial, "run_job", run_to_the_first_answer)
    monkeypatch.setattr(process, "time", clock)
    script = {
        "vocab": 5,
        "tokens": [[3], [1, 2]],
        "fail": {"at": "prefill", "after": 1, "how": "hang"},
    }
    asked = {"answers": {"questions": "questions.yaml", "max_tokens": 5, "trials": 1}}
    code, (record,) = run(fake_study(script, workloads=asked), tmp_path / "results")
    assert code == 4
    assert (record.outcome.kind, record.outcome.limit) == ("timeout", "limits.trial_s: 60 s")
    assert [(answer.id, answer.text) for answer in record.answers] == [("capital", "Paris")]
    assert record.limits.question_s == 600


@pytest.mark.usefixtures("without_report")
def test_failures_can_be_allowed_but_not_that_nothing_was_measured(fake_study, tmp_path):
    fails = {"strategies": {"cpu bf16": {"fail": {"at": "open", "how": "error"}}}}
    two = {"strategies": ["cpu fp32", "cpu bf16"], "workloads": {"speed": {**SPEED, "passes": 1}}}
    study = fake_study(fails, **two)
    assert run(study, tmp_path / "some", "--allow-failures")[0] == 0
    study = fake_study({"fail": {"at": "open", "how": "error"}}, workloads={"speed": SPEED})
    assert run(study, tmp_path / "none", "--allow-failures")[0] == 4
