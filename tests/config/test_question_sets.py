"""Question files: what is read, what is refused, and the ones that are shipped."""

from pathlib import Path

import pytest

from harness.config.questions import Question, load_questions
from harness.errors import StudyError

CONFIGS = Path(__file__).parents[2] / "configs"
GOOD = """\
questions:
  - id: oslo
    category: facts
    text: "  What is the capital of Norway? "
    pattern: '(?i)\\boslo\\b'
  - id: poem
    text: Write a poem.
"""


def write(tmp_path, text, name="q.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_file(tmp_path):
    oslo, poem = load_questions(write(tmp_path, GOOD))

    assert oslo == Question(
        id="oslo",
        category="facts",
        text="What is the capital of Norway?",
        pattern=r"(?i)\boslo\b",
    )
    assert poem == Question(id="poem", text="Write a poem.")


def test_text_file_has_a_question_per_line(tmp_path):
    path = write(tmp_path, "\ufeffWho?\r\n\n  # Why?  \n", "q.TXT")

    assert load_questions(path) == (
        Question(id="q1", text="Who?"),
        Question(id="q2", text="# Why?"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "questions: [{id: a, text: Who}, {id: a, text: Why}]\n",
        "questions:\n  - &one {id: a, text: Who}\n  - *one\n",
        "questions:\n  - &one {id: a, text: Who}\n  - {<<: *one, text: Why}\n",
    ],
)
def test_an_id_is_given_once_however_it_is_written(tmp_path, text):
    with pytest.raises(StudyError, match=r"questions\[1\]\.id: 'a' is given twice"):
        load_questions(write(tmp_path, text))


def test_right_wrong_and_neither(tmp_path):
    oslo, poem = load_questions(write(tmp_path, GOOD))

    assert oslo.is_right("It is OSLO.") is True
    assert oslo.is_right("Coslow") is False
    assert poem.is_right("Roses are red") is None


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("id: poem", "id: oslo", 6, ["'oslo' is given twice", "line 2"]),
        ("id: poem", "id: a b", 6, ["'a b'", "letters"]),
        ("  - id: poem\n    text", "  - text", 6, ["questions[1].id", "missing"]),
        ("    text: Write a poem.\n", "", 6, ["questions[1].text", "missing"]),
        ("Write a poem.", "' '", 7, ["holds no words"]),
        ("Write a poem.", "", 7, ["nothing is not allowed"]),
        ("Write a poem.", "7", 7, ["7 is not allowed", "text"]),
        ("category:", "kategory:", 3, ["Did you mean 'category'?"]),
        ("(?i)", "(", 5, ["not a regular expression"]),
        ("(?i)", "x(?i)", 5, ["not a regular expression"]),
        ("(?i)\\boslo\\b", "(oslo)?", 5, ["every answer"]),
        ("questions:", "question:", 1, ["Did you mean 'questions'?"]),
    ],
)
def test_bad_file_is_refused(old, new, line, words, tmp_path):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))

    with pytest.raises(StudyError) as caught:
        load_questions(path)

    at_line = [one for one in caught.value.problems if one.startswith(f"{path}:{line}: ")]
    assert any(all(word in one for word in words) for one in at_line), caught.value.problems


def test_all_problems_at_once(tmp_path):
    text = GOOD.replace("category:", "kategory:").replace("(?i)", "(").replace("poem", "oslo", 1)

    with pytest.raises(StudyError) as caught:
        load_questions(write(tmp_path, text))

    assert [one.split(":")[1] for one in caught.value.problems] == ["3", "5", "6"]


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("q.yaml", "questions: []\n", "an empty list is not allowed; allowed: a list of at least"),
        ("q.yaml", "", "the file is empty"),
        ("q.txt", "\n \n", "no question"),
    ],
)
def test_empty_file_is_refused(name, text, words, tmp_path):
    with pytest.raises(StudyError, match=words):
        load_questions(write(tmp_path, text, name))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(StudyError, match="no such file"):
        load_questions(tmp_path / "q.yaml")


# -- the general set -----------------------------------------------------------------------------

# A right and a wrong answer, as a chatty model might word them, for every question with a pattern.
GENERAL_ANSWERS = {
    "water-formula": ("Water is made of hydrogen and oxygen.", "Hydrogen and helium."),
    "red-planet": ("Mars is called the red planet.", "Jupiter."),
    "capital-of-norway": ("Oslo", "Stockholm is the capital."),
    "longest-bone": ("The femur, or thigh bone.", "The humerus."),
    "relativity": ("Albert Einstein did.", "Isaac Newton."),
    "romeo": ("William Shakespeare", "Christopher Marlowe"),
    "wall-falls": ("It fell in November 1989.", "It fell in 1991."),
    "plants-breathe": ("They take in CO2.", "They take in oxygen."),
    "largest-ocean": ("The Pacific Ocean.", "The Atlantic Ocean."),
    "boiling-point": ("Water boils at 100°C.", "At 212 degrees."),
    "ice-in-the-sun": ("Only some water is left.", "The ice cube."),
    "umbrella": ("Take an umbrella.", "Take a hat."),
    "heavier-kilogram": ("Both weigh the same.", "Iron; they do not weigh so much alike."),
    "tallest-of-three": ("Carl is the shortest.", "Ben is the shortest of the three."),
    "day-after-tomorrow": ("It will be Wednesday.", "Tuesday."),
    "key-and-lock": ("You need a key.", "You need a keyboard."),
    "cat-sound": ("A cat says meow.", "A cow says meow."),
    "odd-one-out": ("Hammer", "Cherry does not belong with apple, banana and hammer."),
    "sum-of-two": ("17 plus 26 equals 43.", "It is 143."),
    "product-of-two": ("12 times 11 is 132.", "It is 1320."),
    "apples-left": ("Tom has 9 apples left.", "Tom has 19 apples left."),
    "half-of-ninety": ("Half of 90 is 45.", "Half of 90 is 40."),
    "train-distance": ("It travels 240 kilometres.", "It travels 2400 km."),
    "change-of-ten": ("You get 3 euros back.", "You get 13 euros back."),
    "next-in-row": ("32", "The next number is 24."),
}


def test_general_set_tells_right_from_wrong():
    questions = {one.id: one for one in load_questions(CONFIGS / "questions/general.yaml")}

    judged = {
        name: (questions[name].is_right(right), questions[name].is_right(wrong))
        for name, (right, wrong) in GENERAL_ANSWERS.items()
    }

    assert judged == dict.fromkeys(GENERAL_ANSWERS, (True, False))
    assert {name for name, one in questions.items() if one.pattern} == set(GENERAL_ANSWERS)


def test_general_set_is_broad():
    questions = load_questions(CONFIGS / "questions/general.yaml")

    assert len(questions) >= 24
    assert {one.category for one in questions} == {
        "facts",
        "common sense",
        "arithmetic",
        "writing",
    }
