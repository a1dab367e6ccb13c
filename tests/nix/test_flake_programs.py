"""The commands of the README, run: they build, measure for real, and leave their results behind."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.quickstart.same_answers import compare_run

ROOT = Path(__file__).parents[2]

STUDY = """
name: small
models:
  quickstart: {weights: "builtin:quickstart"}
strategies: [cpu fp32]
threads: 1
workloads:
  speed: {prompt_tokens: 16, generate_tokens: 4, passes: 1, warmup_passes: 0, trials: 1}
noise: off  # whoever else computes here must not change an outcome
"""


def only_run(folder):
    (records,) = folder.glob("results/*/*/records.jsonl")
    return records.parent


def records(run):
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


def outcomes(run):
    return {record["outcome"]["kind"] for record in records(run)}


@pytest.fixture(scope="module")
def measured(nix, tmp_path_factory):
    """The folder in which the app measured a small study, and what it said."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "a study.yaml").write_text(STUDY)
    (folder / "harness.py").write_text("raise SystemExit('the wrong harness')")
    return folder, nix("run", f"{ROOT}#bench", "--", "a study.yaml", cwd=folder)


def test_bench_measures_a_study_and_leaves_its_results_with_the_caller(measured):
    folder, shown = measured
    run = only_run(folder)
    assert outcomes(run) == {"ok"}
    assert records(run)[0]["decode_tok_per_s"] > 0
    assert (run / "report.html").exists()
    assert "cpu fp32" in shown


def test_a_record_says_which_closure_it_comes_from(nix, measured):
    facts = records(only_run(measured[0]))[0]["facts"]
    assert facts["provenance"] == "nix"
    assert facts["nixpkgs_rev"] == nix.revision
    assert facts["nixpkgs_nar_hash"].startswith("sha256-")
    lock = (ROOT / "flake.lock").read_bytes()
    assert facts["flake_lock_sha256"] == hashlib.sha256(lock).hexdigest()
    assert facts["nix_interpreter"].startswith(f"{nix.store}/")
    assert facts["nix_interpreter"].endswith("-python3-3.10.13-env")
    assert facts["nix_package"].startswith(f"{nix.store}/")
    assert "-rwkv-harness-" in facts["nix_package"]
    assert facts["distributions_outside"] == []


def test_an_environment_holds_what_the_flake_names_and_no_more(measured):
    there = records(only_run(measured[0]))[0]["facts"]["distributions"]
    assert there["torch"].startswith("2.0.1")
    assert {"rwkv", "prompt-toolkit", "huggingface-hub"} <= there.keys()
    assert not {"pytest", "hypothesis", "pip"} & there.keys()


def test_bench_without_arguments_begins_the_quickstart_study(nix, tmp_path):
    with nix.started("run", f"{ROOT}#bench", cwd=tmp_path) as process:
        first = process.stdout.readline()
        begun = next((line for line in process.stderr if line.startswith("[1/")), "")
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate()
    assert "/quickstart-" in first, errors
    assert "trials to do" in first
    assert "quickstart" in begun
    assert "To go on:" in rest
    assert process.returncode == 130
    assert only_run(tmp_path).name.startswith("quickstart-")


def test_bench_hands_options_and_errors_on(nix, tmp_path):
    done = nix.attempt("run", f"{ROOT}#bench", "--", "no-such.yaml", "--fresh", cwd=tmp_path)
    assert done.returncode == 2
    assert "no-such.yaml" in done.stderr


def test_nothing_of_the_callers_python_gets_in(nix, tmp_path):
    (tmp_path / "harness.py").write_text("raise SystemExit('the wrong harness')")
    callers = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path)}
    shown = nix("run", f"{ROOT}#rwkv-harness", "--", "facts", "--json", **callers)
    assert json.loads(shown)["provenance"] == "nix"


def test_the_command_line_gets_its_arguments_as_they_are(nix, tmp_path):
    (tmp_path / "harness.py").write_text("raise SystemExit('the wrong harness')")
    name = "no  'such' \"study\" $HOME *.yaml"
    done = nix.attempt("run", f"{ROOT}#rwkv-harness", "--", "plan", name, cwd=tmp_path)
    assert done.returncode == 2
    assert name in done.stderr


