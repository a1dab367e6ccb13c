"""Strategies that are the same computation: one is measured, and the plan says for which."""

import dataclasses

import pytest

from harness.plan.document import plan_document
from harness.plan.look import look
from harness.plan.order import order
from harness.plan.plan import plan

GIB = 2**30
LISTED = """\
  - cpu fp32
  - cpu fp32i8 *2 -> cpu fp32
  - cuda fp16
  - cuda:1 fp16 *2 -> cpu fp32
  - cuda fp16i8 *2+
"""


@pytest.fixture
def planned(load, machine_with):
    """Plan the study with other strategies; tiny has 4 slots, made-up 13."""

    def go(strategies, *changes, memory=8 * GIB, only=None):
        lines = "".join(f"  - {one}\n" for one in strategies)
        loaded = load((LISTED, lines), *changes)
        seen = dataclasses.replace(look(loaded), packages=frozenset({"torch", "rwkv"}))
        return plan(loaded, machine_with(*([memory] if memory else [])), seen, only=only)

    return go


def same(found, model="tiny", workload="speed"):
    """Strategy -> the strategy that is measured for it, or None."""
    by_id = {one.cell.id: one.cell.strategy for one in found.cells}
    return {
        one.cell.strategy: one.same_as and by_id[one.same_as]
        for one in found.cells
        if (one.cell.model, one.cell.workload) == (model, workload)
    }


def test_no_slots_and_more_than_there_are(planned):
    found = planned(["cuda fp16i8 *{0..6..2} -> cuda fp16", "cuda fp16", "cuda fp16i8"])

    mixed = "cuda fp16i8 *{} -> cuda fp16".format
    assert same(found) == {
        mixed(0): None,
        mixed(2): None,
        mixed(4): None,
        mixed(6): mixed(4),
        "cuda fp16": mixed(0),
        "cuda fp16i8": mixed(4),
    }
    # The larger model has more slots, so fewer of them are the same.
    assert same(found, "made-up")[mixed(6)] is None
    assert {w for w in same(found, workload="answers").values() if w} == {mixed(0), mixed(4)}


def test_the_reference_is_measured_and_others_are_not(planned):
    found = planned(
        ["cpu fp32 *9", "cpu fp32", "cpu fp32 *2 -> cpu fp32"],
        ("exclude:", "reference: cpu fp32\nexclude:"),
    )

    assert same(found) == {
        "cpu fp32 *9": "cpu fp32",
        "cpu fp32": None,
        "cpu fp32 *2 -> cpu fp32": "cpu fp32",
    }
    assert {one.cell.strategy for one in found.running} == {"cpu fp32"}
    assert {cell.strategy for cell, _ in order(found.cells, 0)} == {"cpu fp32"}
    assert found.n_trials == 2 * 3 + 2
    ids = {one["cell"]["id"]: one["same_as"] for one in plan_document(found)["cells"]}
    assert ids["tiny/torch/cpu fp32 *9/1t/speed"] == "tiny/torch/cpu fp32/1t/speed"
    assert ids["tiny/torch/cpu fp32/1t/speed"] is None


def test_names_of_one_device_are_one(planned):
    assert same(planned(["cuda fp16", "cuda:0 fp16"]))["cuda:0 fp16"] == "cuda fp16"


def test_words_that_change_the_numbers_are_not_the_same(planned):
    """A stage of fp16 that gets no slot still halves the activations of every layer."""
    found = planned(["cpu fp32", "cuda fp16 *0 -> cpu fp32"])

    assert set(same(found).values()) == {None}


def test_only_within_engine_threads_batch_and_workload(planned):
    found = planned(
        ["cpu fp32", "cpu fp32 *9"],
        ("strategies:\n", "threads: [1, 2]\nengines: [torch, rwkv]\nstrategies:\n"),
        ("speed: {trials: 3}", "speed: {trials: 3, batch: [1, 4]}"),
    )

    for one in found.cells:
        if one.same_as is not None:
            [other] = [each.cell for each in found.cells if each.cell.id == one.same_as]
            assert other == dataclasses.replace(one.cell, strategy="cpu fp32")
        else:
            assert one.cell.strategy == "cpu fp32" or one.skip_reason is not None


def test_what_cannot_run_says_why_in_each_of_its_cells(planned):
    found = planned(["cuda fp16", "cuda fp16 *99"], memory=None)

    assert set(same(found).values()) == {None}
    assert all("no device cuda here" in one.skip_reason for one in found.cells)


def test_a_name_that_the_engine_does_not_take_keeps_its_reason(planned):
    found = planned(
        ["cpu fp32i8 *0 -> cpu fp32", "cpu fp32"],
        ("strategies:\n", "engines: [rwkv]\nstrategies:\n"),
    )

    assert set(same(found).values()) == {None}
    assert ["'*0'" in (one.skip_reason or "") for one in found.cells[:4]] == [
        True,
        True,
        False,
        False,
    ]


def test_without_layers_each_is_taken_at_its_word(planned, study_folder):
    (study_folder / "tiny.safetensors").unlink()

    found = planned(["cpu fp32", "cpu fp32 *99"])

    assert set(same(found).values()) == {None}
    assert same(found, "made-up")["cpu fp32 *99"] == "cpu fp32"


def test_the_table_names_what_is_measured_for_what(load, capsys):
    from harness.cli.main import main

    path = load((LISTED, "  - cpu fp32\n  - cpu fp32 *99\n")).path
    with pytest.raises(SystemExit):
        main(["plan", str(path)])

    said = capsys.readouterr().out
    [note] = [line for line in said.splitlines() if "the same computation" in line]
    assert note == "[a] = the same computation as 'cpu fp32', measured there"
    assert said.count("= [a]") == 3
    assert "3 of 6 cells will run here" in said


@pytest.mark.parametrize("only", [None, "speed", "answers"])
def test_what_stands_for_most_workloads_is_measured_for_all(planned, only):
    """Also where a part is run: the rest would be measured under the other name."""
    found = planned(
        ["cpu bf16", "cpu fp32 *9", "cpu fp32"],
        ("exclude:\n", "exclude:\n  - {strategy: 'cpu fp32 *9', workload: answers}\n"),
        only=only,
    )

    assert {one.cell.strategy for one in found.running if one.cell.model == "tiny"} == {
        "cpu bf16",
        "cpu fp32",
    }
    # All that is asked of this model is asked under both names, so the first is it.
    made_up = {one.cell.strategy for one in found.running if one.cell.model == "made-up"}
    assert made_up == (set() if only == "answers" else {"cpu bf16", "cpu fp32 *9"})
