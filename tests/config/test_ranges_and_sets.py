"""Strategies that stand for several: ranges, named sets, and both in selectors."""

import pytest

from harness.config.load import load_study
from harness.errors import StudyError

LISTED = "  - cpu fp32\n  - cuda fp16i8 *20 -> cpu fp32\n"


@pytest.fixture
def strategies(write_study, good_study):
    """Load the good study with other strategies and more keys; returns what it then has."""

    def load(lines, more=""):
        assert LISTED in good_study
        text = good_study.replace(LISTED, "".join(f"  - {line}\n" for line in lines)) + more
        return load_study(write_study(text)).study.strategies

    return load


@pytest.fixture
def problems(write_study, good_study):
    def problems(lines, more="", study=None):
        text = (study or good_study).replace(LISTED, "".join(f"  - {line}\n" for line in lines))
        with pytest.raises(StudyError) as caught:
            load_study(write_study(text + more))
        return [text.partition("study.yaml:")[2] for text in caught.value.problems]

    return problems


@pytest.mark.parametrize(
    "written, counts",
    [
        ("{0..8..4}", [0, 4, 8]),
        ("{0..9..4}", [0, 4, 8]),  # the end belongs to it only where a step leads there
        ("{3..5}", [3, 4, 5]),
        ("{7..7}", [7]),
        ("{0..199}", range(200)),
    ],
)
def test_a_range_stands_for_each_of_its_numbers(written, counts, strategies):
    assert strategies(["cpu fp32", f"cuda fp16i8 *{written} -> cuda fp16"]) == [
        "cpu fp32",
        *(f"cuda fp16i8 *{n} -> cuda fp16" for n in counts),
    ]


def test_two_ranges_give_their_product_the_last_counting_fastest(strategies):
    assert strategies(["cpu fp32", "cuda:{0..1} fp16 *{2..4..2} -> cpu fp32"]) == [
        "cpu fp32",
        "cuda:0 fp16 *2 -> cpu fp32",
        "cuda:0 fp16 *4 -> cpu fp32",
        "cuda:1 fp16 *2 -> cpu fp32",
        "cuda:1 fp16 *4 -> cpu fp32",
    ]


def test_a_set_stands_for_its_strategies_and_for_those_of_its_sets(strategies):
    sets = "sets:\n  int8: ['cpu fp32i8 *{1..2}', cpu fp32i8]\n  all: ['@int8', cpu bf16]\n"

    assert strategies(["cpu fp32", "'@all'"], sets) == [
        "cpu fp32",
        "cpu fp32i8 *1",
        "cpu fp32i8 *2",
        "cpu fp32i8",
        "cpu bf16",
    ]


def test_what_several_bring_is_there_once_where_it_came_first(strategies):
    sets = "sets: {a: [cpu bf16, cpu fp32 *2], b: [cpu fp32 *2, cpu fp32, cpu bf16]}\n"

    assert strategies(["cpu fp32 *{1..2}", "cpu fp32", "'@a'", "'@b'", "cpu fp32 *1"], sets) == [
        "cpu fp32 *1",
        "cpu fp32 *2",
        "cpu fp32",
        "cpu bf16",
    ]


def test_the_same_written_out_is_the_same_study(write_study, good_study):
    ranged = (
        good_study.replace(LISTED, "  - cpu fp32\n  - '@i'\n")
        + "sets: {i: ['cpu fp32i8 *{1..3}']}\n"
    )
    lines = "".join(f"  - cpu fp32i8 *{n}\n" for n in (1, 2, 3))

    found = load_study(write_study(ranged))
    assert (
        found.sha256
        == load_study(write_study(good_study.replace(LISTED, f"  - cpu fp32\n{lines}"))).sha256
    )
    assert found.text == ranged  # what is kept for people is as they wrote it


