"""Broken studies: each gets a message that names the line, the key, the value and the remedy."""

import pytest

from harness.config.load import load_study
from harness.errors import StudyError
from harness.runtime.strategy_grammar import GRAMMAR


def problems_of(path):
    with pytest.raises(StudyError) as caught:
        load_study(path)
    return caught.value.problems


# name: (text in the good study, what replaces it, line of the problem, words of the message)
SLIPS = {
    "unknown key": ("strategies:", "strategys:", 9, ["strategys", "Did you mean 'strategies'?"]),
    "missing key": ("    weights: models/tiny.pth\n", "", 3, ["models.tiny.weights", "missing"]),
    "wrong type": ("threads: 2", "threads: two", 13, ["threads", "'two'", "a whole number"]),
    "number in quotes": ("trials: 2", "trials: '2'", 17, ["speed.trials", "no quotes"]),
    "float for a count": ("trials: 2", "trials: 2.0", 17, ["2.0", "a whole number"]),
    "count below one": ("threads: 2", "threads: 0", 13, ["0 is not allowed", "from 1 to"]),
    "wrong item of a list": ("[8, 16]", "[8, x]", 16, ["prompt_tokens[1]", "'x'"]),
    "trials and until": (
        "trials: 2",
        "trials: 2\n    until: {relative_ci: 0.05}",
        18,
        ["speed.until", "exclude each other"],
    ),
    "until without blocks": (
        "threads: 2\nworkloads:\n  speed:\n    prompt_tokens: [8, 16]\n    trials: 2\n",
        "order: sequential\nworkloads:\n  speed:\n    prompt_tokens: [8, 16]\n    until: {}\n",
        17,
        ["speed.until", "order: sequential has none"],
    ),
    "more at least than at most": (
        "trials: 2",
        "until: {min_trials: 30}",
        17,
        ["min_trials (30) is more than max_trials (20)"],
    ),
    "interval of nothing": ("trials: 2", "until: {relative_ci: 0}", 17, ["relative_ci"]),
    "interval in percent": ("trials: 2", "until: {relative_ci: 2}", 17, ["above 0 and below 1"]),
    "one trial is no interval": ("trials: 2", "until: {min_trials: 1}", 17, ["min_trials"]),
    "unknown order": (
        "threads: 2",
        "threads: 2\norder: random",
        14,
        ["'random' is not allowed; allowed: randomised, sequential."],
    ),
    "cool-down to nothing": (
        "threads: 2",
        "threads: 2\ncooldown: {max_wait_s: 5}",
        14,
        ["cooldown", "names no temperature", "back_to_start_k"],
    ),
    "cool-down to two things": (
        "threads: 2",
        "threads: 2\ncooldown: {below_c: 50, back_to_start_k: 3}",
        14,
        ["cooldown", "names two temperatures"],
    ),
    "above a bound": ("top_p: 0.5", "top_p: 1.5", 21, ["sampling.top_p", "1.5", "from 0 to 1"]),
    "not a number": ("top_p: 0.5", "top_p: .nan", 21, ["top_p", ".nan"]),
    "list for a mapping": ("[torch]", "{torch: 1}", 12, ["engines", "a mapping", "a list of"]),
    "bad name": ("name: small", "name: My Study", 1, ["'My Study'", "lower-case letters"]),
    "name with a line break": ("name: small", "name: |\n  small", 1, ["lower-case letters"]),
    "date for a name": ("name: small", "name: 7", 1, ["name: 7", "lower-case letters"]),
    "bad strategy": ("cpu fp32\n  -", "cpu  fp32\n  -", 10, ["strategies[0]", "'cpu fp32'?"]),
    "int4 strategy": ("fp16i8 *20", "fp16i4 *20", 11, ["strategies[1]", "'cuda fp16i8 *20'"]),
    "no slot": ("cuda fp16i8 *20 -> cpu fp32", "cpu fp32 *0", 11, ["strategies[1]", "*0"]),
    "same strategy twice": (
        "cuda fp16i8 *20 -> cpu fp32",
        "' cpu fp32 '",
        11,
        ["'cpu fp32' is the same as strategies[0]"],
    ),
    "unknown engine": ("[torch]", "[troch]", 12, ["engines[0]", "Did you mean 'torch'?"]),
    "engine of a later release": ("[torch]", "[jax]", 12, ["not in this release", "torch, rwkv"]),
    "engine twice": ("[torch]", "[torch, torch]", 12, ["engines[1]", "'torch' is given twice"]),
    "unknown size": ("169m", "170m", 8, ["made-up.weights", "Did you mean '169m'?"]),
    "unknown builtin": (
        "models/tiny.pth",
        "builtin:quikstart",
        4,
        ["tiny.weights", "Did you mean 'builtin:quickstart'?"],
    ),
    "page of a hub": (
        "models/tiny.pth",
        "https://huggingface.co/BlinkDL/rwkv-4-raven",
        4,
        ["tiny.weights", "a page of the hub, not a file", "hf://"],
    ),
    "hub without a file": ("models/tiny.pth", "hf://a/b", 4, ["tiny.weights", "hf://BlinkDL"]),
    "way out of a repository": ("models/tiny.pth", "hf://a/b/../c", 4, ["'../c' is no file"]),
    "another scheme": ("models/tiny.pth", "ftp://a.b/c.pth", 4, ["'ftp://'", "hf://, https://"]),
    "password in a URL": ("models/tiny.pth", "https://u:pw@a.b/98%-c", 4, ["https://a.b/98%-c"]),
    "source that is none": (
        "    weights: models/tiny.pth\n",
        "    weights: models/tiny.pth\n    source: example.org/tiny.pth\n",
        5,
        ["tiny.source", "is not a URL"],
    ),
    "short hash": (
        "    weights: models/tiny.pth\n",
        "    weights: models/tiny.pth\n    sha256: abc\n",
        5,
        ["tiny.sha256", "'abc'"],
    ),
    "hash of random weights": (
        "    weights: random:169m\n",
        f"    weights: random:169m\n    sha256: {'a' * 64}\n",
        9,
        ["made-up.sha256", "Leave it out"],
    ),
    "percent of a URL": ("tiny.pth", "tiny-98%25.pth", 4, ["'models/tiny-98%.pth'"]),
    "bare percent in a URL": (
        "    weights: models/tiny.pth\n",
        "    weights: models/tiny.pth\n    source: https://a.b/98%-c.pth\n",
        5,
        ["tiny.source", "'%25'"],
    ),
    "model name with a space": ("  made-up:", "  made up:", 7, ["'made up' is no name"]),
    "prompt without a question": ("{question}", "question", 6, ["tiny.prompt", "{question}"]),
    "random weights asked": (
        "exclude:\n  - {model: made-up, workload: answers}\n",
        "",
        8,
        ["made-up.weights", "cannot answer", "exclude: [{model: made-up, workload: answers}]"],
    ),
    "unknown reference": (
        "reference: cpu fp32",
        "reference: cpu bf16",
        24,
        ["reference", "Allowed: cpu fp32, cuda fp16i8 *20 -> cpu fp32"],
    ),
    "exclude of nothing": ("model: made-up", "model: madeup", 23, ["Did you mean 'made-up'?"]),
    "exclude of everything": ("{model: made-up, workload: answers}", "{}", 23, ["everything"]),
    "exclude of all cells": ("model: made-up, workload: answers", "engine: torch", 22, ["every"]),
    "include of an unknown model": (
        "reference: cpu fp32",
        "include: [{model: tinny, strategy: cpu bf16, workload: speed}]",
        24,
        ["include[0].model", "Did you mean 'tiny'?"],
    ),
    "include of a cell that is there": (
        "reference: cpu fp32",
        "include: [{model: tiny, strategy: cpu fp32, workload: speed}]",
        24,
        ["include[0]", "already"],
    ),
    "empty workload": (
        "  speed:\n    prompt_tokens: [8, 16]\n    trials: 2\n",
        "  speed:\n",
        15,
        ["'speed: {}'"],
    ),
    "missing questions": ("questions.txt", "question.txt", 19, ["no such file", "questions.txt'?"]),
    "unknown questions": ("questions.txt", "builtin:general", 19, ["builtin:quickstart"]),
    "key given twice": ("threads: 2", "threads: 2\nthreads: 3", 14, ["twice", "line 13"]),
    "key that is no text": ("  made-up:", "  on:", 7, ["'on'", "quotes"]),
    "tab": ("  tiny:", "\ttiny:", 3, ["a tab", "spaces"]),
    "unknown tag": ("threads: 2", "threads: !!python/object:os.system 2", 13, ["tag"]),
    "brackets not closed": ("[torch]", "[torch", 13, ["not valid YAML"]),
    "colon in a text": ("name: small", "name: small: one", 1, ["quotes"]),
    "self-reference": ("[torch]", "&a [*a]", 12, ["refers to itself"]),
    "threads of a cell": (
        "reference: cpu fp32",
        "include: [{model: tiny, strategy: cpu bf16, workload: speed, threads: two}]",
        24,
        ["include[0].threads", "'two'"],
    ),
    "enormous seed": ("threads: 2", f"seed: 0x{'f' * 5000}", 13, ["seed", "used"]),
    "enormous count": ("*20", f"*{'2' * 5000}", 11, ["strategies[1]", "6 digits"]),
    "enormous name": ("model: made-up", f"model: 0x{'f' * 5000}", 23, ["model", "used"]),
    "NUL in a path": ("models/tiny.pth", r'"a\0b"', 4, ["tiny.weights", "NUL"]),
    "NUL in the path of questions": ("questions.txt", r'"a\0b"', 19, ["questions", "NUL"]),
    "NUL in extends": ("name: small", r'extends: "a\0"', 1, ["extends", "NUL"]),
    "half a character": ("Q: ", r"\uD800", 6, ["tiny.prompt", "surrogate"]),
    "long path of questions": ("questions.txt", "q" * 300, 19, ["too long"]),
    "long path with a percent": ("tiny.pth", "%25" * 100, 4, ["In a file name write"]),
    "octal number": ("threads: 2", "threads: 010", 13, ["threads", "'010'", "base"]),
    "length given twice": ("[8, 16]", "[8, 16, 8]", 16, ["prompt_tokens[2]", "'8' is given twice"]),
    "no models": ("models:", "models: {}\nmodel:", 2, ["an empty mapping is not allowed"]),
    "name of dots": ("name: small", "name: '..'", 1, ["begins with a letter or digit"]),
    "control character": ("small", "sm\x07all", 1, ["U+0007"]),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slip_is_reported_with_its_line_and_remedy(slip, write_study, good_study):
    old, new, line, words = SLIPS[slip]
    assert old in good_study
    path = write_study(good_study.replace(old, new, 1))

    at_line = [one for one in problems_of(path) if one.startswith(f"{path}:{line}: ")]

    assert any(all(word in one for word in words) for one in at_line), problems_of(path)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("---\n", "the file is empty"),
        ("- a\n- b\n", "holds a list"),
        ("hello\n", "holds a single value"),
        ("name: a\n---\nname: b\n", "expected a single document"),
        ("a: " + "[" * 5000, "nested too deeply"),
        (b"name: caf\xe9\n", ":1: byte 0xe9 is not UTF-8"),
        (b"\xff\xfen\x00a\x00", "not UTF-8"),
    ],
)
def test_file_that_is_no_study_is_refused(text, words, write_study):
    (problem,) = problems_of(write_study(text))

    assert words in problem


