"""The questions of the shipped model: asked as its corpus asks, answerable, and judged strictly."""

import re
from collections import Counter

import pytest

from harness.config.questions import load_questions
from harness.config.study import Model
from harness.language.template import fill_template
from harness.quickstart import corpus, files

QUESTIONS = load_questions("builtin:quickstart")
FACTS = [one for one in QUESTIONS if one.category not in ("addition", "subtraction")]
SUMS = [one for one in QUESTIONS if one not in FACTS]
WORDS = {"plus": "+", "minus": "-"}


def task_of(question):
    a, sign, b = re.search(r"(\d+) (\S+) (\d+)", question.text).groups()
    return corpus.Sum(int(a), WORDS.get(sign, sign), int(b))


@pytest.fixture(scope="module")
def taught():
    """Every answer the corpus gives to a question of the set, and all answers of its facts."""
    turns = [turn for turn in corpus.write_turns(60_000) if not re.search(r"\d\d", turn.question)]
    asked = {one.text: set() for one in FACTS}
    for turn in turns:
        if turn.question in asked:
            asked[turn.question].add(turn.answer)
    return asked, {turn.answer for turn in turns}


def test_there_are_enough_of_each():
    kinds = Counter(one.category for one in QUESTIONS)

    assert len(QUESTIONS) >= 44
    assert (kinds["addition"], kinds["subtraction"]) == (8, 8)
    # One category per kind of fact in the corpus; a country is asked for in four ways.
    assert set(kinds) >= {
        *("capital", "continent", "language", "country", "mountain", "river", "animal", "colour"),
        *("opposite", "calendar", "planet", "symbol", "date", "maker", "amount", "number", "self"),
    }


def test_operands_of_sums_are_never_in_the_corpus():
    tasks = [task_of(one) for one in SUMS]

    assert set(tasks) <= set(corpus.held_out_sums(500))
    assert {tuple(sorted((task.a, task.b))) for task in tasks} <= corpus.held_out_pairs()
    assert len(set(tasks)) == len(tasks)


def test_sums_are_right_with_the_working_and_wrong_when_off_by_one():
    for one in SUMS:
        task = task_of(one)
        right = corpus.work_out(task)
        result = f"so {task.result}."
        assert right.endswith(result)
        wrong = [right.replace(result, f"so {task.result + off}.") for off in (-10, -1, 1, 10)]
        wrong += [right.replace(result, f"so {task.result}{tail}") for tail in ("0.", "1.", ".5")]
        wrong += [right.replace(result, f"so 1{task.result}."), right.removesuffix(result)]

        assert one.is_right(right)
        assert [answer for answer in wrong if one.is_right(answer)] == []


def test_facts_are_asked_as_the_corpus_asks_and_its_answers_are_right(taught):
    asked, _ = taught

    assert [text for text, answers in asked.items() if not answers] == []
    for one in FACTS:
        assert [answer for answer in asked[one.text] if not one.is_right(answer)] == []


def test_answers_to_other_questions_are_wrong_unless_they_say_the_same(taught):
    asked, answers = taught
    # Longer answers of the corpus that hold the fact, and so are right.
    holding = {
        "capital-france": "Paris",
        "capital-kenya": "Nairobi",
        "capital-peru": "Lima",
        "capital-new-zealand": "Wellington",
        "country-of-tokyo": "Japan",
        "continent-egypt": "in Africa",
        "continent-brazil": "in South America",
        "language-austria": "German",
        "place-matterhorn": "in the Alps",
        "river-nile": "in Africa",
        "legs-spider": "8 legs",
        "legs-snake": "no legs",
        "kind-whale": "is a mammal",
        "food-cow": "eats grass",
        "sentence-bat": "is a mammal that eats insects",
        "colour-snow": "is white",
        "opposite-hot": "is cold",
        "opposite-early": "Late",
        "day-after-friday": "Saturday",
        "month-before-june": "May",
        "days-in-february": "28 days",
        "largest-planet": "Jupiter",
        "third-planet": "Earth",
        "even-or-odd-9": "is odd",
    }
    for one in FACTS:
        fact = holding.get(one.id)
        passing = {answer for answer in answers if one.is_right(answer)} - asked[one.text]
        assert [answer for answer in passing if fact is None or fact not in answer] == []


def test_prompt_is_how_the_corpus_writes_a_turn():
    turn = corpus.Turn("What is 1 + 1?", "1+1=2.")

    assert turn.text().startswith(fill_template(Model(weights=files.BUILTIN).prompt, turn.question))
