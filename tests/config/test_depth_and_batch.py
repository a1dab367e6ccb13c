"""Depths and batch sizes in a study: how they are written, and what is wrong with them."""

from __future__ import annotations

import pytest

from harness.config.depth_settings import n_tokens
from harness.config.load import load_study
from harness.config.matrix import study_cells
from harness.errors import StudyError

SPEED = "  speed:\n    prompt_tokens: [8, 16]\n    trials: 2\n"


@pytest.fixture
def loaded(write_study, good_study):
    """The good study with other lines in place of those of `speed`."""

    def load(lines, more=""):
        assert SPEED in good_study
        return load_study(write_study(good_study.replace(SPEED, lines) + more))

    return load


def problems(load, lines, more=""):
    with pytest.raises(StudyError) as caught:
        load(lines, more)
    return "\n".join(caught.value.problems)


def test_a_depth_is_a_number_or_thousands(loaded):
    depth = loaded("  depth:\n    at: [16k, 0, 512]\n").study.workloads.depth
    assert depth.depths == (0, 512, 16000)
    assert (depth.generate_tokens, depth.passes, depth.trials) == (32, 3, 3)
    assert loaded("  depth: {}\n").study.workloads.depth.depths == (0, 1000, 4000, 16000)
    assert (n_tokens(7), n_tokens("7k")) == (7, 7000)


@pytest.mark.parametrize(
    "at, said",
    [
        ("[4K]", "'4K'"),
        ("[1.5k]", "'1.5k'"),
        ("['1k\n']", "is not allowed"),
        ("[-1]", "-1"),
        ("[1001k]", "'1001k'"),
        ("[]", "at least one"),
        ("[0, 1000, 1k]", "'1k' is the same as at[1]"),
        ("[true]", "True"),
    ],
)
def test_what_is_no_depth_is_refused_where_it_stands(at, said, loaded):
    found = problems(loaded, f"  depth:\n    at: {at}\n")
    assert "workloads.depth.at" in found
    assert said.lower() in found.lower()


def test_depth_of_the_reference_alone_leaves_the_others_out(loaded):
    study = loaded("  depth:\n    strategies: reference\n").study
    swept = [cell for cell in study_cells(study) if cell.workload == "depth"]
    assert {cell.model for cell in swept} == {"tiny", "made-up"}
    assert {cell.strategy for cell in swept} == {"cpu fp32"}
    every = loaded("  depth: {}\n").study
    assert len([cell for cell in study_cells(every) if cell.workload == "depth"]) == 4


def test_a_cell_of_another_strategy_may_be_included_in_the_depths_of_the_reference(loaded):
    cell = "{model: tiny, strategy: cuda fp16i8 *20 -> cpu fp32, workload: depth}"
    study = loaded("  depth:\n    strategies: reference\n", f"include:\n  - {cell}\n").study
    assert len([cell for cell in study_cells(study) if cell.workload == "depth"]) == 3


def test_all_strategies_are_what_was_meant_before_there_was_a_choice(loaded):
    plain, every, one = (
        loaded(f"  depth: {settings}\n").sha256
        for settings in ("{}", "{strategies: all}", "{strategies: reference}")
    )
    assert plain == every != one


def test_an_empty_depth_says_how_to_write_its_defaults(loaded):
    assert "'depth: {}'" in problems(loaded, "  depth:\n")


def test_depths_and_batches_make_another_study_and_more_trials_do_not(loaded):
    def sha256(lines, more=""):
        return loaded(lines, more).sha256

    depth = "  depth: {at: [0, 1k]}\n"
    assert sha256(depth) == sha256("  depth: {at: [1000, 0], trials: 9}\n")
    assert sha256(depth) != sha256("  depth: {at: [0, 2k]}\n")
    assert sha256("  speed: {batch: 1}\n") != sha256("  speed: {batch: [1, 4]}\n")


def test_batch_is_one_size_or_several(loaded):
    assert loaded("  speed: {batch: 4}\n").study.workloads.speed.batch_sizes == (4,)
    assert loaded("  speed: {batch: [16, 1]}\n").study.workloads.speed.batch_sizes == (16, 1)
    assert loaded("  speed: {}\n").study.workloads.speed.batch_sizes == (1,)


@pytest.mark.parametrize(
    "lines, more, said",
    [
        ("  speed: {batch: [4, 4]}\n", "", "speed.batch[1]: '4' is given twice"),
        ("  speed: {batch: []}\n", "", "at least one"),
        ("  speed: {batch: 0}\n", "", "speed.batch"),
        (
            "  speed: {batch: [1, 4]}\n",
            "include: [{model: tiny, strategy: cpu bf16, workload: answers, batch: 4}]\n",
            "the workload 'answers' runs one at a time",
        ),
        (
            "  speed: {batch: [1, 4]}\n",
            "include: [{model: tiny, strategy: cpu fp32, workload: speed, batch: 4}]\n",
            "in the study already",
        ),
    ],
)
def test_what_is_wrong_with_batches_is_said(lines, more, said, loaded):
    assert said in problems(loaded, lines, more)


def test_a_batch_that_is_not_there_cannot_be_excluded(write_study, good_study):
    text = good_study.replace("  - {model: made-up, w", "  - {batch: 8}\n  - {model: made-up, w")
    with pytest.raises(StudyError, match=r"'8' is not among the batches .* Allowed: 1"):
        load_study(write_study(text))
