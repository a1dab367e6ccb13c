"""`pull`, `run --pull` and `models` as a user meets them, against a hub on loopback."""

import json
import shlex
import signal
import threading
import time

import pytest
import yaml
from loopback_hub import sha256

from harness.sources import find
from harness.sources.lock import lock_path, read_lock

NAME = "RWKV-4-Tiny-Eng98%-v1.pth"


@pytest.fixture
def weights(hub, checkpoint):
    """Put a checkpoint on the hub; returns how it is written, and its content."""
    content = checkpoint()
    return hub.put(NAME, content), content


@pytest.fixture
def study(home):
    """Write a study of one model that is on the hub."""

    def write(model, **more):
        path = home / "work/study.yaml"
        document = {
            "name": "pulled",
            "models": {"tiny": model},
            "strategies": ["cpu fp32"],
            "workloads": {"speed": {"prompt_tokens": 2, "generate_tokens": 2}},
            **more,
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write


def until(happened):
    """Wait for another process."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_a_study_is_pulled_locked_and_found(harness, weights, study, hub, home):
    text, content = weights
    path = study({"weights": text})
    planned = harness("plan", path, code=4).stdout
    assert f"python -m harness pull {path}" in planned
    assert "/owner/repo/resolve/main/RWKV-4-Tiny-Eng98%25-v1.pth" in planned
    assert hub.requests == []

    done = harness("pull", path)

    assert f"tiny: {NAME}" in done.stdout
    assert "downloaded, sha256" in done.stdout
    assert done.stdout.endswith(f"Next: python -m harness run {path}\n")
    (name, locked), *_ = read_lock(path).items()
    assert (name, locked.sha256, locked.size) == (text, sha256(content), len(content))
    assert locked.revision == hub.commit
    assert str(home) not in lock_path(path).read_text("utf-8")
    assert find(text).path.read_bytes() == content
    assert max(len(line) for line in done.stderr.splitlines()) <= 300
    assert "1 of 1 cells will run" in harness("plan", path).stdout

    again = harness("pull", path)
    assert "already there" in again.stdout
    assert len([1 for sent in hub.sent() if "/cdn/" in sent]) == 1


def test_a_download_that_breaks_off_ends_whole(harness, weights, hub):
    text, content = weights
    hub.breaks = [1000]
    harness("pull", text)
    assert find(text).path.read_bytes() == content
    ranges = [headers.get("Range") for _, path, headers in hub.requests if "/cdn/" in path]
    assert ranges == [None, "bytes=1000-"]


def test_a_download_that_was_interrupted_goes_on(harness, weights, hub, home):
    text, content = weights
    hub.stalls = 1000
    process = harness.start("pull", text)
    assert hub.stalled.wait(60)
    until(lambda: any(part.stat().st_size for part in (home / "hub-home").rglob("*.part")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "What came is kept" in errors
    assert find(text).path is None
    hub.stalls = None
    hub.requests = []
    harness("pull", text)
    assert find(text).path.read_bytes() == content
    assert [h.get("Range") for _, path, h in hub.requests if "/cdn/" in path] == ["bytes=1000-"]
    assert list((home / "hub-home").rglob("*.part*")) == []


def test_a_wrong_hash_leaves_nothing(harness, weights, study, hub, home):
    text, content = weights
    hub.instead[content] = content[:-1] + bytes([content[-1] ^ 1])
    path = study({"weights": text})
    failed = harness("pull", path, code=4)
    assert f"the hub says {sha256(content)}" in failed.stderr
    assert find(text).path is None
    assert [one for one in (home / "hub-home").rglob("*") if one.is_file()] == []
    assert not lock_path(path).exists()


def test_a_file_that_is_not_there_names_the_nearest(harness, weights, hub):
    failed = harness("pull", "hf://owner/repo/RWKV-4-Tiny-v1.pth", code=4)
    assert "no such file" in failed.stderr
    assert NAME in failed.stderr
    failed = harness("pull", "hf://owner/none/w.pth", code=4)
    assert "no repository owner/none, or it is private" in failed.stderr
    failed = harness("pull", f"{weights[0]}@v2", code=4)
    assert "no revision 'v2'" in failed.stderr


def test_a_gated_repository_wants_a_token(harness, weights, hub):
    text, content = weights
    hub.token = "hf_secret"
    refused = harness("pull", text, code=4)
    assert "HF_TOKEN" in refused.stderr
    done = harness("pull", text, HF_TOKEN="hf_secret")
    assert find(text).path.read_bytes() == content
    assert "hf_secret" not in done.stdout + done.stderr
    told = {path.split("/")[1] for _, path, headers in hub.requests if "Authorization" in headers}
    assert "cdn" not in told


def test_the_lock_holds_a_study_to_what_it_was_used_with(harness, weights, study, hub, checkpoint):
    text, content = weights
    path = study({"weights": text})
    harness("pull", path)
    before, commit = lock_path(path).read_bytes(), hub.commit
    other = checkpoint(random=1)
    hub.put(NAME, other)

    # Another program has fetched the new one meanwhile, and the old one is gone.
    find(text).path.resolve().unlink()
    harness("pull", text)
    assert find(text).path.read_bytes() == other
    harness("pull", path)
    assert find(text, lock=read_lock(path)).path.read_bytes() == content

    del hub.commits[commit]
    find(text, lock=read_lock(path)).path.resolve().unlink()
    refused = harness("pull", path, code=4)
    assert "no revision" in refused.stderr
    assert "pull STUDY --update" in refused.stderr
    assert lock_path(path).read_bytes() == before

    harness("pull", path, "--update")
    assert read_lock(path)[text].sha256 == sha256(other)


def test_a_damaged_file_of_the_cache_is_noticed_and_replaced(harness, weights, study):
    text, content = weights
    path = study({"weights": text})
    harness("pull", path)
    blob = find(text).path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1] + b"?")
    refused = harness("run", path, code=2)
    assert "it is damaged. Get it again" in refused.stderr
    harness("pull", path)
    assert find(text).path.read_bytes() == content


def test_a_hash_of_the_study_is_held_before_anything_is_fetched(harness, weights, study, hub):
    text, _ = weights
    path = study({"weights": text, "sha256": "0" * 64})
    refused = harness("pull", path, code=2)
    assert f"says {'0' * 64}" in refused.stderr
    assert not any("/cdn/" in sent for sent in hub.sent())


def test_path_and_source(harness, weights, study, home, hub):
    text, content = weights
    page = f"{hub.url}/owner/repo/blob/main/{NAME.replace('%', '%25')}?download=true"
    path = study({"weights": "my models/tiny.pth", "source": page})
    harness("pull", path)
    assert (home / "work/my models/tiny.pth").read_bytes() == content
    assert [one.name for one in (home / "work/my models").iterdir()] == ["tiny.pth"]
    assert list(read_lock(path)) == [text]


def test_a_proxys_page_is_no_hub(harness, weights, hub):
    hub.html = True
    assert "not as a hub does" in harness("pull", weights[0], code=4).stderr


def test_without_a_network(harness, weights, hub):
    hub.close()
    failed = harness("pull", weights[0], code=4)
    assert "cannot be reached" in failed.stderr
    hub.__init__()


def test_a_small_file_of_the_hub_is_held_to_gits_hash(harness, hub):
    text = hub.put("w.pth", b"small")
    hub.small.add("w.pth")
    hub.instead[b"small"] = b"SMALL"
    assert "the hub says" in harness("pull", text, code=4).stderr
    hub.instead = {}
    harness("pull", text)
    assert find(text).path.read_bytes() == b"small"


def test_run_offers_to_pull_and_does_it(harness, weights, study):
    # No device of that number: nothing is measured, which takes its time, and is tested elsewhere.
    path = study({"weights": weights[0]}, strategies=["cuda:99 fp16"])
    refused = harness("run", path, code=4)
    assert refused.stderr.endswith(f"Next: python -m harness pull {path}\n")
    done = harness("run", path, "--pull", "--json", code=4)
    assert done.stdout == ""
    assert find(weights[0]).path is not None
    assert "no device cuda:99" in done.stderr


def test_ask_takes_the_same_names_and_says_how_to_get_them(harness, weights, hub):
    refused = harness("ask", "hi", "--model", weights[0], code=2)
    assert f"Get it: python -m harness pull {weights[0]}\n" in refused.stderr
    harness("pull", weights[0])
    refused = harness("ask", "hi", "--model", "tiny-eng98%", code=2)
    assert "no tokenizer is known for a vocabulary of 64" in refused.stderr
    assert "--tokenizer FILE" in refused.stderr


def test_models_lists_what_is_there(harness, weights, home, checkpoint, settings):
    folder = home / "work/models"
    folder.mkdir()
    (folder / "own model.safetensors").write_bytes(checkpoint(random=2))
    (folder / "page.pth").write_bytes(b"<!doctype html>")
    settings("far: hf://o/r/w.pth\n")
    harness("pull", weights[0])

    listed = harness("models").stdout

    assert max(map(len, listed.splitlines())) <= 80
    assert "own model" in listed
    assert "2 × 32" in listed
    assert "a web page, not weights" in listed
    assert listed.splitlines()[-1].startswith("Next: python -m harness ")
    by_name = {one["name"]: one for one in json.loads(harness("models", "--json").stdout)}
    assert by_name["own model"]["n_vocab"] == 64
    assert by_name["own model"]["dtype"] == "fp16"
    assert by_name["far"]["path"] is None
    assert by_name["page"]["problem"]
    assert by_name[NAME.removesuffix(".pth")]["source"] == weights[0]
    for name, one in by_name.items():
        if one["path"] is not None and name != "far":
            assert str(find(name).path) == one["path"]


def test_the_next_command_is_one_that_works(harness, weights, home, checkpoint, settings):
    """Nothing is suggested for weights that no tokenizer is known for."""
    folder = home / "work/models"
    folder.mkdir()
    (folder / "own.pth").write_bytes(checkpoint())
    pulled = harness("pull", weights[0])
    assert "no tokenizer is known" in pulled.stderr
    assert pulled.stdout.endswith("Next: python -m harness models\n")
    assert "ask --model builtin:quickstart" in harness("models").stdout.splitlines()[-1]


def test_a_tokenizer_that_models_yaml_names_is_listed(harness, home, checkpoint, settings):
    from harness.quickstart import files

    folder = home / "work/models"
    folder.mkdir()
    (folder / "own.pth").write_bytes(checkpoint())
    settings(f"mine: {{weights: {folder}/own.pth, tokenizer: {files.TOKENIZER}}}\n")
    (mine,) = [
        one for one in json.loads(harness("models", "--json").stdout) if one["name"] == "mine"
    ]
    assert mine["tokenizer"] == "yes"


def test_what_is_no_model_is_not_pulled(harness, home):
    (home / "work/README.md").write_text("words", encoding="utf-8")
    assert "README.md" in harness("pull", "README.md", code=2).stderr


def test_a_study_that_still_lacks_a_file_is_not_recommended(harness, study):
    told = harness("pull", study({"weights": "some-3b"}), code=4)
    assert "some-3b (weights of tiny) is missing" in told.stderr
    assert "Put the file into a folder named in $HARNESS_MODELS" in told.stderr
    assert "Next:" not in told.stdout
    assert "nothing to download; no source is given for what is missing." in told.stdout
    again = shlex.join(["run", str(told.args[1])])
    last = f"Next, with the files in place: python -m harness {again}"
    assert told.stderr.splitlines()[-1] == last


def test_a_converted_model_is_asked_under_its_strategy(harness, home, settings):
    from harness.quickstart import files

    made_for = "cpu fp32i8 *2 -> cpu bf16"
    made = home / "work/made.safetensors"
    harness("convert", "--in", files.WEIGHTS, "--out", made, "--strategy", made_for)
    settings(f"mine: {{weights: {made}, tokenizer: {files.TOKENIZER}}}\n")
    asked = f"Next: python -m harness ask --model mine --strategy '{made_for}' "
    for command in (("models",), ("pull", "mine")):
        assert harness(*command).stdout.splitlines()[-1].startswith(asked)
    assert harness("ask", "hi", "--model", "mine", "--strategy", made_for).stdout.strip()


def test_a_conversion_that_cannot_be_asked_here_is_not_suggested(harness, home):
    from harness.quickstart import files

    told = harness("convert", "--in", files.WEIGHTS, "--out", "made", "--strategy", "cpu fp32i8")
    last = "Next: python -m harness vram made.safetensors 'cpu fp32i8'"  # no tokenizer is known
    assert told.stdout.splitlines()[-1] == last


def test_a_tokenizer_of_another_model_is_refused_before_anything_is_read(harness, home, checkpoint):
    from harness.quickstart import files

    (home / "work/own.pth").write_bytes(checkpoint())
    refused = harness("ask", "hi", "--model", "own", "--tokenizer", files.TOKENIZER, code=2)
    assert "do not belong together" in refused.stderr
    assert "Loading" not in refused.stderr
