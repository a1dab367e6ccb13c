"""Every study in configs/ loads and plans."""

from pathlib import Path

import pytest

from harness.config.load import load_study
from harness.config.study import Sampling
from harness.plan.plan import plan

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_loads_and_plans(path, machine_with):
    loaded = load_study(path)

    planned = plan(loaded, machine_with())

    assert planned.cells
    assert loaded.study.reference == "cpu fp32"


def test_there_are_the_three():
    assert {path.name for path in STUDIES} >= {"quickstart.yaml", "raven.yaml", "starter.yaml"}


def test_quickstart_is_one_file_with_the_package():
    assert load_study(CONFIGS / "quickstart.yaml").sha256 == load_study("builtin:quickstart").sha256
    for path in (CONFIGS / "quickstart.yaml", CONFIGS / "questions/quickstart.yaml"):
        assert path.is_symlink()
        assert not path.readlink().is_absolute()


def test_quickstart_covers_what_it_should(machine_with):
    planned = plan(load_study("builtin:quickstart"), machine_with())

    asked = {one.cell.model for one in planned.cells if one.cell.workload == "answers"}
    timed = {one.cell.model for one in planned.cells if one.cell.workload == "speed"}
    no_device = [one for one in planned.cells if "no device" in (one.skip_reason or "")]
    scored = {one.cell.model for one in planned.cells if one.cell.workload == "quality"}
    assert asked == scored == {"quickstart"}
    assert timed == {"quickstart", "random-169m"}
    assert {one.cell.strategy for one in planned.cells} - {
        one.cell.strategy for one in no_device
    } == {"cpu fp32", "cpu bf16", "cpu fp32i8", "cpu fp32i8 *3 -> cpu fp32"}
    assert no_device
    swept = {one.cell for one in planned.cells if one.cell.workload == "depth"}
    assert {(cell.model, cell.strategy) for cell in swept} == {("quickstart", "cpu fp32")}


def test_another_model_and_its_strategies_extend_the_quickstart(tmp_path, machine_with):
    """The depth sweep and the exclusions of the quickstart are no hindrance to others."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: builtin:quickstart\n"
        "models: {quickstart: null, random-169m: null, mine: {weights: 'random:169m'}}\n"
        "strategies: [cpu bf16, cpu fp32i8]\n"
        "reference: cpu bf16\n"
        "workloads: {answers: null, quality: null}\n",
        encoding="utf-8",
    )
    cells = [one.cell for one in plan(load_study(path), machine_with()).cells]
    assert [(cell.model, cell.strategy, cell.workload) for cell in cells] == [
        ("mine", "cpu bf16", "speed"),
        ("mine", "cpu bf16", "depth"),
        ("mine", "cpu fp32i8", "speed"),
    ]


def test_raven_is_what_was_asked_for():
    loaded = load_study(CONFIGS / "raven.yaml")
    study, answers = loaded.study, loaded.study.workloads.answers

    assert answers is not None
    assert (answers.max_tokens, answers.stop) == (200, ["\n\n"])
    assert answers.sampling == Sampling(presence_penalty=0.2, frequency_penalty=0.2)
    assert {model.prompt for model in loaded.files.values()} == {"Bob: {question}\n\nAlice:"}
    assert len(loaded.questions) >= 20
    assert set(study.strategies) == {
        "cuda fp16",
        "cuda fp16i8",
        "cuda fp16i8 *20 -> cuda fp16",
        "cuda fp16 *20 -> cpu fp32",
        "cuda fp16i8 *20+",
        "cpu fp32",
        "cpu bf16",
        "cpu fp32i8",
    }


def test_every_key_of_the_starter_is_explained():
    """Above each key, or beside it, stands a comment."""
    lines = (CONFIGS / "starter.yaml").read_text(encoding="utf-8").splitlines()
    bare = []
    explained = False
    for line in lines:
        text = line.strip()
        if text.startswith("#"):
            explained = True
        elif not text:
            explained = False
        elif not line.startswith(" ") and "#" not in line and not explained:
            bare.append(line)
    assert bare == []
