"""A study with quality does nothing twice, by the fake engine's own logs, through the command."""

import ast
from collections import Counter

import pytest
import yaml

from harness.cli.main import main
from harness.config.load import load_study
from harness.machine import probe_machine
from harness.machine.speed_probe import MachineSpeed
from harness.plan.order import order
from harness.plan.plan import plan
from harness.records.store import read_run
from tests.cli.in_process import REFERENCE_S, TRIAL_S, run_in_process

STRATEGIES = ["cpu fp32", "cpu bf16", "cpu fp32i8", "cpu fp32i8 *1 -> cpu fp32"]
N_QUESTIONS = 20
TEXT_TOKENS = 70  # more than one chunk of rows
PROMPT_TOKENS = 4  # of a speed trial; every question has more
SCRIPT = {
    "vocab": 5,
    "model": {"likely": 4.0},
    "prompts": "prompts.log",
    "references": "references.log",
    "strategies": {
        STRATEGIES[1]: {"off": {"likely": 0.1}},
        STRATEGIES[2]: {"off": {"turned": 0.06}},
    },
}
WORKLOADS = {
    "speed": {
        "prompt_tokens": PROMPT_TOKENS,
        "generate_tokens": 1,
        "passes": 1,
        "warmup_passes": 0,
        "trials": 7,
    },
    "answers": {"questions": "questions.yaml", "max_tokens": 3},
    "quality": {"text": "text.txt", "max_tokens": TEXT_TOKENS},
}
N_TRIALS = (7 + 2 + 1) * len(STRATEGIES)


@pytest.fixture
def clock(monkeypatch, tmp_path, without_report):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    # What a plan foresees hangs on the machine; here it must not.
    speed = "harness.machine.speed_probe.probe_speed"
    monkeypatch.setattr(speed, lambda: MachineSpeed(python_s=1.41e-3, copy_bytes_per_s=34e9))
    monkeypatch.setattr("harness.plan.foresee_time._FAKE_S", TRIAL_S)
    return run_in_process(monkeypatch)


@pytest.fixture
def study(fake_study, tmp_path):
    """4 strategies × 20 questions × 7 speed trials, and the quality of each."""
    (tmp_path / "text.txt").write_text("yes no Paris " * 40, encoding="utf-8")
    path = fake_study(SCRIPT, strategies=STRATEGIES, workloads=WORKLOADS)
    # Each with a number of words of its own, by which it is known in the log.
    questions = [{"id": f"q{n}", "text": " ".join(["yes"] * (n + 5))} for n in range(N_QUESTIONS)]
    (tmp_path / "questions.yaml").write_text(yaml.safe_dump({"questions": questions}), "utf-8")
    return path


@pytest.fixture
def go(study, clock, capfd):
    """Run the command; returns its exit code, what it printed, and what the clock says it took."""

    def run(*options, results="results"):
        begin = clock.now
        folder = str(study.parent / results)
        with pytest.raises(SystemExit) as stop:
            main(["run", str(study), "--results", folder, "--machine", "here", *options])
        shown = capfd.readouterr()
        return stop.value.code, " ".join(shown.out.split()), clock.now - begin

    return run


def records(study, results="results"):
    (folder,) = (study.parent / results / "here").glob("faked-*")
    return read_run(folder).records


def answered(study):
    """How often each strategy was asked each question, by the engine's own log."""
    counts = Counter()
    for line in (study.parent / "prompts.log").read_text("utf-8").splitlines():
        strategy, ids = line.split("\t")
        n_tokens = len(ast.literal_eval(ids)[0])
        if n_tokens > PROMPT_TOKENS:
            counts[strategy, n_tokens] += 1
    return counts


def computed(study):
    """Rows of each passage, of every computing of a reference."""
    lines = (study.parent / "references.log").read_text("utf-8").splitlines()
    return [[int(n) for n in line.split()] for line in lines]


def turns(study):
    """What the whole run does, in its order."""
    loaded = load_study(study)
    return order(plan(loaded, probe_machine()).cells, loaded.study.seed)