def test_missing_file_names_a_similar_one(write_study, tmp_path):
    write_study(name="raven.yaml")

    (problem,) = problems_of(tmp_path / "ravn.yaml")

    assert problem.startswith(f"{tmp_path / 'ravn.yaml'}: no such file")
    assert str(tmp_path / "raven.yaml") in problem


def test_folder_and_unknown_builtin_are_refused(tmp_path):
    assert "is a folder" in problems_of(tmp_path)[0]
    assert "no study is named" in problems_of("")[0]
    assert "Allowed: builtin:quickstart" in problems_of("builtin:slowstart")[0]


def test_all_problems_come_at_once_and_in_order(write_study, good_study):
    text = good_study
    for slip in ("bad name", "bad strategy", "unknown engine", "above a bound", "unknown size"):
        old, new, *_ = SLIPS[slip]
        text = text.replace(old, new, 1)
    path = write_study(text.replace("questions.txt", "bad.yaml"))
    (path.parent / "bad.yaml").write_text("questions: []\n", encoding="utf-8")

    problems = problems_of(path)

    places = [one.split(": ")[0].removeprefix(str(path.parent)) for one in problems]
    assert places == [*(f"/study.yaml:{line}" for line in (1, 8, 10, 12, 21)), "/bad.yaml:1"]


