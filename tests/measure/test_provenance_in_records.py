"""Every record says where the software came from: the worker where it could, else the parent."""

import pytest

from harness.machine.declared import FACTS
from harness.machine.provenance import provenance_facts
from harness.measure import process

PROVENANCE = [name for name, about in FACTS.items() if about.group == "Provenance"]
OLD = {name: f"{name} of the parent" for name in PROVENANCE}


@pytest.fixture
def facts_of(record_of):
    """Outcome and facts in the record of a trial whose worker follows a script."""

    def measured(script, **trial):
        record = record_of(script, facts=OLD, **trial)
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
