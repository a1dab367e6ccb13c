"""What a study is known by is what its weights are, not where they lie: keys and references."""

import json
import shutil

import pytest
import yaml

from harness.cli.main import main
from harness.records.store import read_run
from tests.cli.in_process import run_in_process

SCRIPT = {"vocab": 5, "model": {"likely": 4.0}, "references": "references.log"}
WORKLOADS = {
    "speed": {"prompt_tokens": 4, "generate_tokens": 2, "passes": 1, "trials": 1},
    "answers": {"questions": "questions.yaml", "max_tokens": 5, "trials": 1},
    "quality": {"max_tokens": 20},
}


@pytest.fixture
def go(fake_study, tmp_path, monkeypatch, without_report):
    """Run the study with the weights at a place in its folder: the records by cell, and the run."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    run_in_process(monkeypatch)
    study = fake_study(SCRIPT, strategies=["cpu fp32", "cpu bf16"], workloads=WORKLOADS)
    questions = [{"id": "one", "text": "yes"}, {"id": "two", "text": "no no"}]
    (tmp_path / "questions.yaml").write_text(yaml.safe_dump({"questions": questions}), "utf-8")

    def run(weights, content=None):
        place = tmp_path / weights
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content or json.dumps(SCRIPT).encode())
        shutil.copy(tmp_path / "tokenizer.json", place.parent / "t.json")
        written = yaml.safe_load(study.read_text("utf-8"))
        tokenizer = str((place.parent / "t.json").relative_to(tmp_path))
        written["models"]["scripted"] = {"weights": weights, "tokenizer": tokenizer}
        study.write_text(yaml.safe_dump(written), "utf-8")
        with pytest.raises(SystemExit) as stop:
            main(["run", str(study), "--results", str(tmp_path / "results"), "--fresh"])
        assert stop.value.code == 0
        folder = max((tmp_path / "results").glob("*/faked-*"), key=lambda one: one.stat().st_ctime)
        records = {one.cell.id: one for one in read_run(folder).records}
        assert len(records) == 6
        return records

    return run


def computed(folder):
    log = folder / "references.log"
    return len(log.read_text("utf-8").splitlines()) if log.exists() else 0


def kept(home):
    return {path.name[:16] for path in (home / "cache" / "references").glob("*.safetensors")}


def test_moved_weights_have_the_same_keys_and_the_same_reference(go, tmp_path):
    here, moved = go("here/w.yaml"), go("there/other.yaml")
    assert {id_: one.key for id_, one in here.items()} == {
        id_: one.key for id_, one in moved.items()
    }
    assert (computed(tmp_path / "here"), computed(tmp_path / "there")) == (2, 0)
    assert len(kept(tmp_path)) == 1
    for one in moved.values():
        if one.cell.workload == "quality":
            assert one.quality.reference.s is None  # it was there
            assert not one.quality.missing
            assert one.quality.text == here[one.cell.id].quality.text


def test_one_changed_byte_gives_other_keys_and_another_reference(go, tmp_path):
    here = go("here/w.yaml")
    content = json.dumps(SCRIPT).encode()
    changed = go("here/w.yaml", content.replace(b"4.0", b"4.1"))
    assert here.keys() == changed.keys()
    for id_, one in changed.items():
        assert one.key.computation != here[id_].key.computation
        if one.cell.workload == "quality":
            assert one.quality.text.kl == pytest.approx([0.0] * 20, abs=1e-6)  # its own, not 4.0's
            assert one.quality.reference.weights_sha256 != (
                here[id_].quality.reference.weights_sha256
            )
    assert computed(tmp_path / "here") == 4
    assert len(kept(tmp_path)) == 2
