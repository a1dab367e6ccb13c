"""A strategy of the real engine that computes another function is stopped before it is measured.

What else becomes of such a strategy is shown by whole runs of the fake engine, which take no time:
`test_quality_flow.py`. What is injected is what can happen: converted weights whose bits are not
what they were. They are the shipped model's, in float32, so that `cpu bf16` is converted and
`cpu fp32` reads the original.
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
        "speed": {"prompt_tokens": 4, "generate_tokens": 2, "passes": 1, "trials": 1},
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
    code, sound = run(study, "sound", "--only", "speed")
    assert code == 0
    for strategy in ("cpu bf16", "cpu fp32"):
        (record,) = sound[strategy, "speed"]
        assert (record.gate.tokens, record.gate.why) == (32, None)
        assert record.gate.figures["lost"] < record.gate.figures["tolerated"]

    (converted,) = (study.parent / "cache" / "converted").glob("*.safetensors")
    flip_sign(converted, "blocks.2.att.output.weight")
    code, broken = run(study, "broken")
    assert code == 3
    for workload in ("speed", "quality"):
        (record,) = broken["cpu bf16", workload]
        assert record.outcome.kind == "wrong_answers"
        assert not record.decode_s
        assert record.decode_tok_per_s is None
        assert record.latency is None or record.latency.first_pass is None
        (record,) = broken["cpu fp32", workload]
        assert record.outcome.kind == "ok"
    seen, other = (broken["cpu bf16", workload][0] for workload in ("speed", "quality"))
    assert seen.gate.why == seen.outcome.reason
    assert seen.gate.figures["lost"] > seen.gate.figures["tolerated"]
    assert other.gate is None
    assert seen.cell.id in other.outcome.reason
    assert "wrong_answers" in capfd.readouterr().err
