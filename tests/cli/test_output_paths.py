"""What lies where a command is to write: lost only by who says so, and before any work is done."""

import json
import os

import pytest

from harness.cli.main import main
from harness.config.schema import editor_schema_text
from harness.quickstart.files import OF_A_TRAINING
from harness.runtime.checkpoint import read_header
from harness.runtime.shape import RANDOM_SHAPES, ModelShape

OLD = b"an old file"
SYNTH = ["synth", "--size", "169m"]
CONVERT = ["convert", "--in", "builtin:quickstart", "--strategy", "cpu fp32i8"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """The working directory is empty, and the smallest model is tiny."""
    small = ModelShape(n_layer=1, n_embd=64, n_vocab=100, dim_ffn=256)
    monkeypatch.setitem(RANDOM_SHAPES, "169m", small)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_work(monkeypatch):
    def work(*_args, **_kwargs):
        raise AssertionError("work was begun")

    monkeypatch.setattr("harness.runtime.synth_file.save_random", work)
    monkeypatch.setattr("harness.runtime.convert.convert", work)
    monkeypatch.setattr("harness.sources.file_sha256", work)
    monkeypatch.setattr("harness.quickstart.train.train", work)


@pytest.fixture
def ran(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        told = capsys.readouterr()
        return stop.value.code, told.out + told.err

    return run


WRITING = [
    ([*SYNTH, "--out", "made.safetensors"], "made.safetensors"),
    (SYNTH, "random-169m.pth"),
    ([*CONVERT, "--out", "made.pth"], "made.pth"),
    ([*CONVERT, "--out", "made"], "made.safetensors"),
]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("words", "name"), WRITING)
def test_a_file_that_is_there_stops_the_command_before_any_work(words, name, ran, tmp_path):
    (tmp_path / name).write_bytes(OLD)
    code, told = ran(*words)
    assert code == 2
    assert told == (
        f"error: --out {name}: there is a file of that name already. Name another, or replace it "
        "with --overwrite.\n"
    )
    assert (tmp_path / name).read_bytes() == OLD


@pytest.mark.parametrize(("words", "name"), WRITING)
def test_it_is_replaced_when_asked(words, name, ran, tmp_path):
    (tmp_path / name).write_bytes(OLD)
    assert ran(*words, "--overwrite")[0] == 0
    assert read_header(tmp_path / name).shape.n_layer > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("target", ["nowhere.pth", "there.pth", "made.pth"])
def test_a_link_is_there_wherever_it_leads_and_its_target_is_never_written(target, ran, tmp_path):
    (tmp_path / "there.pth").write_bytes(OLD)
    (tmp_path / "made.pth").symlink_to(target)  # one leads to itself
    code, told = ran(*SYNTH, "--out", "made.pth")
    assert (code, "--out made.pth: there is a link of that name already" in told) == (2, True)
    assert (tmp_path / "made.pth").is_symlink()
    assert ran(*SYNTH, "--out", "made.pth", "--overwrite")[0] == 0
    assert not (tmp_path / "made.pth").is_symlink()
    assert (tmp_path / "there.pth").read_bytes() == OLD
    assert not (tmp_path / "nowhere.pth").exists()


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("words", [SYNTH, CONVERT])
def test_what_no_file_can_replace_is_refused_whatever_is_asked(words, ran, tmp_path):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "null.pth").symlink_to(os.devnull)
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "file").write_bytes(OLD)
    for out, said in (
        ("folder.pth", "is a folder. Name a file."),
        ("null.pth", "is a device or a pipe. Name a file."),
        ("pipe.pth", "is a device or a pipe. Name a file."),
        ("file/below/it.pth", f": {tmp_path / 'file'} is no folder."),
    ):
        code, told = ran(*words, "--out", out, "--overwrite")
        assert (code, f"--out {out}" in told, said in told) == (2, True, True), told


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("out", ["model.pth", "model", "./model.pth", "link.pth", "hard.pth"])
def test_the_input_of_a_conversion_is_never_its_output(out, more, ran, tmp_path):
    (tmp_path / "model.pth").write_bytes(OLD)
    (tmp_path / "link.pth").symlink_to("model.pth")
    os.link(tmp_path / "model.pth", tmp_path / "hard.pth")
    form = ["--format", "pth"]
    words = ["convert", "--in", "model", "--out", out, "--strategy", "cpu fp32", *form, *more]
    code, told = ran(*words)
    assert (code, "is the file that is to be converted" in told) == (2, True), told


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("builtin:quickstart", "is not a converted file, so a strategy is needed: --strategy"),
        ("random:169m", "is not a converted file, so a strategy is needed: --strategy"),
        ("model.pth", "model.pth: "),
    ],
)
def test_what_cannot_be_converted_is_refused_before_it_is_hashed(source, said, ran, tmp_path):
    (tmp_path / "model.pth").write_bytes(OLD)
    code, told = ran("convert", "--in", source, "--out", "made")
    assert (code, told.startswith("error: "), said in told) == (2, True, True), told


def test_what_a_converted_file_says_of_its_original_is_not_asked_again(ran, tmp_path, monkeypatch):
    assert ran(*CONVERT, "--out", "made")[0] == 0
    monkeypatch.setattr("harness.sources.file_sha256", None)
    code, told = ran("convert", "--in", "made", "--out", "again.pth", "--json")
    assert code == 0
    source = read_header(tmp_path / "made.safetensors").converted.source_sha256
    assert json.loads(told)["source_sha256"] == source


def test_folders_that_are_missing_are_made(ran, tmp_path):
    assert ran(*SYNTH, "--out", "a/b/made.pth")[0] == 0
    assert read_header(tmp_path / "a/b/made.pth").shape == RANDOM_SHAPES["169m"]


def test_the_command_that_synth_names_next_can_be_given_after_each_of_its_files(ran, tmp_path):
    (tmp_path / "i8.safetensors").write_bytes(OLD)
    last = ran(*SYNTH)[1].splitlines()[-1]
    assert last == (
        "Next: python -m harness convert --in random-169m.pth --out random-169m-i8 "
        "--strategy 'cpu fp32i8'"
    )


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", OF_A_TRAINING)
def test_a_training_does_not_begin_where_it_would_end_on_another_model(name, ran, tmp_path):
    (tmp_path / name).write_bytes(OLD)
    code, told = ran("train-quickstart", "--out", tmp_path, "--steps", "1")
    assert (code, f"--out {tmp_path / name}: there is a file" in told) == (2, True)
    with pytest.raises(AssertionError, match="work was begun"):
        main(["train-quickstart", "--out", str(tmp_path), "--overwrite"])


@pytest.mark.parametrize("text", ["name: a study\n", '{"title": "Mine"}', "[]", "\xff"])
def test_a_schema_is_written_again_and_takes_no_other_files_place(text, ran, tmp_path):
    out = tmp_path / "studies.yaml"
    assert ran("schema", "-o", out)[0] == 0
    older = {**json.loads(out.read_text("utf-8")), "type": "older"}
    out.write_text(json.dumps(older), encoding="utf-8")
    assert ran("schema", "-o", out)[0] == 0
    assert out.read_text("utf-8") == editor_schema_text()
    out.write_bytes(text.encode("latin-1"))
    code, told = ran("schema", "-o", out)
    assert (code, f"--output {out} is a file that is no schema of studies." in told) == (2, True)
    assert out.read_bytes() == text.encode("latin-1")
    assert ran("schema", "-o", out, "--overwrite")[0] == 0
    assert out.read_text("utf-8") == editor_schema_text()