@pytest.mark.parametrize(
    ("key", "slip"),
    [
        ("name", "nmae"),
        ("models", "model"),
        ("weights", "weigths"),
        ("strategies", "Strategys"),
        ("workloads", "wrokloads"),
        ("questions", "question"),
    ],
)
def test_a_misspelt_key_is_not_missing_too(key, slip, write_study, good_study):
    path = write_study(good_study.replace(f"{key}: ", f"{slip}: ", 1))
    if path.read_text("utf-8") == good_study:  # it stands alone in its line
        path = write_study(good_study.replace(f"{key}:\n", f"{slip}:\n", 1))

    (problem,) = problems_of(path)

    assert f"{slip}: is not a key here. Did you mean '{key}'?" in problem


def test_a_key_that_is_near_to_none_leaves_another_missing(write_study, good_study):
    unknown, missing = sorted(
        problems_of(write_study(good_study.replace("name: small", "title: small"))),
        key=lambda one: "is missing" in one,
    )

    assert "title: is not a key here. Allowed: name, " in unknown
    assert "name: is missing; " in missing


def test_two_slips_of_one_key_are_two_problems(write_study, good_study):
    slips = "    weight: a\n    wieghts: models/tiny.pth\n"

    problems = problems_of(write_study(good_study.replace("    weights: models/tiny.pth\n", slips)))

    assert [one.split(": ")[1] for one in problems] == ["models.tiny.weight", "models.tiny.wieghts"]


