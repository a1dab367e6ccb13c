from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import BadInput
from harness.language.stopping import StopMatcher, StopRules

STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3)


def cut(text, places):
    """`text` in pieces, cut at `places`."""
    edges = sorted({min(p, len(text)) for p in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(edges)]


def run(stops, pieces):
    matcher = StopMatcher(stops)
    certain = [matcher.push(piece) for piece in pieces]
    return [*certain, matcher.finish()], matcher.found


def first_stop_ref(stops, text):
    """What a reader sees who looks after every character whether the text ends in a stop string."""
    for n in range(len(text) + 1):
        ends = [s for s in stops if text[:n].endswith(s)]
        if ends:
            stop = max(ends, key=len)
            return text[: n - len(stop)], stop
    return text, None


@given(stops=STOPS, text=st.text(alphabet="ab\n", max_size=12), places=st.sets(st.integers(0, 12)))
@example(stops=["aab"], text="aaab", places={1, 2, 3})  # a beginning that holds a beginning
def test_any_cut_gives_what_the_reference_gives(stops, text, places):
    pieces, found = run(stops, cut(text, places))
    assert ("".join(pieces), found) == first_stop_ref(stops, text)


@given(stops=STOPS, text=st.text(alphabet="ab\n", max_size=12))
def test_what_came_through_is_never_taken_back_nor_held_without_need(stops, text):
    matcher = StopMatcher(stops)
    given_out = ""
    for n, character in enumerate(text, start=1):
        given_out += matcher.push(character)
        if matcher.found:
            break
        held = text[len(given_out) : n]
        assert given_out + held == text[:n]
        assert held == "" or any(s.startswith(held) for s in stops)


def test_the_beginning_of_a_stop_string_is_held_back():
    assert run(["\n\n"], ["a\n", "b\n", "\nc"]) == (["a", "\nb", "", ""], "\n\n")


def test_a_beginning_that_does_not_go_on_comes_out_at_the_end():
    assert run(["\n\n"], ["a\n"]) == (["a", "\n"], None)


def test_nothing_comes_through_after_the_stop():
    matcher = StopMatcher(["b"])
    assert matcher.push("ab") == "a"
    assert matcher.push("c") == ""
    assert matcher.finish() == ""


def test_an_empty_stop_string_is_refused():
    with pytest.raises(BadInput, match="empty"):
        StopRules(strings=("\n\n", ""))
