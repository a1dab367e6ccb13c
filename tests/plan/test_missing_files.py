"""Which files are missing, and how to get them."""

import dataclasses
import errno
import shlex
from pathlib import Path

import pytest

from harness.config.load import load_study
from harness.plan.look import look
from harness.plan.missing import describe_missing, missing_files, next_step
from harness.quickstart import files
from harness.sources import Locked
from harness.sources.lock import write_lock

CONFIGS = Path(__file__).parents[2] / "configs"


def test_nothing_is_missing_where_all_is_there(load):
    assert missing_files(load()) == ()


def test_a_file_that_two_models_share_is_named_once(load, study_folder):
    loaded = load(
        (
            "  made-up:",
            "  twin: {weights: twin.pth, tokenizer: tokenizer.json}\n  made-up:",
        )
    )
    (study_folder / "tokenizer.json").unlink()

    tokenizer, weights = missing_files(loaded)

    assert (tokenizer.kind, tokenizer.models) == ("tokenizer", ("tiny", "twin"))
    assert (weights.kind, weights.models) == ("weights", ("twin",))
    assert "source:" in weights.how
    assert "tokenizer_source:" in tokenizer.how


def test_what_no_cell_needs_is_not_missing(load, study_folder):
    loaded = load(("exclude:\n", "exclude:\n  - {model: tiny, workload: answers}\n"))
    (study_folder / "tokenizer.json").unlink()

    assert missing_files(loaded) == ()


def test_a_path_that_cannot_be_looked_at_says_why(load, study_folder):
    loaded = load(("tiny.safetensors", "n" * 300), ("tokenizer.json", f"{'t' * 300}/t.json"))

    weights, tokenizer = missing_files(loaded)

    assert (weights.kind, tokenizer.kind) == ("weights", "tokenizer")
    for file in (weights, tokenizer):
        assert "cannot be seen (File name too long)" in describe_missing([file])
        assert file.command is None
        assert "permissions" in file.how


def test_a_folder_without_permission_says_so(load, monkeypatch):
    loaded = load()
    stat = Path.stat

    def refusing(path, **arguments):
        if path.name == "tiny.safetensors":
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path, **arguments)

    monkeypatch.setattr(Path, "stat", refusing)

    (missing,) = missing_files(loaded)
    assert missing.state == "cannot be seen (Permission denied)"
    assert look(loaded).missing == (missing,)
    assert "tiny" not in look(loaded).shapes


def test_the_command_survives_a_shell(load, study_folder):
    url = "https://example.org/a%2098%25-b's.pth?x=1&y=2"
    loaded = load(("tiny.safetensors", f'"a 98%-b\'s.pth"\n    source: "{url}"'))
    loaded = dataclasses.replace(loaded, path=study_folder / "my study's.yaml")

    (missing,) = missing_files(loaded)

    assert shlex.split(missing.how) == [
        *("python", "-m", "harness", "pull", str(study_folder / "my study's.yaml"))
    ]
    assert missing.origin == f"from {url}"


def test_a_name_that_leads_nowhere_says_where_it_was_looked_for(load, study_folder, monkeypatch):
    (study_folder / "mine").mkdir()
    (study_folder / "mine/RWKV-4-Raven-3B-v12.pth").touch()
    monkeypatch.setenv("HARNESS_MODELS", str(study_folder / "mine"))

    (missing,) = missing_files(load(("tiny.safetensors", "rwkv-4-raven-1b5-v12")))

    text = describe_missing([missing])
    assert text.startswith("rwkv-4-raven-1b5-v12 (weights of tiny) is missing:")
    assert "$HARNESS_MODELS" in text
    assert "Nearest: RWKV-4-Raven-3B-v12." in text
    assert missing.command is None


def test_a_source_and_the_size_that_the_lock_knows_are_shown(load, study_folder):
    url = "https://huggingface.co/a/b/blob/main/98%25.pth?download=true"
    locked = {"hf://a/b/98%.pth": Locked(sha256="0" * 64, size=28_297_309_490)}
    write_lock(study_folder / "planned.yaml", locked)

    (missing,) = missing_files(load(("tiny.safetensors", url)))

    assert missing.shown == url
    assert missing.origin == "from https://huggingface.co/a/b/resolve/main/98%25.pth (26.4 GiB)"
    assert f"  {missing.origin}" in describe_missing([missing]).splitlines()


