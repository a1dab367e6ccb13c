"""Studies for the fake engine: the whole flow without a model."""

import json
from pathlib import Path

import pytest
import yaml

from harness.config.load import load_study

WORDS = ["<|endoftext|>", "yes", "no", "Paris", "stop"]


@pytest.fixture
def fake_study(tmp_path):
    """Write a study for the fake engine into a folder and return its path."""
    _write_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "questions.yaml").write_text(
        yaml.safe_dump(
            {
                "questions": [
                    {"id": "capital", "text": "Capital of France?", "pattern": "Paris"},
                    {"id": "open", "text": "How are you?"},
                ]
            }
        ),
        encoding="utf-8",
    )

    def write(script, **changes) -> Path:
        (tmp_path / "script.yaml").write_text(json.dumps(script), encoding="utf-8")
        study = {
            "name": "faked",
            "models": {"scripted": {"weights": "script.yaml", "tokenizer": "tokenizer.json"}},
            "engines": ["fake"],
            "strategies": ["cpu fp32"],
            "workloads": {
                "speed": {"prompt_tokens": 10, "generate_tokens": 4, "passes": 2, "trials": 2}
            },
            "limits": {"trial_s": 60},
            "noise": False,  # whoever else computes here must not change an outcome
            **changes,
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study), encoding="utf-8")
        load_study(path)  # a mistake in the test is not a finding
        return path

    return write


@pytest.fixture
def without_report(monkeypatch):
    """`run` measures, keeps records, and writes no report, which takes longer than the rest."""
    monkeypatch.setattr("harness.cli.run._report", lambda *_, **__: None)


def _write_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


BOTH = {
    "speed": {"prompt_tokens": [4, 10], "generate_tokens": 4, "passes": 2, "trials": 2},
    "answers": {"questions": "questions.yaml", "max_tokens": 5, "trials": 1},
}