def test_answers_are_generated_twice_scored_once_and_references_computed_twice(go, study):
    assert go()[0] == 0
    counts = answered(study)
    assert len(counts) == len(STRATEGIES) * N_QUESTIONS
    assert set(counts.values()) == {2}
    kept = records(study)
    assert Counter(one.cell.workload for one in kept) == {
        "speed": 7 * 4,
        "answers": 2 * 4,
        "quality": 4,
    }
    # Before the first trial the text and the gate; before the first scoring all answers there are.
    text, answers = computed(study)
    assert sorted(text) == [32, TEXT_TOKENS]
    different = {
        (answer.id, tuple(answer.token_ids), answer.stop_token)
        for one in kept
        for answer in one.answers
    }
    assert len(answers) == len(different) > N_QUESTIONS
    # And each strategy was looked at once before all else.
    gates = [one for one in kept if one.gate is not None]
    assert Counter(one.cell.strategy for one in gates) == Counter(STRATEGIES)
    first = {one.cell.strategy: one for one in reversed(kept)}
    assert all(first[one.cell.strategy] is one for one in gates)
    for one in kept:
        assert one.outcome.kind == "ok"
        if one.cell.workload == "quality":
            assert not one.quality.missing
            assert len(one.quality.text.kl) == TEXT_TOKENS
            assert [answer.id for answer in one.quality.answers] == [
                f"q{n}" for n in range(N_QUESTIONS)
            ]


def test_speed_alone_generates_no_answer_and_needs_the_text_only(go, study):
    assert go("--only", "speed")[0] == 0
    assert answered(study) == {}
    assert len(records(study)) == 7 * 4
    assert len(computed(study)) == 1


def test_another_run_computes_no_reference(go, study):
    go("--trials", "1")
    before = computed(study)
    assert go("--trials", "1", results="elsewhere")[0] == 0
    assert computed(study) == before
    pairs = list(zip(records(study), records(study, "elsewhere"), strict=True))
    assert all((one.cell, one.gate) == (again.cell, again.gate) for one, again in pairs)
    scored = [(one.quality, again.quality) for one, again in pairs if one.quality is not None]
    assert len(scored) == len(STRATEGIES)
    for one, again in scored:
        assert again.reference.s is None  # it was there
        assert (one.text, one.answers) == (again.text, again.answers)


def test_a_run_ends_in_time_and_the_rest_goes_on_without_measuring_twice(go, study):
    took = [go("--budget", "60s")]
    first = records(study)
    assert took[0][2] <= 60
    # Less than one block: every cell was visited at most once, as many as there was time for.
    assert [(one.cell.id, one.trial) for one in first] == [
        (cell.id, 0) for cell, _ in turns(study)[: len(first)]
    ]
    assert 60 - took[0][2] < TRIAL_S + REFERENCE_S + 6  # the report's time is kept free
    while "To go on:" in took[-1][1] and len(took) < 20:
        took.append(go("--budget", "60s"))
    assert {code for code, _, _ in took} == {0}
    assert max(seconds for _, _, seconds in took) <= 60
    assert sum(seconds for _, _, seconds in took) == N_TRIALS * TRIAL_S + 2 * REFERENCE_S
    every = [(one.cell.id, one.trial, one.attempt) for one in records(study)]
    assert every == [(cell.id, trial, 0) for cell, trial in turns(study)]
    assert len(every) == N_TRIALS
    assert set(answered(study).values()) == {2}
    assert len(computed(study)) == 2
    assert sum(one.gate is not None for one in records(study)) == len(STRATEGIES)


def test_a_budget_counts_what_references_take(go, study, clock):
    """One trial and its reference would end in time, but not if the reference took longer."""
    assert go("--budget", "12s")[2] == TRIAL_S + REFERENCE_S  # 2.3 s were foreseen for it
    assert len(records(study)) == 1


def test_where_the_reference_does_not_fit_nothing_is_begun(go, study):
    assert go("--budget", "11s")[2] == 0  # the report takes 4 s of them
    assert records(study) == ()
