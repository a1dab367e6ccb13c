import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness.cli.main import main
from harness.cli.sizes import Size, SizeOrNone
from harness.cli.vram import WELL_KNOWN
from harness.machine import Accelerator, Machine
from harness.runtime.forecast import forecast
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import resolve
from harness.sizes import short_size, size

GIB = 2**30


def ran(capsys, *arguments):
    """The exit code and what was printed."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    told = capsys.readouterr()
    return stop.value.code, told.out + told.err


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("8GiB", 8 * GIB),
        ("8G", 8 * GIB),
        ("8 gi", 8 * GIB),
        ("8192MiB", 8 * GIB),
        ("8GB", 8 * 10**9),
        ("8.5 GB", 8_500_000_000),
        ("1.5TiB", 3 * 2**39),
        ("512K", 2**19),
        ("1048576", 2**20),
        ("1000 B", 1000),
    ],
)
def test_sizes_are_read(text, n_bytes):
    assert Size().convert(text, None, None) == n_bytes


@pytest.mark.parametrize("text", ["", "8 GiBs", "-1G", "8ib", "eight", "1e9", "0", "0.0001B", "G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(click.BadParameter):
        Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("8", "8GiB"), ("8.5", "8.5GiB"), (" 24 ", "24GiB"), ("500", "500GiB"), ("8192", "8192MiB")],
)
def test_a_size_without_a_unit_is_not_taken_for_bytes(text, meant):
    with pytest.raises(click.BadParameter, match=rf"no unit. Do you mean [0-9.]*{meant}\?"):
        Size().convert(text, None, None)


@pytest.mark.parametrize("text", ["0", "0B", "0GiB", "0.0 G", " 0"])
def test_where_no_memory_can_be_meant_it_has_any_unit(text):
    assert SizeOrNone().convert(text, None, None) == 0
    with pytest.raises(click.BadParameter, match="no memory at all"):
        Size().convert(text, None, None)
    with pytest.raises(click.BadParameter, match="no unit"):
        SizeOrNone().convert("8", None, None)


@pytest.mark.parametrize(
    ("n_bytes", "long", "short"),
    [
        (1, "1 B", "1B"),
        (1023, "1.00 KiB", "1.00Ki"),
        (727 * 2**20, "727 MiB", "727Mi"),
        (1.6 * GIB, "1.60 GiB", "1.60Gi"),
        (12.34 * GIB, "12.3 GiB", "12.3Gi"),
        (999.9 * 2**20, "0.98 GiB", "0.98Gi"),
    ],
)
def test_sizes_are_written(n_bytes, long, short):
    assert size(n_bytes) == long
    assert short_size(n_bytes) == short


LATENCY = Path(__file__).parents[2] / "configs/latency.yaml"
PLANS = [["plan", "builtin:quickstart"], ["plan", str(LATENCY)]]  # tight, and not


@pytest.mark.parametrize("words", [["vram"], ["vram", "3b"], *PLANS])
def test_a_narrow_terminal_breaks_lines_and_folds_no_word(words, capsys, monkeypatch):
    def table(columns):
        monkeypatch.setenv("COLUMNS", columns)
        lines = ran(capsys, *words)[1].splitlines()
        at = next(n for n, line in enumerate(lines) if line.startswith(("strategy", "model")))
        return lines[at : at + 4]

    assert table("60") == table("80")
    assert 60 < max(map(len, table("60"))) <= 80


def test_the_overview_shows_every_size_and_strategy_in_80_columns(capsys):
    code, shown = ran(capsys, "vram")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    heading = shown.splitlines()[1].split()
    assert heading == ["strategy", "on", *RANDOM_SHAPES]
    words = " ".join(shown.split())
    assert all(strategy.split(" ->", maxsplit=1)[0] in words for strategy in WELL_KNOWN)
    assert "context" in words
    assert shown.splitlines()[-1].startswith("Next: python -m harness vram ")


def test_the_table_of_a_model_says_what_the_forecast_says(capsys):
    strategies = ["cpu bf16i8", "cuda fp16i8 *2+"]
    code, told = ran(capsys, "vram", "--size", "169m", *strategies, "--json", "--batch", "3")
    assert code == 0
    document = json.loads(told)
    assert [one["strategy"] for one in document["strategies"]] == strategies
    from harness.runtime.forecast import Conditions

    shape = RANDOM_SHAPES["169m"]
    for one in document["strategies"]:
        found = forecast(shape, resolve(one["strategy"], shape.n_layer), Conditions(batch=3))
        assert [d["device"] for d in one["devices"]] == [d.device for d in found.devices]
        assert [d["peak_bytes"] for d in one["devices"]] == [*found.peak_bytes().values()]
    code, shown = ran(capsys, "vram", "169m", *strategies)
    assert max(map(len, shown.splitlines())) <= 80
    assert "cuda:0" in shown


def test_a_file_is_asked_for_its_shape(capsys):
    code, told = ran(capsys, "vram", "builtin:quickstart", "cpu fp32", "--json")
    assert code == 0
    [one] = json.loads(told)["strategies"]
    assert 0 < one["devices"][0]["weight_bytes"] < 20 * 2**20
    code, told = ran(capsys, "vram", "no-such-file.pth")
    assert code != 0
    assert "no-such-file" in told


def test_a_strategy_that_is_none_is_refused(capsys):
    code, told = ran(capsys, "vram", "3b", "cuda fp16i4")
    assert code == 2
    assert "i4" in told


@pytest.mark.parametrize(
    ("arguments", "strategy"),
    [
        (("3b", "--vram", "8GiB"), "cuda fp16"),
        (("3b", "--vram", "4GiB", "--device", "cuda:1"), "cuda:1 fp16i8 *"),
        (("3b", "--vram", "8GiB", "--dtype", "bf16"), "cuda bf16"),
        (("14b", "--vram", "100MiB", "--ram", "100GiB"), "cpu "),
    ],
)
def test_the_strategy_stands_alone_on_its_line(arguments, strategy, capsys):
    ram = () if "--ram" in arguments else ("--ram", "16GiB")
    code, told = ran(capsys, "fit", *arguments, *ram)
    assert code == 0
    line = told.splitlines()[2].strip()
    assert line.startswith(strategy)
    resolve(line, RANDOM_SHAPES[arguments[0]].n_layer)
    assert max(map(len, told.splitlines())) <= 80
    document = json.loads(ran(capsys, "fit", *arguments, *ram, "--json")[1])
    assert document["fits"]
    assert document["best"]["strategy"] == line
    assert document["best"]["excess_bytes"] == {}


def test_nothing_that_fits_is_exit_4_and_says_how_much_is_missing(capsys):
    code, told = ran(capsys, "fit", "14b", "--vram", "1GiB", "--ram", "2GiB")
    assert code == 4
    assert "Nothing fits" in told
    assert "more than the" in told
    document = json.loads(ran(capsys, "fit", "14b", "--vram", "1G", "--ram", "2G", "--json")[1])
    assert not document["fits"]
    assert sum(document["nearest"]["excess_bytes"].values()) > 0


def test_a_device_that_is_not_here_must_say_its_memory(capsys, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    code, told = ran(capsys, "fit", "3b", "--device", "cuda:7")
    assert code == 2
    assert "--vram" in told
    code, told = ran(capsys, "fit", "3b", "--device", "tpu", "--vram", "1G")
    assert code == 2
    assert "tpu" in told


def test_without_a_device_the_answer_is_for_the_cpu(capsys, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    code, told = ran(capsys, "fit", "3b", "--ram", "8GiB")
    assert code == 0
    assert told.splitlines()[2].strip() == "cpu fp32i8"


NONE_HERE = "No accelerator was found here, so this is for the CPU alone."


@pytest.mark.parametrize("ram", ["8GiB", "1GiB"])  # something fits, and nothing
def test_that_no_accelerator_was_found_is_said(ram, capsys, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    asked = ("fit", "3b", "--ram", ram)
    told = ran(capsys, *asked)[1]
    assert f"Note: {NONE_HERE}" in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 80
    assert told.splitlines()[-1].startswith("Next: ")
    [note] = json.loads(ran(capsys, *asked, "--json")[1])["notes"]
    assert note.startswith(NONE_HERE)
    for said in (("--vram", "8GiB"), ("--vram", "0")):
        assert NONE_HERE not in " ".join(ran(capsys, *asked, *said)[1].split())
        assert json.loads(ran(capsys, *asked, *said, "--json")[1])["notes"] == []


@pytest.mark.parametrize("said", [("--vram", "0"), ("--vram", "0GiB", "--device", "cuda:1")])
def test_no_memory_on_a_device_is_no_device(said, capsys, monkeypatch):
    card = Accelerator(device="cuda:0", name="Fake GPU", memory_bytes=24 * GIB)
    machine = Machine(label="fake", accelerators=(card,), cores=4, ram_bytes=20 * GIB, facts={})
    monkeypatch.setattr("harness.cli.fit.probe_machine", lambda: machine)
    document = json.loads(ran(capsys, "fit", "3b", *said, "--json")[1])
    assert document["best"]["strategy"] == "cpu fp32"
    assert document["limits_bytes"] == {"cpu": 20 * GIB}
    assert document["notes"] == []
    assert json.loads(ran(capsys, "fit", "3b", "--json")[1])["limits_bytes"]["cuda:0"] == 24 * GIB


def test_what_is_not_said_is_this_machines(capsys, monkeypatch):
    cards = [
        Accelerator(device=f"cuda:{n}", name="Fake GPU", memory_bytes=size * GIB)
        for n, size in enumerate((4, 24))
    ]
    machine = Machine(
        label="fake", accelerators=tuple(cards), cores=4, ram_bytes=20 * GIB, facts={}
    )
    monkeypatch.setattr("harness.cli.fit.probe_machine", lambda: machine)

    def limits(*said):
        return json.loads(ran(capsys, "fit", "3b", "--json", *said)[1])["limits_bytes"]

    assert limits() == {"cpu": 20 * GIB, "cuda:0": 4 * GIB}
    assert limits("--device", "cuda:1") == {"cpu": 20 * GIB, "cuda:1": 24 * GIB}
    assert limits("--vram", "6GiB") == {"cpu": 20 * GIB, "cuda:0": 6 * GIB}
    assert limits("--ram", "9GiB") == {"cpu": 9 * GIB, "cuda:0": 4 * GIB}


@pytest.mark.parametrize("arguments", [["vram"], ["fit", "3b", "--vram", "4GiB"]])
def test_neither_needs_torch(arguments):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['pandas'] = None\n"
        f"from harness.cli.main import main; main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_a_converted_file_is_shown_as_what_it_is(capsys, tmp_path):
    name, made_for = str(tmp_path / "made.safetensors"), "cpu fp32i8"
    source = ("--in", "builtin:quickstart", "--out", name, "--quiet")
    assert ran(capsys, "convert", *source, "--strategy", made_for)[0] == 0
    code, told = ran(capsys, "vram", name, "--json")
    assert code == 0
    assert [one["strategy"] for one in json.loads(told)["strategies"]] == [made_for]
    assert ran(capsys, "vram", name, "cuda:1 fp32i8")[0] == 0  # needs the same tensors
    code, told = ran(capsys, "vram", name, "cuda fp16")
    assert code == 2
    assert f"converted for '{made_for}' and cannot serve 'cuda fp16'" in told
    code, told = ran(capsys, "fit", name, "--vram", "1GiB")
    assert code == 2
    assert f"python -m harness vram {name}" in told


@pytest.mark.parametrize("option", ["--vram", "--ram"])
def test_a_size_without_its_unit_is_asked_for_it(option, capsys):
    code, told = ran(capsys, "fit", "3b", option, "8")
    assert (code, "Do you mean 8GiB?" in told) == (2, True)
    code, told = ran(capsys, "fit", "3b", option, "8K")
    assert (code, f"{option}: 8,192 bytes hold no model" in told) == (2, True)


def test_an_apple_gpu_takes_of_main_memory_and_it_is_said(capsys):
    asked = ("fit", "3b", "--device", "mps", "--vram", "8GiB")
    assert "mps takes" in " ".join(ran(capsys, *asked, "--ram", "16GiB")[1].split())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["fit"], []),
        (["vram"], []),
        (["convert", "--in"], ["--out", "x.pth", "--strategy", "cpu fp32i8"]),
        (["ask", "--model"], ["Hello"]),
    ],
)
def test_a_study_in_place_of_weights_is_told_what_to_type(before, after, tmp_path, capsys):
    for text, weights in (("random:169m", "random:169m"), ("mine", tmp_path / "mine.pth")):
        study = tmp_path / "a study.yaml"
        study.write_text(
            f"name: s\nmodels: {{m: {{weights: '{text}'}}}}\nstrategies: [cpu fp32]\n"
            "workloads: {speed: {}}\n",
            encoding="utf-8",
        )
        (tmp_path / "mine.pth").write_bytes(b"")
        code, told = ran(capsys, *before, str(study), *after)
        assert code == 2
        assert told.startswith(f"error: {study} is a study, not weights. One of its models: ")
        assert f": python -m harness {shlex.join([*before, str(weights), *after])}. " in told
        assert told.endswith(f"All of its cells: python -m harness plan '{study}'\n")


@pytest.mark.parametrize(
    "words", [["vram", "7.1B"], ["fit", "7.1B"], ["ask", "Hello", "--model", "7.1B"]]
)
def test_a_size_in_place_of_weights_is_told_of_random_ones(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, told = ran(capsys, *words)
    assert (code, "Do you mean random:7b (random weights, for speed" in told) == (2, True)


def test_random_weights_are_asked_nothing(capsys):
    code, told = ran(capsys, "ask", "Hello", "--model", "random:169m")
    assert (code, "know nothing to answer" in told) == (2, True)
    assert told.endswith(" that are here: python -m harness models\n")


def test_another_yaml_file_is_no_weights_either(tmp_path, capsys):
    (tmp_path / "models.yaml").write_text("models: {}\n", encoding="utf-8")
    code, told = ran(capsys, "fit", str(tmp_path / "models.yaml"))
    assert (code, "is a YAML file, not weights" in told) == (2, True)
    assert told.endswith(": python -m harness models\n")
    assert "there is no file" in ran(capsys, "fit", str(tmp_path / "none.yaml"))[1]