def test_what_a_strategy_may_be_is_said_once(write_study, good_study):
    strategies = "cpu fp31, cdua fp16, cuda fp16 -> cpu, cpu fp8"
    text = good_study.replace(
        "  - cpu fp32\n", f"  - {strategies.replace(', ', chr(10) + '  - ')}\n"
    )
    text = text.replace("reference: cpu fp32", "reference: cpu bf61")

    problems = problems_of(write_study(text))

    assert [one.split("': ", 1)[1].split(" A stage is")[0] for one in problems] == [
        "stage 'cpu fp31' is not valid. Did you mean 'cpu fp32'?",
        "stage 'cdua fp16' is not valid. Did you mean 'cuda fp16'?",
        "stage 'cpu' is not valid. Did you mean 'cuda fp16 -> cpu fp32'?",
        "stage 'cpu fp8' is not valid.",
        "stage 'cpu bf61' is not valid. Did you mean 'cpu bf16'?",
    ]
    assert [GRAMMAR in one for one in problems] == [True, False, False, False, False]
    assert not any("\n" in one for one in problems)


def test_byte_order_mark_and_windows_line_ends_are_no_problem(write_study, good_study):
    data = b"\xef\xbb\xbf" + good_study.replace("\n", "\r\n").encode()

    assert load_study(write_study(data)).study.name == "small"
