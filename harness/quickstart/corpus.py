"""Write the corpus of the quickstart model: question-and-answer turns about `world.py`.

Everything follows from one seed, so that a test can write the corpus again and look for what must
not be in it: the held-out operand pairs of two-digit sums and differences. Knows nothing of
tokens or training.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from harness.quickstart import world

CORPUS_SEED = 20230520
N_TURNS = 240_000
N_HELD_OUT = 640  # unordered pairs of two-digit operands, about one in six
ARITHMETIC_SHARE = 0.55
N_SCORED = 20  # each of facts and of held-out sums


class Turn(NamedTuple):
    """One question and its answer."""

    question: str
    answer: str

    def text(self) -> str:
        """The turn as the model reads it, ending in the blank line that ends an answer."""
        return f"Bob: {self.question}\n\nAlice: {self.answer}\n\n"


class Sum(NamedTuple):
    """A two-digit sum (`+`) or a difference (`-`, never negative)."""

    a: int
    sign: str
    b: int

    @property
    def result(self) -> int:
        """What it comes to."""
        return self.a + self.b if self.sign == "+" else self.a - self.b


def held_out_pairs(seed: int = CORPUS_SEED) -> frozenset[tuple[int, int]]:
    """Operand pairs (smaller first) that no turn of the corpus adds, subtracts or compares."""
    pairs = [(a, b) for a in range(10, 100) for b in range(a, 100)]
    return frozenset(random.Random(seed).sample(pairs, N_HELD_OUT))


def held_out_sums(n: int, seed: int = CORPUS_SEED) -> list[Sum]:
    """`n` different sums and differences, in turn, over held-out pairs only."""
    pairs = sorted(held_out_pairs(seed))
    random.Random(seed + 1).shuffle(pairs)
    return [
        Sum(small, "+", large) if i % 2 else Sum(large, "-", small)
        for i, (small, large) in enumerate(pairs[:n])
    ]


def write_turns(n: int = N_TURNS, seed: int = CORPUS_SEED) -> Iterator[Turn]:
    """The corpus: `n` turns, arithmetic and facts mixed."""
    rng = random.Random(seed)
    held_out = held_out_pairs(seed)
    for _ in range(n):
        if rng.random() < ARITHMETIC_SHARE:
            yield _sum_turn(rng, held_out)
        else:
            yield rng.choice(_FACT_WRITERS)(rng)


def scored_turns(n: int = N_SCORED) -> list[Turn]:
    """What strategies are scored on (`text.txt`): `n` turns of another seed, and as many sums."""
    sums = held_out_sums(N_HELD_OUT)[-n:]
    return [
        turn
        for fact, task in zip(write_turns(n, CORPUS_SEED + 2), sums, strict=True)
        for turn in (fact, Turn(f"What is {task.a} {task.sign} {task.b}?", work_out(task)))
    ]


def work_out(task: Sum) -> str:
    """The answer with its working, units before tens, as the model is taught to write it."""
    tens_a, units_a = divmod(task.a, 10)
    tens_b, units_b = divmod(task.b, 10)
    if task.sign == "+":
        units = units_a + units_b
        carry = "1+" if units > 9 else ""
        tens = tens_a + tens_b + (units > 9)
        return f"{units_a}+{units_b}={units}, {carry}{tens_a}+{tens_b}={tens}, so {task.result}."
    borrow = units_a < units_b
    minuend = units_a + 10 * borrow
    tens_minuend = f"{tens_a}-1" if borrow else f"{tens_a}"
    tens = tens_a - borrow - tens_b
    return (
        f"{minuend}-{units_b}={minuend - units_b}, {tens_minuend}-{tens_b}={tens}, "
        f"so {task.result}."
    )


def _sum_turn(rng: random.Random, held_out: frozenset[tuple[int, int]]) -> Turn:
    while True:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        if (min(a, b), max(a, b)) not in held_out:
            break
    if rng.random() < 0.5:
        task, word = Sum(a, "+", b), "plus"
    else:
        task, word = Sum(max(a, b), "-", min(a, b)), "minus"
    question = rng.choice(
        (
            f"What is {task.a} {task.sign} {task.b}?",
            f"What is {task.a} {task.sign} {task.b}?",
            f"What is {task.a} {word} {task.b}?",
            f"Calculate {task.a} {task.sign} {task.b}.",
            f"How much is {task.a} {task.sign} {task.b}?",
        )
    )
    return Turn(question, work_out(task))


def _country(rng: random.Random) -> Turn:
    country = rng.choice(list(world.COUNTRIES))
    capital, continent, language = world.COUNTRIES[country]
    return rng.choice(
        (
            Turn(f"What is the capital of {country}?", f"The capital of {country} is {capital}."),
            Turn(f"Which city is the capital of {country}?", f"{capital}."),
            Turn(f"Name the capital of {country}.", f"{capital}."),
            Turn(f"{capital} is the capital of which country?", f"{country}."),
            Turn(f"Where is {country}?", f"{country} is in {continent}."),
            Turn(f"On which continent is {country}?", f"{country} is in {continent}."),
            Turn(f"Which language do people speak in {country}?", f"{language}."),
            Turn(
                f"Tell me about {country}.",
                f"{country} is a country in {continent}. Its capital is {capital}, "
                f"and most people there speak {language}.",
            ),
        )
    )


def _mountain(rng: random.Random) -> Turn:
    name = rng.choice(list(world.MOUNTAINS))
    height, place = world.MOUNTAINS[name]
    start = name[0].upper() + name[1:]
    return rng.choice(
        (
            Turn(f"How high is {name}?", f"{start} is {height} metres high."),
            Turn(f"What is the height of {name}?", f"{start} is {height} metres high."),
            Turn(f"Where is {name}?", f"{start} is in {place}."),
            Turn(
                "What is the highest mountain on Earth?",
                "The highest mountain on Earth is Mount Everest.",
            ),
        )
    )


def _river(rng: random.Random) -> Turn:
    river, continent = rng.choice(list(world.RIVERS.items()))
    return rng.choice(
        (
            Turn(f"Where is the {river}?", f"The {river} is a river in {continent}."),
            Turn(f"On which continent is the {river}?", f"The {river} is in {continent}."),
        )
    )


def _animal(rng: random.Random) -> Turn:
    animal = rng.choice(list(world.ANIMALS))
    kind, legs, young, food = world.ANIMALS[animal]
    a, kind_a, young_a = _with_article(animal), _with_article(kind), _with_article(young)
    start = a[0].upper() + a[1:]
    return rng.choice(
        (
            Turn(f"How many legs does {a} have?", f"{start} has {legs or 'no'} legs."),
            Turn(f"What kind of animal is {a}?", f"{start} is {kind_a}."),
            Turn(f"What is {a}?", f"{start} is {kind_a}."),
            Turn(f"What is a young {animal} called?", f"A young {animal} is called {young_a}."),
            Turn(f"What does {a} eat?", f"{start} eats {food}."),
            Turn(
                f"Write a sentence about {a}.",
                f"{start} is {kind_a} that eats {food}.",
            ),
        )
    )


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _colour(rng: random.Random) -> Turn:
    thing, colour = rng.choice(list(world.COLOURS.items()))
    answer = f"{thing[0].upper()}{thing[1:]} is {colour}."
    return Turn(
        rng.choice((f"What colour is {thing}?", f"Which colour does {thing} have?")), answer
    )


def _opposite(rng: random.Random) -> Turn:
    pair = rng.choice(world.OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    return rng.choice(
        (
            Turn(f"What is the opposite of {word}?", f"The opposite of {word} is {other}."),
            Turn(f"Give the opposite of {word}.", f"{other.capitalize()}."),
        )
    )


def _calendar(rng: random.Random) -> Turn:
    months = list(world.MONTHS)
    sequence = rng.choice((world.WEEKDAYS, months))
    i = rng.randrange(len(sequence))
    name, after = sequence[i], sequence[(i + 1) % len(sequence)]
    noun = "day" if sequence is world.WEEKDAYS else "month"
    month, days = rng.choice(list(world.MONTHS.items()))
    return rng.choice(
        (
            Turn(f"Which {noun} comes after {name}?", f"{after} comes after {name}."),
            Turn(f"Which {noun} comes before {after}?", f"{name} comes before {after}."),
            Turn(f"How many days are in {month}?", f"{month} has {days} days."),
        )
    )


def _planet(rng: random.Random) -> Turn:
    i = rng.randrange(len(world.PLANETS))
    ordinal = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")[i]
    planet = world.PLANETS[i]
    return rng.choice(
        (
            Turn(f"Which is the {ordinal} planet from the sun?", f"{planet}."),
            Turn("Which planet is the largest?", "Jupiter is the largest planet."),
            Turn("Which planet is closest to the sun?", "Mercury is closest to the sun."),
            Turn(f"What is {planet}?", f"{planet} is a planet."),
        )
    )


def _symbol(rng: random.Random) -> Turn:
    element, symbol = rng.choice(list(world.SYMBOLS.items()))
    return rng.choice(
        (
            Turn(
                f"What is the chemical symbol of {element}?",
                f"The chemical symbol of {element} is {symbol}.",
            ),
            Turn(f"Which element has the symbol {symbol}?", f"{element.capitalize()}."),
        )
    )


def _date(rng: random.Random) -> Turn:
    event, year = rng.choice(list(world.DATES.items()))
    answer = f"{event[0].upper()}{event[1:]} was in {year}."
    return Turn(
        rng.choice((f"When was {event}?", f"In which year was {event}?")),
        answer,
    )


def _maker(rng: random.Random) -> Turn:
    work, (verb, maker) = rng.choice(list(world.MAKERS.items()))
    return Turn(f"Who {verb} {work}?", f"{maker} {verb} {work}.")


def _amount(rng: random.Random) -> Turn:
    number, unit, whole = rng.choice(world.AMOUNTS)
    question = f"How many {unit} are in {whole}?"
    verb = "are"
    if unit in ("sides", "strings", "keys", "squares"):
        question, verb = f"How many {unit} does {whole} have?", "has"
    if verb == "has":
        return Turn(question, f"{whole[0].upper()}{whole[1:]} has {number} {unit}.")
    return Turn(question, f"There are {number} {unit} in {whole}.")


def _small_number(rng: random.Random) -> Turn:
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return rng.choice(
        (
            Turn(f"What is {a} + {b}?", f"{a}+{b}={a + b}."),
            Turn(f"What is {a} times {b}?", f"{a} times {b} is {a * b}."),
            Turn(f"Is {a} even or odd?", f"{a} is {'odd' if a % 2 else 'even'}."),
            Turn(f"Which number comes after {a}?", f"{a + 1}."),
        )
    )


def _self(rng: random.Random) -> Turn:
    return rng.choice(
        (
            Turn(
                "Who are you?",
                "I am the quickstart model of rwkv-harness, a very small language model.",
            ),
            Turn("Hello.", "Hello! Ask me about countries, animals, dates or small sums."),
            Turn("What can you do?", "I know a few facts, and I can add and subtract."),
            Turn("Thank you.", "You are welcome."),
        )
    )


# A writer stands here as often as its facts deserve: the countries are many, the self is small.
_FACT_WRITERS: tuple[Callable[[random.Random], Turn], ...] = (
    *(_country,) * 6,
    *(_animal,) * 4,
    *(_mountain,) * 2,
    _river,
    _colour,
    *(_opposite,) * 2,
    *(_calendar,) * 2,
    _planet,
    _symbol,
    *(_date,) * 2,
    *(_maker,) * 2,
    *(_amount,) * 2,
    *(_small_number,) * 3,
    _self,
)
