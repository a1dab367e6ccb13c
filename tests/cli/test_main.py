"""The frame of the command line: streams that close, encodings that cannot, exit codes."""

import io
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.cli.progress import byte_progress
from harness.runtime.checkpoint import read_header
from harness.runtime.shape import RANDOM_SHAPES, ModelShape

HARNESS = [sys.executable, "-m", "harness"]


def test_a_reader_that_goes_away_is_no_failure():
    command = subprocess.Popen(
        [*HARNESS, "plan", "builtin:quickstart"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    with command:
        assert command.stderr.read() == b""
    assert command.returncode == 0


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_output_that_cannot_be_encoded_is_replaced(encoding, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = subprocess.run([*HARNESS, "plan", "builtin:quickstart"], capture_output=True, check=True)
    assert b"quickstart" in done.stdout
    done.stdout.decode(encoding)


@pytest.mark.parametrize("unbuffered", ["", "1"])  # at exit, or at once
def test_a_full_disk_is_said_in_words(unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        done = subprocess.run(
            [*HARNESS, "plan", "builtin:quickstart"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["plan"], 2),
        (["plna", "x"], 2),
        (["plan", "none.yaml"], 2),
        (["report", "none"], 2),
        (["ask", "Hi", "--strategy", "cpu fp23"], 2),
        (["ask", "Hi", "--model", "none.pth"], 2),
        (["ask", "Hi", "--model", "random:169m"], 2),
        (["ask", "Hi", "--threads", "3000000000"], 2),
    ],
)
def test_exit_codes(arguments, code):
    done = subprocess.run([*HARNESS, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stdout or done.stderr


class Terminal(io.StringIO):
    """A stream that a terminal of 70 columns stands behind, where COLUMNS says so."""

    def isatty(self):
        return True


def said_on(stream, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "70")
    with pytest.raises(SystemExit):
        main(list(arguments))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "Hi", "--strategy", "cpu_fp23"),
        ("run", "builtin:quickstart", "--set", "workloads.speed.trails=5"),
        ("ask", "Hi", "--model", "random:169m"),  # an error of click's
    ],
)
def test_an_error_is_broken_between_words_on_a_terminal_alone(arguments, monkeypatch):
    *_, whole = said_on(io.StringIO(), monkeypatch, *arguments)
    lines = said_on(Terminal(), monkeypatch, *arguments)
    assert max(map(len, lines)) <= 70 < len(whole)
    assert " ".join(lines).endswith(whole)


def test_a_command_in_an_error_stays_in_one_piece(monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_COMMAND", "nix run . --")
    complain = import_module("harness.cli.main")._complain
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    complain("it is not here. Get it: python -m harness pull --set a=1 it.")
    assert sys.stderr.getvalue().splitlines() == [
        "error: it is not here. Get it:",
        "nix run . -- pull --set a=1 it.",
    ]


def test_a_wait_in_a_log_is_told_in_percent(monkeypatch, capsys):
    monkeypatch.setattr("harness.cli.progress._QUIET_S", 0)
    with byte_progress("Hashing it") as on_bytes:
        on_bytes(38, 100)
    assert capsys.readouterr().err == "Hashing it: 38 %\n"


@pytest.mark.parametrize(
    ("before", "then"),
    [
        (signal.SIG_IGN, signal.SIG_IGN),  # `nohup`: a closed terminal does not end the run
        (signal.SIG_DFL, signal.default_int_handler),
    ],
)
def test_a_closed_terminal_is_an_interrupt_but_for_nohup(before, then):
    was = signal.signal(signal.SIGHUP, before)
    try:
        with pytest.raises(SystemExit):
            main(["--version"])
        assert signal.getsignal(signal.SIGHUP) == then
    finally:
        signal.signal(signal.SIGHUP, was)


def test_ask_streams_an_answer():
    done = subprocess.run(
        [*HARNESS, "ask", "What is 47 + 38?"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "7+8=15, 1+4+3=8, so 85.\n"
    assert "tok/s" in done.stderr


def test_convert_model_takes_the_official_scripts_flags(tmp_path, monkeypatch):
    """By the name that is installed, and as a command."""
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    module, name = re.search(
        r'^convert_model = "([\w.]+):(\w+)"$', pyproject, re.MULTILINE
    ).groups()
    strategy = "cuda fp16i8 *2 -> cpu fp32"
    flags = ["--in", "builtin:quickstart", "--strategy", strategy, "--out"]
    monkeypatch.setattr(sys, "argv", ["convert_model", *flags, str(tmp_path / "A")])
    with pytest.raises(SystemExit) as stop:
        getattr(import_module(module), name)()
    assert stop.value.code == 0
    with pytest.raises(SystemExit) as stop:
        main(["convert_model", *flags, str(tmp_path / "B")])
    assert stop.value.code == 0
    first, second = (tmp_path / f"{name}.safetensors" for name in "AB")
    assert first.read_bytes() == second.read_bytes()
    assert read_header(first).converted.strategy == strategy


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_synth_writes_a_model_of_that_size(suffix, tmp_path, monkeypatch, capsys):
    shape = ModelShape(n_layer=2, n_embd=64, n_vocab=100, dim_ffn=256)
    monkeypatch.setitem(RANDOM_SHAPES, "169m", shape)
    out = tmp_path / f"made.{suffix}"
    with pytest.raises(SystemExit) as stop:
        main(["synth", "--size", "169m", "--out", str(out)])
    assert stop.value.code == 0
    assert read_header(out).shape == shape
    assert f"{shape.n_params:,} random bf16 numbers" in capsys.readouterr().out
