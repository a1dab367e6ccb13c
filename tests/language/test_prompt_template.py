from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadInput
from harness.language.template import clean_question, fill_template

RAVEN = "Bob: {question}\n\nAlice:"


def test_the_question_is_put_in():
    assert fill_template(RAVEN, "Why is the sky blue?") == "Bob: Why is the sky blue?\n\nAlice:"


def test_other_braces_are_left_alone():
    template = '{"role": {0}} {question} {answer} {{x}} %s'
    assert fill_template(template, "Why?") == '{"role": {0}} Why? {answer} {{x}} %s'


def test_every_placeholder_is_filled_and_none_of_the_question():
    assert fill_template("{question}|{question}", "a {question}") == "a {question}|a {question}"


@pytest.mark.parametrize(
    "question, clean",
    [
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a\n\nb", "a\nb"),
        ("a\r\n\r\n\r\nb", "a\nb"),
        ("a\n \t\nb", "a\nb"),
        ("a\n\n    b", "a\n    b"),
        ("\n a \n\n", "a"),
        ("a  b", "a  b"),
    ],
)
def test_newlines_of_a_question(question, clean):
    assert clean_question(question) == clean


@given(st.text(alphabet="ab \t\r\n\x85\u2028"))
def test_a_question_never_ends_its_own_turn(question):
    clean = clean_question(question)
    assert not re.search(r"\n\s*\n", clean)
    assert "\r" not in clean
    assert clean == clean.strip()
    assert clean_question(clean) == clean
    assert re.sub(r"\s", "", clean) == re.sub(r"\s", "", question)


def test_a_template_without_a_place_for_the_question_is_refused():
    with pytest.raises(BadInput, match=r"'Bob: \{q\}' has no \{question\}"):
        fill_template("Bob: {q}", "Why?")


@pytest.mark.parametrize("question", ["", " \n\r\n "])
def test_an_empty_question_is_refused(question):
    with pytest.raises(BadInput, match="empty"):
        fill_template(RAVEN, question)
