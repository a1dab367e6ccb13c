"""The frame of the command line: streams that close, encodings that cannot, exit codes."""

import subprocess
import sys

import pytest

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


def test_a_full_disk_is_said_in_words():
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


def test_ask_streams_an_answer():
    done = subprocess.run(
        [*HARNESS, "ask", "What is 47 + 38?"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "7+8=15, 1+4+3=8, so 85.\n"
    assert "tok/s" in done.stderr
