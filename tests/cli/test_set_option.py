"""`run` and `plan` with `--set`: another run, that goes on under the same words."""

import json

import pytest

from harness.cli.main import main
from harness.records.store import read_run

ANSWERS = {"vocab": 5, "tokens": [[3], [1, 2]]}


@pytest.fixture
def command(fake_study, tmp_path, without_report, capsys):
    """Run a command on the fake study; returns the exit code, the run folders and what it said."""
    study = fake_study(ANSWERS)

    def go(name, *options):
        kept = ["--results", str(tmp_path / "results"), "--machine", "here"]
        with pytest.raises(SystemExit) as stop:
            main([name, str(study), *(kept if name == "run" else []), *options])
        return (
            stop.value.code,
            sorted((tmp_path / "results" / "here").glob("*")),
            capsys.readouterr(),
        )

    return go


def test_other_words_are_another_run_and_the_same_go_on(command):
    one = ("--set", "workloads.speed.trials=1", "--set", "seed=3")
    code, (folder,), _ = command("run", *one)
    assert (code, len(read_run(folder).records)) == (0, 1)
    assert "# --set workloads.speed.trials=1" in (folder / "study.yaml").read_text("utf-8")

    # The order of the words says nothing; --resume takes a finished run, too.
    assert command("run", "--resume", *one[2:], *one[:2])[:2] == (0, [folder])
    code, folders, _ = command("run", "--resume", "--set", "seed=3")
    assert (code, len(folders)) == (0, 2)  # other trials are the same study, but other words
    code, both, _ = command("run", "--resume")
    [plain] = set(both) - set(folders)
    assert "set" not in json.loads((plain / "facts.json").read_text("utf-8"))["identity"]
    assert command("run", "--resume")[1] == both


def test_plan_shows_what_is_set_and_hands_it_on(command):
    code, _, said = command("plan", "--set", "threads=2", "--set", "seed=4")

    assert code == 0
    assert "Set here: threads=2; seed=4." in said.out
    assert said.out.splitlines()[-1].endswith("study.yaml --set threads=2 --set seed=4")
    assert "/2t/" in json.dumps(json.loads(command("plan", "--json", "--set", "threads=2")[2].out))
    assert json.loads(command("plan", "--json", "--set", "threads=2")[2].out)["set"] == [
        "threads=2"
    ]


def test_a_slip_is_bad_input(command):
    code, folders, said = command("run", "--set", "workloads.speed.trails=2")

    assert (code, folders) == (2, [])
    assert "Did you mean 'trials'?" in said.err


def test_weights_that_were_set_are_known_by_content_and_no_folder_is_kept(
    command, tmp_path, monkeypatch
):
    script = (tmp_path / "script.yaml").read_bytes()
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.yaml").write_bytes(script)
    (tmp_path / "changed.yaml").write_bytes(script + b" ")

    def run(path, *options):
        weights = f"models.scripted.weights={path}"
        code, folders, _ = command("run", "--resume", "--set", weights, *options)
        assert code == 0
        return folders

    [folder] = run(tmp_path / "one/one.yaml", "--trials", "1")
    assert run(tmp_path / "other/other.yaml") == [folder]  # and goes on with its second trial
    monkeypatch.chdir(tmp_path / "other")
    assert run("other.yaml") == [folder]
    found = read_run(folder)
    assert len(found.records) == 2
    assert len({record.key.computation for record in found.records}) == 1
    assert '# --set models.scripted.weights="one.yaml"' in (folder / "study.yaml").read_text()
    assert found.facts["identity"]["set"] == ['models.scripted.weights="file"']
    assert found.study.models["scripted"].weights == "one.yaml"
    for file in folder.rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), file
    both = run(tmp_path / "changed.yaml")
    assert len(both) == 2
    [other] = {read_run(one).records[0].key.computation for one in both if one != folder}
    assert other != found.records[0].key.computation


def test_a_run_whose_words_were_kept_with_paths_goes_on(command, tmp_path):
    (tmp_path / "w.yaml").write_bytes((tmp_path / "script.yaml").read_bytes())
    weights = f"models.scripted.weights={tmp_path}/w.yaml"
    _, [folder], _ = command("run", "--set", weights, "--trials", "1")
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    facts["identity"]["set"] = [f'models.scripted.weights="{tmp_path}/w.yaml"']
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    assert command("run", "--set", weights)[:2] == (0, [folder])
    assert len(read_run(folder).records) == 2


def test_weights_that_are_set_and_missing_leave_no_folder(command, tmp_path):
    command("run", "--set", f"models.more.weights={tmp_path}/far/w.pth", "--set", "threads=2")
    [folder] = (tmp_path / "results/here").glob("*")
    for file in folder.rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), file