def test_a_tokenizer_is_looked_for_by_the_vocabularys_size(load, study_folder):
    loaded = load(("    tokenizer: tokenizer.json\n", ""))

    assert missing_files(loaded) == ()
    why = look(loaded).no_tokenizer["tiny"]
    assert "no tokenizer is known for a vocabulary of" in why


def test_a_file_under_its_url_name_is_found(load, study_folder):
    loaded = load(("tiny.safetensors", "w-98%.pth"))
    (study_folder / "w-98%25.pth").touch()

    (missing,) = missing_files(loaded)

    assert shlex.split(missing.how) == [
        *("mv", str(study_folder / "w-98%25.pth"), str(study_folder / "w-98%.pth"))
    ]


def test_the_shipped_model_is_trained(load, study_folder, monkeypatch):
    monkeypatch.setattr(files, "WEIGHTS", study_folder / "no.pth")
    loaded = load(("tiny.safetensors", "builtin:quickstart"))

    (missing,) = missing_files(loaded)

    assert missing.how == "python -m harness train-quickstart"
    assert describe_missing([missing]).startswith("builtin:quickstart (no.pth) (weights of tiny)")


@pytest.mark.skipif((CONFIGS.parent / "models").exists(), reason="there may be weights")
def test_raven_names_three_files_and_their_urls():
    missing = missing_files(load_study(CONFIGS / "raven.yaml"))

    text = describe_missing(missing)
    for size, date, context in (("3B", 20230520, 4096), ("14B", 20230523, 8192)):
        name = f"RWKV-4-Raven-{size}-v12-Eng98%-Other2%-{date}-ctx{context}"
        url = f"/BlinkDL/rwkv-4-raven/resolve/main/{name.replace('%', '%25')}.pth"
        assert f"{name} (weights of raven-{size.lower()}) is missing" in text
        assert f"{url}\n" in f"{text}\n"
    assert [file.kind for file in missing].count("tokenizer") == 1


def test_what_was_set_is_set_for_the_download_too(load, study_folder):
    loaded = load_study(load().path, ["models.tiny.weights=hf://a/b/my w.pth", "seed=3"])

    (missing,) = missing_files(loaded)

    assert shlex.split(missing.how) == [
        *("python", "-m", "harness", "pull", str(study_folder / "planned.yaml")),
        *("--set", 'models.tiny.weights="hf://a/b/my w.pth"', "--set", "seed=3"),
    ]
    of_shipped = load_study(files.BUILTIN, ["models.quickstart.weights=hf://a/b/w.pth"])
    (missing, *_) = missing_files(of_shipped)
    assert shlex.split(missing.how)[3:6] == ["pull", files.BUILTIN, "--set"]


def test_what_has_no_source_says_where_to_put_it_and_how_to_name_one(load, study_folder):
    loaded = load(("tiny.safetensors", "nowhere/my.pth"), ("tokenizer.json", "it/t.json"))

    weights, tokenizer = missing_files(loaded)

    assert weights.how == (
        f"Put the file at {study_folder / 'nowhere/my.pth'}, or say in the study where it comes "
        "from, below models: tiny:, as 'source: https://…'."
    )
    assert f"Put the file at {study_folder / 'it/t.json'}, or" in tokenizer.how
    assert "as 'tokenizer_source: https://…'" in tokenizer.how
    # As it says.
    loaded = load(("tiny.safetensors", "nowhere/my.pth\n    source: https://example.org/w.pth"))
    (weights,) = missing_files(loaded)
    assert shlex.split(weights.how)[-2] == "pull"


def test_the_next_step_is_a_command_that_does_something(load, study_folder):
    def step(*replacements):
        return next_step(missing_files(load(*replacements)), "PULL", "RUN")

    absent = ("tiny.safetensors", "w-98%.pth")
    assert step(absent) == "Next, with the files in place: RUN"
    (study_folder / "w-98%25.pth").touch()
    assert step(absent).startswith("Next: mv ")
    assert step(("tiny.safetensors", "no/w.pth\n    source: https://example.org/w.pth")) == (
        "Next: PULL"
    )
