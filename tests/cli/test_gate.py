"""A strategy that computes another function is stopped before its speed is measured.

What is injected is what can happen: converted weights whose bits are not what they were. They are
the shipped model's, in float32, so that `cpu bf16` is converted and `cpu fp32` reads the original.
"""

import json

import pytest
import torch
import yaml

from harness.cli.main import main
from harness.quickstart import files
from harness.records.store import read_run
from harness.runtime.checkpoint import read_header
from harness.runtime.tensors import FileSource

STUDY = {
    "name": "gated",
    "models": {"m": {"weights": "m.pth", "tokenizer": str(files.TOKENIZER)}},
    "strategies": ["cpu fp32", "cpu bf16"],
    "workloads": {
        "speed": {"prompt_tokens": 4, "generate_tokens": 2, "passes": 1, "trials": 2},
        "quality": {"text": "builtin:quickstart", "max_tokens": 8},
    },
    "noise": False,
    "roofline": False,
}


@pytest.fixture
def study(tmp_path, monkeypatch, without_report):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    source = FileSource(read_header(files.WEIGHTS))
    names = read_header(files.WEIGHTS).tensors
    torch.save({name: source.read(name).float() for name in names}, tmp_path / "m.pth")
    source.close()
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    return path


def run(study, name, *arguments):
    """The exit code, and the records of each cell by strategy and workload."""
    results = study.parent / name
    with pytest.raises(SystemExit) as stop:
        main(["run", str(study), "--results", str(results), *arguments])
    (folder,) = results.glob("*/gated-*")
    found = {}
    for record in read_run(folder).records:
        found.setdefault((record.cell.strategy, record.cell.workload), []).append(record)
    return stop.value.code, found


def flip_sign(path, name):
    """The highest bit of each number of a bf16 tensor, changed in the file."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[name]
    assert entry["dtype"] == "BF16"
    begin, end = (8 + length + at for at in entry["data_offsets"])
    for high in range(begin + 1, end, 2):
        data[high] ^= 0x80
    path.write_bytes(data)


def test_a_flipped_sign_ends_as_wrong_answers_before_anything_is_measured(study, capfd):
    code, sound = run(study, "sound")
    assert code == 0
    first = [one for kind in sound for one in sound[kind] if one.gate is not None]
    assert sorted(one.cell.strategy for one in first) == ["cpu bf16", "cpu fp32"]
    assert all(one.gate.tokens == 32 and one.gate.why is None for one in first)

    (converted,) = (study.parent / "cache" / "converted").glob("*.safetensors")
    flip_sign(converted, "blocks.2.att.output.weight")
    code, broken = run(study, "broken")
    assert code == 3
    for workload in ("speed", "quality"):
        for record in broken["cpu bf16", workload]:
            assert record.outcome.kind == "wrong_answers"
            assert not record.decode_s
            assert record.decode_tok_per_s is None
            assert record.latency is None or record.latency.first_pass is None
        assert {one.outcome.kind for one in broken["cpu fp32", workload]} == {"ok"}
    records = [*broken["cpu bf16", "speed"], *broken["cpu bf16", "quality"]]
    (seen,) = [one for one in records if one.gate is not None]
    assert seen.gate.why == seen.outcome.reason
    assert seen.gate.figures["lost"] > seen.gate.figures["tolerated"]
    others = [one for one in records if one is not seen]
    assert len(others) == 2
    assert all(seen.cell.id in one.outcome.reason for one in others)
    assert "wrong_answers" in capfd.readouterr().err


def test_a_study_without_a_gate_measures_what_is_wrong(study):
    run(study, "sound", "--only", "speed")
    (converted,) = (study.parent / "cache" / "converted").glob("*.safetensors")
    flip_sign(converted, "blocks.2.att.output.weight")
    code, found = run(study, "open", "--only", "speed", "--set", "gate=false", "--trials", "1")
    assert code == 0
    (record,) = found["cpu bf16", "speed"]
    assert record.gate is None
    assert record.decode_s
