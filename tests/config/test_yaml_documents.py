"""YAML as a tree with lines."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.document import Source, key_text, parse_yaml, plain

SOURCE = Source(Path("a.yaml"), "a.yaml")
# No surrogates: they are no text in any encoding.
TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=0xFFFD, blacklist_categories=["Cs"]), max_size=12
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def read(text):
    problems = []
    node = parse_yaml(text, SOURCE, problems)
    assert problems == []
    assert node is not None
    return node


@settings(deadline=None)
@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), st.booleans())
def test_what_yaml_writes_is_read_back(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow)

    assert plain(read(text)) == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("2023-05-20", "2023-05-20"),  # not a date object: JSON has none
        ("1e3", "1e3"),
        ("1.0e+3", 1000.0),
        ("~", None),
        ("yes", True),
        ("'yes'", "yes"),
        ("0x10", 16),
    ],
)
def test_scalars(text, value):
    got = plain(read(f"key: {text}\n"))["key"]

    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("010", "base 8 or 60"),
        ("-0_7", "base 8 or 60"),
        ("1:30", "base 8 or 60"),
        ("1:30.5", "base 8 or 60"),
        ("!!python/tuple [a]", "tag"),
        ("!x {a: b}", "tag"),
        ("!!str 5", "tag"),
        ("0x" + "f" * 5000, "not a number that can be used"),
        ("9" * 5000, "not a number that can be used"),
        (r'"a\0b"', r"'a\x00b' holds U+0000 (NUL)"),
        (r'"\uD800"', r"'\ud800' holds half of a surrogate pair"),
        (r'{"\uDC00": a}', "half of a surrogate pair"),
        (r'{? !x "\uDC00" : a}', "not read as text"),
    ],
)
def test_what_would_be_guessed_is_refused(text, words):
    problems = []

    parse_yaml(f"a: b\nkey: {text}\n", SOURCE, problems)

    (problem,) = problems
    assert (problem.line, problem.key.split(".")[0]) == (2, "key")
    assert words in problem.text
    assert len(str(problem)) < 250
    assert str(problem).encode()


def test_pairs_of_surrogates_are_one_character():
    assert plain(read(r'"\ud83d\ude00": "\ud83d\ude00"')) == {"\U0001f600": "\U0001f600"}


def test_lines_are_those_of_the_keys():
    node = read("a:\n\n  b: 1\n  c: [x,\n      y]\n")

    lines = {key: node.find(key).line for key in [("a",), ("a", "b"), ("a", "c"), ("a", "c", 1)]}

    assert list(lines.values()) == [1, 3, 4, 5]
    assert node.find(("a", "nothing", "below")).line == 1


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    problems = []

    parse_yaml("\n".join(lines), SOURCE, problems)

    assert "multiply" in problems[0].text


def test_key_text():
    assert key_text(("include", 0, "model")) == "include[0].model"