def test_the_shell_runs_the_quickstart_study_from_the_checkout(nix, tmp_path):
    words = ["python", "-m", "harness", "run", "configs/quickstart.yaml", "--trials", "1"]
    nix("develop", ".", "-c", *words, "--results", str(tmp_path / "results"))
    run = only_run(tmp_path)
    assert outcomes(run) <= {"ok", "skipped", "noisy"}
    print(compare_run(run))
    facts = records(run)[0]["facts"]
    assert facts["provenance"] == "nix"
    assert facts["nixpkgs_rev"] == nix.revision
    assert "checkout" in facts["nix_package"]["unavailable"]


def test_the_shell_finds_its_checkout_from_below_and_a_compiler(nix):
    code = "import harness, hypothesis, pytest, sys; print(harness.__file__, sys.version_info[:2])"
    where = nix("develop", ".", "-c", "python", "-c", code, cwd=ROOT / "configs")
    assert where.split(maxsplit=1) == [str(ROOT / "harness/__init__.py"), "(3, 10)\n"]
    if shutil.which("c++"):
        compiler = nix("develop", ".", "-c", "sh", "-c", "command -v c++")
        assert compiler.startswith(f"{nix.store}/")


def test_the_shell_says_where_it_is_not_a_checkout(nix, tmp_path):
    done = nix.attempt("develop", str(ROOT), "-c", "true", cwd=tmp_path)
    assert "no checkout of rwkv-harness" in done.stderr


def test_the_test_app_runs_tests_in_a_copy(nix, tmp_path):
    shown = nix("run", f"{ROOT}#test", "--", "tests/stats", "-q", cwd=tmp_path)
    assert " passed" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_test_app_fails_as_pytest_does_and_leaves_no_copy(nix, tmp_path):
    words = ["tests/no-such.py", "--numprocesses", "0"]
    done = nix.attempt("run", f"{ROOT}#test", "--", *words, TMPDIR=str(tmp_path))
    assert done.returncode == 4
    assert "no-such.py" in done.stderr
    assert list(tmp_path.glob("*/rwkv-harness")) == []


def test_flake_check_builds_everything_and_runs_the_tests(nix):
    """Thousands of them, but not those of the flake, which would begin it all again."""
    nix("flake", "check", ".")
    log = nix("log", f".#checks.{nix.system}.tests")
    assert int(re.search(r"(\d+) passed", log)[1]) > 1000
    assert "HARNESS_TESTS=build" in log


def test_a_test_that_fails_fails_the_check(nix, copy):
    (copy / "tests/stats").mkdir(parents=True)
    shutil.copy(ROOT / "tests/conftest.py", copy / "tests")
    (copy / "tests/stats/test_describe.py").write_text("def test_it():\n    assert 1 == 2\n")
    subprocess.run(["git", "add", "--all"], cwd=copy, check=True)
    assert "assert 1 == 2" in nix.refuses("flake", "check", "-L", ".", cwd=copy)


@pytest.fixture(scope="module")
def cuda_system(nix):
    if nix.system != "x86_64-linux":
        pytest.skip("the outputs with CUDA are for x86_64 Linux")


def test_the_benchmark_with_cuda_runs_where_there_is_no_driver(nix, tmp_path, cuda_system):
    (tmp_path / "study.yaml").write_text(STUDY)
    nothing = {"RWKV_HARNESS_ROOT": str(tmp_path / "nothing")}
    done = nix.attempt("run", f"{ROOT}#bench-cuda", "--", "study.yaml", cwd=tmp_path, **nothing)
    assert done.returncode == 0, done.stderr
    assert "driver" in done.stderr
    there = records(only_run(tmp_path))[0]["facts"]["distributions"]
    assert there["nvidia-ml-py"] == "11.525.131"


def test_the_shell_with_cuda_sees_the_hosts_driver(nix, tmp_path, cuda_system):
    driver = tmp_path / "root/usr/lib64/libcuda.so.1"
    driver.parent.mkdir(parents=True)
    driver.write_bytes(Path("/proc/self/exe").read_bytes()[:64])  # an ELF of this machine
    words = ["sh", "-c", 'ls "$LD_LIBRARY_PATH"']
    root = str(tmp_path / "root")
    shown = nix("develop", ".#cuda", "-c", *words, RWKV_HARNESS_ROOT=root)
    assert shown.split() == ["libcuda.so.1"]


def test_the_command_line_with_cuda_starts(nix, cuda_system):
    nothing = {"RWKV_HARNESS_ROOT": "/nothing"}
    assert "rwkv-harness" in nix("run", ".#rwkv-harness-cuda", "--", "--version", **nothing)
