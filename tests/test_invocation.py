"""Commands in messages: as this user types them; in files, always the same."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import run
from harness.cli.budget import same_command
from harness.cli.console import console
from harness.cli.display import RunDisplay
from harness.cli.foreseeing import Foreseen
from harness.cli.main import main
from harness.cli.plan_table import show_plan
from harness.config.load import load_study
from harness.invocation import VARIABLE, as_typed, command_line
from harness.machine import Machine
from harness.plan.document import plan_document
from harness.plan.duration import RunTime
from harness.plan.left import Left
from harness.plan.plan import plan

ROOT = Path(__file__).parents[1]
NIX = "nix run .#rwkv-harness --"
SCRIPT = "import sys\nfrom harness.cli.main import main\nsys.exit(main())\n"  # as pip writes it
INSTALLED = Path(sys.executable).with_name("rwkv-harness")
TOO_LARGE = """\
name: too-large
models:
  large: {weights: 'random:14b'}
strategies: [cpu fp32]
workloads:
  speed: {}
"""

# Who spells `python -m harness` otherwise than by `command_line`, and why.
SPELLED_OUT = {
    "harness/machine/doctor/settings.py": "`doctor` shows it as typed, and as it is with --json",
    "harness/invocation.py": "knows the spellings",
    "harness/plan/memory.py": "reasons of a skip are kept in plan.json and records.jsonl",
    "harness/quickstart/card.py": "a file: MODEL_CARD.md",
    "harness/runtime/converted.py": "kept in records, by a library that knows no command line",
}


@pytest.mark.parametrize(
    ("given", "argv0", "beginning"),
    [
        (None, "/checkout/harness/__main__.py", "python -m harness"),
        (None, "-c", "python -m harness"),
        (None, "", "python -m harness"),
        (None, "/checkout/.venv/bin/pytest", "python -m harness"),
        (None, "/home/me/.local/bin/rwkv-harness", "rwkv-harness"),
        (None, "rwkv-harness", "rwkv-harness"),
        (None, "/usr/bin/convert_model", "rwkv-harness"),
        ("", "/usr/bin/rwkv-harness", "rwkv-harness"),
        (" ", "-c", "python -m harness"),
        (NIX, "/nix/store/hash-env/bin/rwkv-harness", NIX),
        (NIX, "-c", NIX),
    ],
)
def test_a_command_is_spelled_as_the_harness_was_started(given, argv0, beginning, monkeypatch):
    if given is not None:
        monkeypatch.setenv(VARIABLE, given)
    monkeypatch.setattr(sys, "argv", [argv0, "plan"])
    assert command_line("models") == f"{beginning} models"
    kept = "12 GiB are too much; python -m harness fit 14b names a plan, not python -m harnessed"
    shown = f"12 GiB are too much; {beginning} fit 14b names a plan, not python -m harnessed"
    assert as_typed(kept) == shown


def test_a_shell_takes_the_words_apart_again():
    words = ["ask", "--model", Path("my models/it's.pth"), "", "What is 6 * 7?", "$HOME"]
    asked = shlex.split(command_line(*words))
    assert asked == ["python", "-m", "harness", *map(str, words)]


@pytest.mark.parametrize("script", ["as pip writes it", "as installed here"])
def test_the_console_script_names_itself(script, tmp_path):
    path = INSTALLED
    if script == "as pip writes it":
        path = tmp_path / "rwkv-harness"
        path.write_text(SCRIPT, encoding="utf-8")
    elif not path.exists():
        pytest.skip("the harness is not installed here")
    libraries = list(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

    def last_line(**more):
        done = subprocess.run(
            [sys.executable, str(path), "cache"],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(libraries),
                "HARNESS_CACHE": str(tmp_path / "cache"),
                **more,
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert last_line() == "Next: rwkv-harness run builtin:quickstart"
    assert last_line(**{VARIABLE: NIX}) == f"Next: {NIX} run builtin:quickstart"


def test_an_interrupted_run_is_gone_on_with_by_the_same_words(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/rwkv-harness", "run", "my study.yaml", "--fresh"])
    assert same_command() == "rwkv-harness run 'my study.yaml'"
    monkeypatch.setenv(VARIABLE, NIX)
    assert same_command() == f"{NIX} run 'my study.yaml'"


def test_a_plan_is_kept_in_one_spelling_and_shown_in_the_users(tmp_path, monkeypatch, capsys):
    (tmp_path / "study.yaml").write_text(TOO_LARGE, encoding="utf-8")
    loaded = load_study(tmp_path / "study.yaml")
    machine = Machine(label="small", accelerators=(), cores=4, ram_bytes=2**30, facts={})
    kept = plan_document(plan(loaded, machine))
    assert "python -m harness fit random:14b" in kept["cells"][0]["skip_reason"]
    monkeypatch.setenv(VARIABLE, "harness-of-mine")

    planned = plan(loaded, machine)

    assert plan_document(planned) == kept
    nothing = Foreseen(left=Left(turns=()), time=RunTime(cells=()))
    show_plan(planned, nothing, ["study.yaml"])
    shown = capsys.readouterr().out
    assert "harness-of-mine fit random:14b" in " ".join(shown.split())
    assert shown.endswith("Next: harness-of-mine plan builtin:quickstart\n")
    assert "python -m" not in shown
    run._say_nothing_runs(planned, "study.yaml")
    assert "; harness-of-mine fit random:14b names" in capsys.readouterr().err
    RunDisplay(console(), 1).note(planned.cells[0].skip_reason)
    assert "; harness-of-mine fit random:14b names" in capsys.readouterr().out


def test_a_converted_file_is_refused_with_the_users_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    from harness.quickstart import files
    from harness.runtime.convert import convert

    convert(files.WEIGHTS, tmp_path / "made.safetensors", "cpu fp32i8")
    monkeypatch.setenv(VARIABLE, NIX)
    with pytest.raises(SystemExit) as stop:
        main(["vram", str(tmp_path / "made.safetensors"), "cpu fp32"])
    assert stop.value.code == 2
    assert f"Convert the original for it: {NIX} convert --in" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["plan"]])
def test_the_usage_is_spelled_as_the_harness_was_started(arguments, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "harness-of-mine")
    with pytest.raises(SystemExit):
        main(arguments)
    shown = "".join(capsys.readouterr())
    assert shown.startswith("Usage: harness-of-mine ")
    assert "python -m" not in shown


def test_no_other_message_spells_it_by_itself():
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "harness").rglob("*.py")
        if re.search(r"python -m harness(?![.\w])|'-m', 'harness'", _code(path))
    }
    assert found == set(SPELLED_OUT)


def _code(path):
    """A module without its comments and docstrings, and in one way to quote."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)
