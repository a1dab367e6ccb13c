"""`python -m harness plan`: what is printed, and with which exit code."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from harness.cli.main import main
from harness.runtime.shape import ModelShape, original_tensors

ROOT = Path(__file__).parents[2]
INSTALLED = filter(None, [os.environ.get("PYTHONPATH")])  # libraries too, where Nix builds
PYTHONPATH = os.pathsep.join([str(ROOT), *INSTALLED])
MODULES = """
import sys
from harness.cli.main import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "pandas", "scipy", "matplotlib", "rwkv"} & set(sys.modules)
    print("HEAVY", sorted(heavy), file=sys.stderr)
"""


def run(*arguments, cwd=ROOT, **environ):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", MODULES, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": PYTHONPATH, "LANG": "C.UTF-8", **environ},
    )


@pytest.fixture
def planned_study(load):
    return load().path


@pytest.mark.parametrize("more", [[], ["--budget", "20m"]])
def test_table_fits_and_ends_in_the_next_command(more, planned_study):
    done = run("plan", planned_study.name, *more, cwd=planned_study.parent)

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stderr
    assert max(map(len, lines)) <= 80
    assert lines[-1] == " ".join(["Next: python -m harness run", planned_study.name, *more])
    [peak] = re.findall(r"^made-up +cpu fp32 .* cpu ([0-9]+) MiB *$", done.stdout, re.MULTILINE)
    assert 646 < int(peak) < 1.1 * 646  # the weights, and what is needed beside them
    assert "without Python and its libraries" in done.stdout
    assert "skipped: " in done.stdout


def test_the_columns_move_together_before_a_strategy_is_broken(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("extends: builtin:quickstart\nworkloads: {quality: null}\n", encoding="utf-8")
    *lines, command = run("plan", path).stdout.splitlines()

    assert command.startswith("Next: ")  # in one piece, to be copied
    assert max(map(len, lines)) <= 80
    notes = next(at for at, line in enumerate(lines) if line.startswith("Numbers under"))
    assert sum("cpu fp32i8 *3 -> cpu fp32 " in line for line in lines[:notes]) == 2


def test_the_memory_of_a_row_is_that_of_the_workload_that_takes_most(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "extends: builtin:quickstart\nstrategies: [cpu fp32]\nmodels: {random-169m: null}\n"
        "workloads: {speed: {batch: 8}, depth: null}\n",
        encoding="utf-8",
    )
    cells = json.loads(run("plan", path, "--json").stdout)["cells"]
    peaks = {one["cell"]["workload"]: one["forecast_bytes"]["cpu"] / 2**20 for one in cells}
    speed, answers = peaks["speed"], peaks["answers"]
    [shown] = re.findall(r"cpu ([0-9.]+) MiB", run("plan", path).stdout)
    assert speed > 1.1 * answers
    assert float(shown) == pytest.approx(speed, rel=0.01)


def test_weights_that_will_be_converted_are_shown_once_with_their_sizes(tmp_path):
    def told(strategies):
        path = tmp_path / "study.yaml"
        path.write_text(
            f"extends: builtin:quickstart\nstrategies: {strategies}\nreference: cpu fp32\n",
            encoding="utf-8",
        )
        return run("plan", path).stdout

    text = told("[cpu fp32, cpu fp32i8, cpu fp32i8 *20, cuda fp16i8]")  # two read one file
    assert "deadline and the memory of a trial: 277 MiB, less" in " ".join(text.split())
    lines = text.splitlines()
    assert lines.count("  quickstart: cpu fp32i8 (2.69 MiB)") == 1
    assert lines.count("  random-169m: cpu fp32i8 (274 MiB)") == 1
    assert "converted" not in told("[cpu fp32]")


def test_without_the_cache_no_weights_are_said_to_be_converted(planned_study):
    assert "Weights are converted once" in run("plan", planned_study).stdout
    assert "converted" not in run("plan", planned_study, "--no-cache").stdout
    cells = json.loads(run("plan", planned_study, "--no-cache", "--json").stdout)["cells"]
    assert {one["converted_bytes"] for one in cells} == {None}


def test_every_skipped_cell_has_its_footnote(planned_study):
    done = run("plan", planned_study)

    marked = {
        letter
        for line in done.stdout.splitlines()
        if "– [" in line
        for letter in line.split("– [", 1)[1].split("]")[0].split()
    }
    explained = {
        line[1] for line in done.stdout.splitlines() if line.startswith("[") and "skipped" in line
    }
    assert marked == explained != set()


def test_json_agrees_with_the_exit_code(planned_study):
    done = run("plan", planned_study, "--json")

    document = json.loads(done.stdout)
    running = [one for one in document["cells"] if one["skip_reason"] is None]
    assert done.returncode == 0
    assert len(document["order"]) == sum(one["trials"] for one in running)


def test_nothing_can_run(load, study_folder):
    path = load(
        ("  made-up: {weights: 'random:169m'}\n", ""),
        ("exclude:\n  - {model: made-up, workload: answers}\n", ""),
    ).path
    (study_folder / "tiny.safetensors").unlink()

    done = run("plan", path)

    assert done.returncode == 4
    assert "is missing:" in done.stdout
    again = f"python -m harness run {shlex.quote(str(path))}"
    assert done.stdout.splitlines()[-1] == f"Next, with the files in place: {again}"

    done = run("run", path)  # leads no circle

    assert done.returncode == 4
    last = [line for line in done.stderr.splitlines() if not line.startswith("HEAVY")][-1]
    assert last == f"Next, with the files in place: {again}"


def test_the_next_command_survives_a_shell_and_one_is_one(load):
    path = load(("{trials: 3}", "{trials: 1}")).path
    text = path.read_text(encoding="utf-8").split("strategies:")[0]
    moved = path.with_name("my study's.yaml")
    moved.write_text(
        f"{text}strategies: [cpu fp32]\nworkloads: {{speed: {{trials: 1}}}}\n"
        "exclude: [{model: tiny}]\n",
        encoding="utf-8",
    )

    done = run("plan", moved)

    last = done.stdout.splitlines()[-1]
    assert shlex.split(last.removeprefix("Next: ")) == [
        "python",
        "-m",
        "harness",
        "run",
        str(moved),
    ]
    assert "in 1 trial (engine" in done.stdout


def test_bad_study_is_bad_input(planned_study):
    planned_study.write_text("name: a\nmodel: {}\n", encoding="utf-8")

    done = run("plan", planned_study)

    assert done.returncode == 2
    assert f"{planned_study}:2: model: is not a key here. Did you mean 'models'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_each_sampling_and_prompt_has_its_row(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "extends: builtin:quickstart\nstrategies: [cpu fp32]\nmodels: {random-169m: null}\n"
        "workloads: {speed: null, depth: null, quality: null,"
        " answers: {sampling: {greedy: {}, hot: {temperature: 1}}}}\n",
        encoding="utf-8",
    )
    said = run("plan", path).stdout
    rows = [line for line in said.splitlines() if line.endswith("MiB")]
    cells = json.loads(run("plan", path, "--json").stdout)["cells"]
    assert len(cells) == len(rows) == 2
    assert "cpu fp32, hot" in said


def test_a_plan_of_28_gb_reads_headers_and_says_what_each_reference_takes(tmp_path):
    """The real study, with files of the real sizes in which nothing is but their headers."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name, n_layer, n_embd in (
        ("RWKV-4-Raven-3B-v12-Eng98%-Other2%-20230520-ctx4096", 32, 2560),
        ("RWKV-4-Raven-14B-v12-Eng98%-Other2%-20230523-ctx8192", 40, 5120),
    ):
        shape = ModelShape(n_layer=n_layer, n_embd=n_embd, n_vocab=50277, dim_ffn=4 * n_embd)
        _write_header(folder / f"{name}.safetensors", shape)
    words = {str(n): n for n in range(50277)}  # as many as the real one has
    Tokenizer(models.WordLevel(words, unk_token="0")).save(str(folder / "20B_tokenizer.json"))
    environ = {
        "HARNESS_MODELS": str(folder),
        "HARNESS_CACHE": str(tmp_path / "cache"),
        "HARNESS_CACHE_BUDGET": "1TiB",
        "RWKV_HARNESS_PROBES": "off",  # without a known size, no model is too large for this one
    }

    done = run("plan", ROOT / "configs/raven.yaml", **environ)

    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stderr
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    flat = " ".join(done.stdout.split())
    assert re.search(r"raven-3b: about [0-9hmins. ]+, at most 1.29 GiB in the cache", flat)
    assert re.search(
        r"raven-14b: about [0-9]+ (h|min)[0-9min ]*, at most 1.29 GiB in the cache", flat
    )
    assert re.search(r"hashing weights \d+", flat)


def _write_header(path, shape):
    """A checkpoint in bfloat16 whose tensors are a hole in the file."""
    header, end = {}, 0
    for name, dimensions in original_tensors(shape).items():
        begin, end = end, end + 2 * math.prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": list(dimensions), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


@pytest.mark.parametrize("batch", ["", ", batch: [1, 2]"])
def test_every_row_of_a_study_with_axes_names_its_variant(batch, load, capsys):
    sampling = "sampling: {greedy: {}, warm: {temperature: 1}}"
    loaded = load(
        ("trials: 3}", f"trials: 3{batch}}}"),
        ("questions: questions.txt}", f"questions: questions.txt, {sampling}}}"),
    )
    with pytest.raises(SystemExit):
        main(["plan", str(loaded.path)])
    table = capsys.readouterr().out.partition("Numbers under")[0]
    rows = re.findall(r"cpu fp32(?:, \w+)?  ", table)
    second = ["cpu fp32"] if batch else []  # of speed alone
    of_tiny = ["cpu fp32, greedy", *second, "cpu fp32, warm"]
    assert [row.strip() for row in rows[: len(of_tiny)]] == of_tiny
    assert "greedy" not in table.partition("made-up")[2]  # answers are not asked of it
