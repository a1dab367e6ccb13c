"""Every record says what its weights were read from, the kind of disk and the file system."""

from harness.machine.disks import NAMES, weights_disk_facts


def test_a_record_says_what_the_weights_were_read_from(record_of, tmp_path):
    facts = record_of({}).facts
    assert {name: facts[name] for name in NAMES} == weights_disk_facts(tmp_path / "script.yaml")


def test_a_trial_that_was_skipped_has_read_nothing(record_of):
    facts = record_of({}, skip_reason="too large").facts
    assert [facts[name]["unavailable"] for name in NAMES] == ["the trial did not come this far"] * 2
