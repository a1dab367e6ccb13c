"""Every record says where the software came from: the worker where it could, else the parent."""

import dataclasses
import json

import pytest

from harness.config.load import load_study
from harness.machine import probe_machine
from harness.machine.declared import FACTS
from harness.machine.provenance import provenance_facts
from harness.measure import process
from harness.measure.bench import prepare_bench
from harness.measure.identity import ModelIdentity
from harness.measure.trial import Trial, measure
from harness.plan.plan import plan

PROVENANCE = [name for name, about in FACTS.items() if about.group == "Provenance"]
OLD = {name: f"{name} of the parent" for name in PROVENANCE}
STUDY = """\
name: one
models: {m: {weights: script.yaml, tokenizer: null}}
engines: [fake]
strategies: [cpu fp32]
workloads: {speed: {prompt_tokens: 4, generate_tokens: 2, passes: 1, trials: 1}}
noise: off
"""


@pytest.fixture
def facts_of(tmp_path):
    """Facts in the record of a trial whose worker follows a script; the parent's are older."""

    def measured(script, **trial):
        (tmp_path / "script.yaml").write_text(json.dumps(script), encoding="utf-8")
        (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
        loaded, machine = load_study(tmp_path / "study.yaml"), probe_machine()
        planned = plan(loaded, machine)
        nothing = ModelIdentity(weights_sha256=None, tokenizer_sha256=None)
        bench = dataclasses.replace(
            prepare_bench(loaded, planned, machine, {"m": nothing}, tmp_path),
            machine_facts={**machine.facts, **OLD},
        )
        trial = Trial(cell=planned.cells[0].cell, trial=0, attempt=0, **trial)
        record = measure(trial, bench)
        return record.outcome.kind, {name: record.facts[name] for name in PROVENANCE}

    return measured


@pytest.mark.parametrize(
    "script, kind", [({}, "ok"), ({"fail": {"at": "open", "how": "crash"}}, "crashed")]
)
def test_what_the_worker_saw_is_what_ran(script, kind, facts_of):
    outcome, facts = facts_of(script)
    assert outcome == kind
    assert facts == provenance_facts()


def test_of_a_worker_that_died_at_once_the_parents_are_kept(facts_of, monkeypatch):
    monkeypatch.setattr(process, "_START", "import sys; sys.exit(7)")
    assert facts_of({}) == ("crashed", OLD)


def test_a_skipped_trial_has_the_parents(facts_of):
    assert facts_of({}, skip_reason="too large") == ("skipped", OLD)


def test_with_the_probes_off_the_worker_says_nothing(facts_of, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    assert facts_of({}) == ("ok", OLD)
