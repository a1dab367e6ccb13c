"""What `--set` and LAMBADA name is downloaded as a study's weights are, from a hub on loopback."""

import json
import shlex

import pytest
import yaml
from loopback_hub import sha256

from harness.records.store import read_run
from harness.sources import find
from harness.sources.lock import lock_path, read_lock

TEXTS = ["The sum of 7 and 8 is 15", "What is the sum of 1 and 1"]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


@pytest.fixture
def study(home):
    """Write a study that lacks nothing."""

    def write(**workloads):
        path = home / "work/my study.yaml"
        document = {
            "name": "pulled",
            "models": {"tiny": {"weights": "builtin:quickstart"}},
            "strategies": ["cpu fp32"],
            "workloads": workloads or {"speed": {"prompt_tokens": 2, "generate_tokens": 2}},
            "noise": False,
            "roofline": False,
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write


def suggested(text):
    """The words of the last line's command, without those that start the harness."""
    command = text.splitlines()[-1].removeprefix("Next: ")
    return shlex.split(command)[3:]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_weights_that_are_set_are_pulled_by_the_command_that_is_shown(
    command, harness, hub, checkpoint, study
):
    content = checkpoint()
    text, path = hub.put("my w.pth", content), study()
    planned = harness(command, path, "--set", f"models.tiny.weights={text}", code=4)
    pull = suggested(planned.stdout or planned.stderr)
    assert pull[:3] == ["pull", str(path), "--set"]
    assert hub.requests == []

    done = harness(*pull)

    assert find(text).path.read_bytes() == content
    assert read_lock(path)[text].sha256 == sha256(content)
    run = suggested(done.stdout)
    assert run[:3] == ["run", str(path), "--set"]
    assert "1 of 1 cells will run" in harness("plan", *run[1:]).stdout


def test_settings_are_of_a_study(harness):
    refused = harness("pull", "hf://a/b/w.pth", "--set", "seed=3", code=2)
    assert "--set changes a study" in refused.stderr


def test_without_the_setting_nothing_of_it_is_pulled(harness, hub, checkpoint, study):
    text = hub.put("w.pth", checkpoint())
    path = study()
    done = harness("pull", path, "--set", f"models.tiny.weights={text}", "--set", "seed=3")
    assert suggested(done.stdout)[2:] == ["--set", f"models.tiny.weights={text}", "--set", "seed=3"]
    hub.requests = []
    assert "nothing to download" in harness("pull", path).stdout
    assert hub.requests == []


def test_lambada_is_pulled_locked_hashed_and_scored(harness, hub, study, home):
    text = hub.put("test.jsonl", LINES)
    path = study(quality={"max_tokens": 8, "lambada": text})
    assert suggested(harness("plan", path).stdout)[0] == "run"  # the rest is there without it

    harness("run", path, "--pull", "--machine", "here")

    assert find(text, kind="lambada").path.read_bytes() == LINES
    locked = read_lock(path)[text]
    assert (locked.sha256, locked.size) == (sha256(LINES), len(LINES))
    assert locked.revision == hub.commit
    assert str(home) not in lock_path(path).read_text("utf-8")
    [folder] = (home / "work/results/here").iterdir()
    [record] = read_run(folder).records
    assert record.quality.missing == {}
    assert record.quality.lambada.sha256 == sha256(LINES)
    assert len(record.quality.lambada.right) == len(TEXTS)

    # What the lock says is held: the hub's other content is another file.
    hub.put("test.jsonl", LINES + LINES)
    harness("pull", path)
    assert find(text, kind="lambada", lock=read_lock(path)).path.read_bytes() == LINES
    assert read_lock(path)[text] == locked


def test_lambada_that_is_set_is_pulled_by_the_command_that_is_shown(harness, hub, study):
    text = hub.put("test.jsonl", LINES)
    path = study(quality={"max_tokens": 8})
    planned = harness("plan", path, "--set", f"workloads.quality.lambada={text}").stdout
    [told] = [line for line in planned.splitlines() if " pull " in line]
    harness(*shlex.split(told)[3:])
    assert find(text, kind="lambada").path.read_bytes() == LINES
    assert read_lock(path)[text].sha256 == sha256(LINES)


def test_a_file_of_another_form_can_be_pulled_again(harness, hub, study):
    text = hub.put("test.jsonl", b"rubbish\n")
    path = study(quality={"max_tokens": 8, "lambada": text})
    refused = harness("pull", path, code=2)
    assert "workloads.quality.lambada: test.jsonl:1: not a line of LAMBADA" in refused.stderr
    assert "test.jsonl:1" in harness("plan", path, code=2).stderr
    hub.put("test.jsonl", LINES)
    harness("pull", path, "--update")
    assert read_lock(path)[text].sha256 == sha256(LINES)
    assert find(text, kind="lambada", lock=read_lock(path)).path.read_bytes() == LINES


def test_what_a_setting_lacks_and_has_no_source_is_said(harness, study):
    told = harness("pull", study(), "--set", "models.tiny.weights=some-3b", code=4)
    assert "some-3b (weights of tiny) is missing" in told.stderr
    assert "Next:" not in told.stdout
