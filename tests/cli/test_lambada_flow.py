"""LAMBADA on the command line: found, missed, pulled, scored, and what a run is known by."""

import json

import pytest
import yaml

from harness.cli.main import main
from harness.config import lambada_file
from harness.config.load import load_study
from harness.machine import probe_machine
from harness.measure.bench import locked_sources
from harness.measure.identity import ModelIdentity, record_key
from harness.plan import foresee_time
from harness.plan.matrix import cells
from harness.plan.missing import missing_files
from harness.plan.plan import plan
from harness.records.store import read_run
from harness.sources.lock import Locked, write_lock

TEXTS = ["The sum of 7 and 8 is 15", "What is the sum of 1 and 1"]
STUDY = {
    "name": "words",
    "models": {"m": {"weights": "builtin:quickstart"}},
    "strategies": ["cpu fp32"],
    "workloads": {"quality": {"max_tokens": 8, "lambada": "words.jsonl"}},
    "noise": False,
}
HUB = "hf://owner/words/test.jsonl"


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("HARNESS_MODELS", "HARNESS_CACHE_BUDGET", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(home):
    def write(**quality):
        workloads = {"quality": {**STUDY["workloads"]["quality"], **quality}}
        (home / "study.yaml").write_text(yaml.safe_dump({**STUDY, "workloads": workloads}))
        return home / "study.yaml"

    return write


def words(folder, texts=TEXTS, name="words.jsonl"):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / name).write_text(lines, encoding="utf-8")
    return folder / name


def in_hub(home):
    """The hub's file, as its cache has it."""
    path = home / "hub/hub/models--owner--words/snapshots/main/test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"text": TEXTS[0]}), encoding="utf-8")
    return path


def run(study, *options):
    with pytest.raises(SystemExit) as stop:
        main(["run", str(study), "--machine", "here", *options])
    return stop.value.code


def key(study):
    loaded = load_study(study)
    identity = ModelIdentity(weights_sha256="w", tokenizer_sha256="t")
    return record_key(loaded, cells(loaded.study)[0], identity, None, []).presentation


def test_a_run_scores_what_it_has_and_says_what_it_lacks(study, home, without_report, capfd):
    assert run(study()) == 0
    told = capfd.readouterr().err
    assert "words.jsonl (lambada of m) is missing" in told
    assert "hf://" in told
    words(home)
    assert run(study(), "--fresh") == 0
    assert "missing" not in capfd.readouterr().err
    runs = [read_run(folder) for folder in (home / "results/here").iterdir()]
    having, lacking = sorted(
        (run.records[0].quality for run in runs), key=lambda q: bool(q.missing)
    )
    for quality in (lacking, having):
        assert len(quality.text.kl) == 8
    assert lacking.lambada is None
    assert lacking.missing == {"lambada": "words.jsonl is not here"}
    assert having.missing == {}
    assert len(having.lambada.right) == len(TEXTS)


def test_its_content_is_part_of_what_a_run_is_known_by_wherever_it_lies(study, home):
    def of(**quality):
        path = study(**quality)
        return load_study(path).sha256, key(path)

    words(home)
    base = of()
    (home / "there").mkdir()
    words(home / "there", name="other.jsonl")
    assert of(lambada="there/other.jsonl") == base
    words(home, TEXTS[:1])
    others = [of(), of(lambada_documents=1), of(lambada=None)]
    for at in range(2):
        assert len({base[at], *(one[at] for one in others)}) == 4


def test_of_a_hub_it_is_the_content_too(study, home):
    asked = study(lambada=HUB)
    unknown = load_study(asked).lambada_content
    assert unknown == HUB
    sha256 = "ab" * 32
    write_lock(asked, {HUB: Locked(sha256=sha256, size=1)})
    assert load_study(asked).lambada_content == sha256  # as soon as it was pulled once
    (home / "study.lock.json").unlink()
    content = in_hub(home).read_bytes()
    loaded = load_study(asked)
    assert loaded.lambada_content not in (unknown, sha256)
    locked = locked_sources(loaded, {})
    assert locked[HUB].sha256 == loaded.lambada_content
    assert locked[HUB].size == len(content)


def test_a_file_of_the_hub_that_is_not_here_can_be_pulled(study, home):
    (file,) = missing_files(load_study(study(lambada=HUB)))
    assert (file.kind, file.models, file.shown) == ("lambada", ("m",), HUB)
    assert "pull" in file.command
    in_hub(home)
    assert missing_files(load_study(study(lambada=HUB))) == ()


def test_a_file_of_one_s_own_is_put_there_or_named(study):
    (file,) = missing_files(load_study(study()))
    assert file.command is None
    assert "https://" in file.how


def test_other_workloads_do_not_ask_for_it(home):
    document = {**STUDY, "workloads": {**STUDY["workloads"], "speed": {"prompt_tokens": 4}}}
    (home / "study.yaml").write_text(yaml.safe_dump(document))
    loaded, machine = load_study(home / "study.yaml"), probe_machine()
    assert plan(loaded, machine, only="speed").missing == ()
    (file,) = plan(loaded, machine).missing
    assert file.kind == "lambada"


def test_plan_reads_the_file_once(study, home, monkeypatch):
    words(home)
    known, read = [], []
    read_texts, foresee = lambada_file.read_texts, foresee_time.foresee_time
    monkeypatch.setattr(
        lambada_file, "read_texts", lambda *given: read.append(given) or read_texts(*given)
    )
    monkeypatch.setattr(
        foresee_time, "foresee_time", lambda *given: known.append(given[3]) or foresee(*given)
    )
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(study())])
    assert stop.value.code == 0
    assert [one.lambada_documents for one in known] == [len(TEXTS)]
    assert len(read) == 1


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_file_of_another_form_is_refused_before_anything_is_measured(
    command, study, home, capsys
):
    words(home, [*TEXTS, "word"])
    with pytest.raises(SystemExit) as stop:
        main([command, str(study())])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "workloads.quality.lambada: words.jsonl:3: the text has no last word" in told
    assert not (home / "results").exists()


@pytest.mark.parametrize("text", ["ftp://x/y.jsonl", "builtin:quickstart", "hf://a", "random:3b"])
def test_what_cannot_be_understood_is_said_with_its_line(text, study, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(study(lambada=text))])
    assert stop.value.code == 2
    assert "workloads.quality.lambada" in capsys.readouterr().err
