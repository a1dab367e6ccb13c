"""A converted file is asked under the strategy it was made for, unless another one is named."""

import pytest

from harness.cli.main import main
from harness.quickstart import files
from harness.runtime import convert_model

MIXED = "cpu fp32i8 *2 -> cpu fp32"
QUESTION = "What is 47 + 38?"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "mixed.safetensors"
    convert_model(files.WEIGHTS, path, MIXED)
    return path


def ask(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["ask", QUESTION, "--tokenizer", "builtin:quickstart", *arguments])
    return stop.value.code


def test_a_converted_file_brings_its_strategy(converted, capfd):
    assert ask("--model", str(converted)) == 0
    out, err = capfd.readouterr()
    assert out == "7+8=15, 1+4+3=8, so 85.\n"
    assert f"as '{MIXED}'" in err


def test_another_strategy_is_refused_slot_by_slot(converted, capfd):
    assert ask("--model", str(converted), "--strategy", "cpu bf16") == 2
    assert "slots 0-1 hold fp32i8, not bf16" in capfd.readouterr().err


def test_an_original_runs_in_float32(capfd):
    assert ask() == 0
    assert "as 'cpu fp32'" in capfd.readouterr().err
