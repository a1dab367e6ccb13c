"""Where a run's references lie, and that nothing of them is held or left behind."""

from pathlib import Path

import pytest

from harness.cli.referring import opened_references
from tests.measure.test_references import Worker, model, some


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("HARNESS_CACHE_BUDGET", raising=False)
    return tmp_path


def scored(home, *, no_cache):
    worker = Worker()
    with opened_references(home / "results", no_cache=no_cache) as references:
        references._run = worker
        found = references.of(model(), some(0))
        path = Path(next(iter(found.places.values())).file)
        assert path.exists()
    assert len(worker.jobs) == 1
    assert found.reference.form == "full"
    return path


def test_they_are_kept_in_the_cache_and_travel_with_the_results(home):
    path = scored(home, no_cache=False)
    assert path.parent == home / "cache" / "references"
    assert path.exists()
    assert len(list((home / "results" / "references").iterdir())) == 1


@pytest.mark.parametrize("budget", [None, "0"])
def test_without_the_cache_they_are_computed_for_one_run(budget, home, monkeypatch):
    if budget is not None:
        monkeypatch.setenv("HARNESS_CACHE_BUDGET", budget)
    path = scored(home, no_cache=True)
    assert not path.parent.exists()
    assert not (home / "cache").exists()
    assert len(list((home / "results" / "references").iterdir())) == 1
