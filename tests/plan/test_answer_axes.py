"""Samplings and prompts as axes of `answers`: more answers, no more speeds."""

import dataclasses

import pytest

from harness.config.load import load_study
from harness.config.study import Sampling
from harness.errors import StudyError
from harness.measure.identity import identify_model, record_key
from harness.measure.trial import _job
from harness.plan.document import plan_document
from harness.plan.look import look
from harness.plan.matrix import cells
from harness.plan.plan import plan

ANSWERS = "answers: {questions: questions.txt}"
NAMED = (
    "answers: {questions: questions.txt, sampling: {greedy: {}, warm: {temperature: 1, seed: 3}}}"
)
TOKENIZER = "    tokenizer: tokenizer.json\n"
PROMPTS = f'{TOKENIZER}    prompt: {{bob: "Bob: {{question}}", q: "Q: {{question}}"}}\n'


def of(loaded, workload):
    return [one for one in cells(loaded.study) if one.workload == workload and one.model == "tiny"]


def test_they_multiply_answers_and_nothing_else(load):
    plain, both = load(), load((ANSWERS, f"{NAMED}\n  quality: {{}}"), (TOKENIZER, PROMPTS))

    assert of(both, "speed") == of(plain, "speed")
    assert [one.id for one in of(both, "answers")[:4]] == [
        "tiny/torch/cpu fp32/1t/answers/greedy/bob",
        "tiny/torch/cpu fp32/1t/answers/greedy/q",
        "tiny/torch/cpu fp32/1t/answers/warm/bob",
        "tiny/torch/cpu fp32/1t/answers/warm/q",
    ]
    assert len(of(both, "answers")) == 4 * len(of(plain, "answers"))
    # Quality scores the first ones' answers.
    quality = of(both, "quality")[0]
    assert (quality.id, quality.sampling, quality.prompt) == (
        "tiny/torch/cpu fp32/1t/quality",
        "greedy",
        "bob",
    )


def test_a_single_name_is_kept_and_stands_in_no_id(load):
    named = load((ANSWERS, "answers: {questions: questions.txt, sampling: {warm: {top_k: 2}}}"))

    [first, *_] = of(named, "answers")
    assert (first.id, first.sampling) == ("tiny/torch/cpu fp32/1t/answers", "warm")
    assert plan_cell(named, first)["sampling"] == "warm"
    assert named.study.workloads.answers.sampling == Sampling(top_k=2)


def plan_cell(loaded, cell):
    from tests.plan.conftest import make_machine

    seen = dataclasses.replace(look(loaded), packages=frozenset({"torch"}))
    planned = plan(loaded, make_machine(), seen)
    [found] = [o["cell"] for o in plan_document(planned)["cells"] if o["cell"]["id"] == cell.id]
    return found


def test_each_cell_is_asked_its_way(load):
    loaded = load((ANSWERS, NAMED), (TOKENIZER, PROMPTS))

    jobs = [_job(cell, loaded) for cell in of(loaded, "answers")[:4]]

    assert [(job.prompt, job.answers.sampling.temperature) for job in jobs] == [
        ("Bob: {question}", 0),
        ("Q: {question}", 0),
        ("Bob: {question}", 1),
        ("Q: {question}", 1),
    ]


def test_names_are_no_part_of_a_key_and_what_they_stand_for_is(load):
    warm = "answers: {questions: questions.txt, sampling: {temperature: 1, seed: 3}}"
    keys = {}
    for name, loaded in {"plain": load((ANSWERS, warm)), "named": load((ANSWERS, NAMED))}.items():
        identity = identify_model(loaded, "tiny")
        for cell in of(loaded, "answers")[:2] if name == "named" else of(loaded, "answers")[:1]:
            keys[name, cell.sampling] = record_key(loaded, cell, identity, None, [])

    assert keys["named", "warm"] == keys["plain", None]
    assert keys["named", "greedy"].computation == keys["named", "warm"].computation
    assert keys["named", "greedy"].presentation != keys["named", "warm"].presentation


@pytest.mark.parametrize(
    "sampling, words",
    [
        ("{warm: {temprature: 1}}", ["sampling.warm.temprature", "Did you mean 'temperature'?"]),
        ("{warm: {top_p: 2}}", ["sampling.warm.top_p", "from 0 to 1"]),
        ("{top_p: 0.5, warm: {}}", ["sampling.warm: is not a key here"]),
        ("{top_p: {}}", ["'top_p' is a setting of one sampling"]),
        ("{a/b: {}}", ["'a/b' is no name"]),
        ("3", ["answers.sampling: 3 is not allowed"]),
    ],
)
def test_slips_in_samplings(sampling, words, load):
    with pytest.raises(StudyError) as caught:
        load((ANSWERS, f"answers: {{questions: questions.txt, sampling: {sampling}}}"))

    [told] = caught.value.problems
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("{a: 'no place'}", ["tiny.prompt.a: has no {question}"]),
        ("{'a/b': '{question}'}", ["tiny.prompt.a/b: 'a/b' is no name"]),
        ("{}", ["tiny.prompt: an empty mapping"]),
    ],
)
def test_slips_in_prompts(prompt, words, load):
    with pytest.raises(StudyError) as caught:
        load((TOKENIZER, f"{TOKENIZER}    prompt: {prompt}\n"))

    [told] = caught.value.problems
    assert all(word in told for word in words), told


def test_one_replaces_several_and_the_other_way_round(load):
    base = load((ANSWERS, NAMED)).path
    child = base.with_name("child.yaml")

    def samplings(said):
        child.write_text(
            f"extends: planned.yaml\nworkloads: {{answers: {{sampling: {said}}}}}\n", "utf-8"
        )
        answers = load_study(child).study.workloads.answers
        return answers.sampling, list(answers.samplings)

    assert samplings("{top_k: 3}") == (Sampling(top_k=3), [])
    assert samplings("{hot: {temperature: 2}}") == (Sampling(), ["greedy", "warm", "hot"])
    load((ANSWERS, "answers: {questions: questions.txt, sampling: {top_k: 3}}"))
    assert samplings("{hot: {temperature: 2}}") == (Sampling(temperature=2), ["hot"])