# name: (the third strategy, more keys, line, words)
SLIPS = {
    "empty": ("cpu fp32 *{8..4}", "", 12, ["strategies[2]", "{8..4} is empty", "8 is more than 4"]),
    "no step": ("cpu fp32 *{0..8..0}", "", 12, ["a step of 0"]),
    "absurd": ("cpu fp32 *{0..200}", "", 12, ["has 201 numbers", "at most 200", "{0..200..2}"]),
    "absurd product": ("cpu fp32 *{0..14} -> cpu bf16 *{0..14}", "", 12, ["225 strategies"]),
    "no range": ("cpu fp32 *{0-8}", "", 12, ["'{0-8}' is no range", "{FIRST..LAST..STEP}"]),
    "one brace": ("cpu fp32 *{0..8", "", 12, ["a brace without its other"]),
    "bad in each": ("cpu fp23 *{0..8}", "", 12, ["strategies[2]", "'cpu fp23 *0'"]),
    "no sets": ("'@int8'", "", 12, ["strategies[2]", "this study has no sets", "sets: {int8:"]),
    "unknown set": (
        "'@in8'",
        "sets: {int8: [cpu fp32i8], half: [cpu bf16]}\n",
        12,
        ["'@in8'", "Did you mean '@int8'? Allowed: @int8, @half."],
    ),
    "unquoted": ("@int8", "", 12, ["cannot begin with '@'", "in quotes"]),
    "circle": (
        "'@a'",
        "sets:\n  a: [cpu bf16, '@b']\n  b: ['@a']\n",
        27,
        ["sets.a[1]", "goes in a circle: @b -> @a -> @b."],
    ),
    "bad in a set that nothing names": (
        "cpu bf16",
        "sets:\n  half:\n    - cpu fp16\n    - cpu fp61\n",
        29,
        ["sets.half[1]", "'cpu fp61'"],
    ),
    "bad in a set": ("'@half'", "sets:\n  half: [cpu fp61]\n", 27, ["sets.half[0]", "'cpu fp61'"]),
    "name of a set": ("cpu bf16", "sets: {'a b': [cpu bf16]}\n", 26, ["sets.a b", "is no name"]),
    "empty set": ("cpu bf16", "sets: {none: []}\n", 26, ["sets.none", "an empty list"]),
}


@pytest.mark.parametrize("name", SLIPS)
def test_slips_name_line_and_remedy(name, problems):
    strategy, more, line, words = SLIPS[name]

    found = problems(["cpu fp32", "cuda fp16", strategy], more)

    [told] = [one for one in found if all(word in one for word in words)]
    assert told.startswith(f"{line}: ")


def test_later_problems_keep_the_number_that_was_written(problems):
    sets = "sets: {i: ['cpu fp32i8 *{1..3}']}\n"

    found = problems(["'@i'", "cpu bf16 *{1..9}", "cpu fp32", "cpu fp32"], sets)

    assert found == ["13: strategies[3]: 'cpu fp32' is the same as strategies[2]."]


def test_selectors_take_ranges_and_sets(write_study, good_study):
    text = good_study.replace(LISTED, "  - cpu fp32\n  - '@int8'\n").replace(
        "  - {model: made-up, workload: answers}\n",
        "  - {model: made-up, workload: answers}\n"
        "  - {model: tiny, strategy: 'cpu fp32i8 *{0..9..3}', workload: speed}\n"
        "  - {strategy: '@int8', workload: answers}\n",
    )
    more = (
        "sets: {int8: ['cpu fp32i8 *{3..4}'], half: [cpu bf16, cuda fp16]}\n"
        "include: [{model: tiny, strategy: '@half', workload: speed}]\n"
    )

    study = load_study(write_study(text + more)).study

    # Of a selector's range, only what the study has; an addition brings all of its own.
    assert [(one.strategy, one.workload) for one in study.exclude[1:]] == [
        ("cpu fp32i8 *3", "speed"),
        ("cpu fp32i8 *3", "answers"),
        ("cpu fp32i8 *4", "answers"),
    ]
    assert [one.strategy for one in study.include] == ["cpu bf16", "cuda fp16"]


def test_a_selector_of_nothing_is_told_where_it_stands(problems, good_study):
    study = good_study.replace(
        "workload: answers}\n",
        "workload: answers}\n  - {strategy: 'cpu bf16 *{1..3}'}\n  - {strategy: cuda fp16 *7}\n",
    )

    found = problems(
        ["cpu fp32"],
        "include: [{model: tony, strategy: '@a', workload: speed}]\n"
        "sets: {a: ['cpu fp32 *{1..3}']}\n",
        study,
    )

    assert [one.split("'")[0] for one in found] == [
        "23: exclude[1].strategy: ",
        "24: exclude[2].strategy: ",
        "26: include[0].model: ",
    ]


def test_a_base_brings_its_sets(write_study, good_study):
    write_study(good_study + "sets: {int8: [cpu fp32i8], half: [cpu bf16]}\n", "base.yaml")
    child = (
        "extends: base.yaml\nstrategies: ['@int8', '@half', cpu fp32]\nsets: {half: [cuda fp16]}\n"
    )

    assert load_study(write_study(child)).study.strategies == [
        "cpu fp32i8",
        "cuda fp16",
        "cpu fp32",
    ]


def test_sets_of_sets_of_sets_stay_small(strategies):
    names = [f"s{n}" for n in range(40)]
    lines = [
        f"  {one}: ['@{other}', '@{other}']\n" for one, other in zip(names[1:], names, strict=False)
    ]

    assert strategies(["cpu fp32", "'@s39'"], f"sets:\n  s0: [cpu bf16]\n{''.join(lines)}") == [
        "cpu fp32",
        "cpu bf16",
    ]
