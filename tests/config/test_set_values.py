"""`--set key=value`: a study changed from outside."""

import json
from pathlib import Path

import msgspec
import pytest
import yaml

from harness.config.load import load_study
from harness.errors import StudyError


@pytest.fixture
def changed(write_study):
    """Load the good study with these set."""
    path = write_study()

    def load(*settings):
        return load_study(path, settings)

    return load


@pytest.fixture
def refused(changed):
    def problems(*settings):
        with pytest.raises(StudyError) as caught:
            changed(*settings)
        return caught.value.problems

    return problems


def test_values_take_the_place_of_what_is_there(changed):
    loaded = changed(
        "workloads.speed.trials=5",
        "threads=[1, 2]",
        'models.tiny.prompt="User: {question}"',
        "strategies[0]=cpu bf16",
        "reference=cpu bf16",
        "limits.trial_s=9.5",
    )

    study = loaded.study
    assert study.workloads.speed.trials == 5
    assert study.workloads.speed.prompt_lengths == (8, 16)
    assert study.thread_counts == (1, 2)
    assert loaded.files["tiny"].prompt == "User: {question}"
    assert study.strategies == ["cpu bf16", "cuda fp16i8 *20 -> cpu fp32"]
    assert study.limits.trial_s == 9.5


def test_a_list_that_is_not_there_is_begun(changed):
    loaded = changed(
        "exclude=null",
        "exclude[0].strategy=cuda fp16i8 *20 -> cpu fp32",
        "exclude[1]={model: made-up}",
    )

    assert [(one.strategy, one.model) for one in loaded.study.exclude] == [
        ("cuda fp16i8 *20 -> cpu fp32", None),
        (None, "made-up"),
    ]


def test_a_mapping_replaces_and_null_removes(changed):
    study = changed(
        "workloads.answers.sampling={top_k: 3}", "workloads.speed=null", "reference=null"
    ).study

    assert (study.workloads.answers.sampling.top_k, study.workloads.answers.sampling.top_p) == (
        3,
        1,
    )
    assert study.workloads.names == ("answers",)
    assert study.reference == "cpu fp32"


def test_what_is_not_there_yet_is_made(changed):
    study = changed(
        "workloads.depth.at=[0, 1k]",
        "models.other.weights=random:430m",
        "exclude[1]={model: other, workload: answers}",
        "models.other.seed=7",
        "strategies.2=cpu fp32i8 *{1..2}",
    ).study

    assert study.workloads.depth.depths == (0, 1000)
    assert (study.models["other"].weights, study.models["other"].seed) == ("random:430m", 7)
    assert study.strategies[2:] == ["cpu fp32i8 *1", "cpu fp32i8 *2"]


def test_items_can_be_removed_and_the_last_word_counts(changed):
    loaded = changed("threads=8", "strategies[1]=null", "threads=3", "seed=4")

    assert loaded.study.strategies == ["cpu fp32"]
    assert loaded.study.thread_counts == (3,)
    assert loaded.settings.lines == ("strategies[1]=null", "threads=3", "seed=4")


@pytest.mark.parametrize(
    "settings",
    [
        ("strategies[0]=null", "strategies[0]=null"),
        ("strategies[0]=null", "threads=3", "strategies[0]=cpu fp32i8"),
        ("strategies[2]=cpu fp16", "strategies[0]=null", "strategies[2]=cpu fp32i8"),
        ("strategies[1]=null", "strategies[0]=null", "strategies[1]=cpu bf16"),
        ("exclude[1].model=tiny", "exclude[0]=null", "exclude[1].model=tiny"),
        ("threads=[1]", "threads[1]=3", "threads=[4]"),
        ("strategies=[cpu bf16]", "strategies[0]=null", "strategies=[cpu fp16]"),
        ("threads=[1]", "threads[0]=3", "threads[0]=null", "threads[0]=4"),
    ],
)
def test_what_was_set_gives_the_same_study_again(settings, write_study, good_study):
    from harness.config.document import Source, parse_yaml, plain
    from harness.config.settings import apply_settings

    text = good_study.replace("  - cuda fp16i8", "  - cpu bf16\n  - cuda fp16i8")
    problems = []
    tree = parse_yaml(text, Source(write_study(text), "s"), problems)
    root, applied = apply_settings(tree, settings, problems)
    again, twice = apply_settings(tree, applied.lines, problems)
    assert problems == []
    assert plain(again) == plain(root)
    assert twice == applied
    assert len(applied.lines) == len(applied.kept) == len(applied.asked) == len(settings)


def test_strategies_that_went_one_by_one_go_again(write_study, good_study):
    path = write_study(good_study.replace("  - cpu fp32\n", "  - cpu fp32\n  - cpu bf16\n"))
    loaded = load_study(path, ["strategies[1]=null", "strategies[1]=null"])
    assert loaded.study.strategies == ["cpu fp32"]
    assert loaded.settings.words == ("--set", "strategies[1]=null") * 2
    assert loaded.text.count("# --set strategies[1]=null\n") == 2
    assert load_study(path, loaded.settings.lines).study == loaded.study


def test_names_may_hold_dots(write_study, good_study):
    path = write_study(good_study.replace("  tiny:", "  rwkv-4.1:").replace("made-up", "rwkv-4"))

    study = load_study(path, ["models.rwkv-4.1.seed=3", "models.rwkv-4.seed=5"]).study

    assert {name: model.seed for name, model in study.models.items()} == {
        "rwkv-4.1": 3,
        "rwkv-4": 5,
    }


def test_a_path_is_relative_to_where_it_was_typed(changed, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    files = changed("models.tiny.weights=mine.pth").files["tiny"]

    assert files.weights == tmp_path / "here" / "mine.pth"
    assert files.tokenizer == tmp_path / "models" / "tokenizer.json"


@pytest.mark.parametrize(
    "value",
    [
        "1.0e-06",
        "[cpu fp32, 'a b: c', null, true]",
        "{a: 1, b: [0.5, x]}",
        "'12'",
        "1.0e+22",
        "Grüße",
        r'"one\u2028two\u0085three\x7f\U000E0001\nfour"',
    ],
)
def test_what_was_set_can_be_set_again(value, write_study, good_study):
    from harness.config.document import Node, Source
    from harness.config.settings import apply_settings

    source = Source(write_study(), "s")
    problems = []
    _, applied = apply_settings(Node({}, source, 1), [f"x.y={value}"], problems)
    _, twice = apply_settings(Node({}, source, 1), applied.lines, problems)

    assert problems == []
    assert twice == applied
    assert applied.values == ((("x", "y"), yaml.safe_load(value)),)


def test_it_is_kept_with_the_study_and_the_text_can_be_run_again(changed, write_study):
    loaded = changed("workloads.speed.trials=5", "name=other")

    head, second, third, *_ = loaded.text.splitlines()
    assert head.startswith("# ")
    assert (second, third) == ("# --set workloads.speed.trials=5", '# --set name="other"')
    assert load_study(write_study(loaded.text, "again.yaml")).study == loaded.study


def test_the_identity_is_of_what_is_asked(changed, write_study, good_study):
    assert changed("threads=3").sha256 != changed().sha256
    assert changed("threads=2").sha256 == changed().sha256
    written = load_study(write_study(good_study.replace("threads: 2", "threads: 3"), "b.yaml"))
    assert changed("threads=3").sha256 == written.sha256


@pytest.mark.parametrize(
    "setting, words",
    [
        ("workloads.sped.trials=3", ["workloads.sped: is not a key", "Did you mean 'speed'?"]),
        ("workloads.speed.trails=3", ["speed.trails", "Did you mean 'trials'?"]),
        ("threds=3", ["threds: is not a key here. Did you mean 'threads'?"]),
        ("workloads.speed.trials=many", ["speed.trials: 'many'", "a whole number from 1"]),
        ("threads.x=1", ["threads.x: threads is 2, which has nothing in it"]),
        ("name[0]=a", ["name[0]: name is 'small', so it has no item 0"]),
        ("models.tony.seed=1", ["models.tony: 'tony' is no model", "Did you mean 'tiny'?"]),
        ("strategies[7]=cpu bf16", ["strategies has 2 items, and no item 7; allowed: 0 to 2"]),
        ("include[1]={}", ["include has 0 items, and no item 1; its first is item 0"]),
        ("strategies.first=cpu bf16", ["'first' no number of an item", "0 to 2"]),
        ("strategies[0]=cpu bf61", ["strategies[0]: invalid strategy 'cpu bf61'"]),
        ("threads", ["has no value. Write --set threads=VALUE"]),
        ("threads=", ["has no value. Write --set threads=VALUE"]),
        ("=3", ["is no key. Write one as in workloads.speed.trials=5"]),
        ("models..seed=3", ["is no key"]),
        ("strategies=[@a]", ["cannot begin with '@'", "in quotes"]),
        ("limits={trial_s: 1, trial_s: 2}", ["trial_s: is given twice"]),
        ("seed=!!str 3", ["the tag"]),
        ("extends=other.yaml", ["extends: is not a key here"]),
    ],
)
def test_slips_name_the_key_and_what_is_near(setting, words, refused):
    [told] = refused(setting)

    assert told.startswith(f"--set {setting}: ")
    assert all(word in told for word in words), told
    assert "study.yaml" not in told


def test_all_slips_are_told_at_once(refused):
    told = refused("threads=x", "models.tony.seed=1", "seed=-1")

    assert sorted(one.split(": ")[1] for one in told) == ["models.tony", "seed", "threads"]


HASH = "ab" * 32


@pytest.mark.parametrize(
    "setting, kept, asked",
    [
        ("models.tiny.weights=/far/away/w.pth", '"w.pth"', '"file"'),
        ("models.tiny.weights=~/w.pth", '"w.pth"', '"file"'),
        ("models.tiny.weights=../w", '"w"', '"file"'),
        ("models.tiny={weights: /far/w.pth, seed: 2}", '{"weights": "w.pth", "seed": 2}', None),
        ("models.tiny.tokenizer=/far/t.json", '"t.json"', '"file"'),
        ("models.tiny.weights=hf://a/b/w.pth", '"hf://a/b/w.pth"', '"file"'),
        (
            "models.tiny.weights=https://me:pass@example.org/w.pth",
            '"https://example.org/w.pth"',
            '"file"',
        ),
        ("models.tiny.source=https://a:b@example.org/w", '"https://example.org/w"', '"file"'),
        ("models.made-up.weights=random:430m", '"random:430m"', '"random:430m"'),
        (f"models.tiny.sha256={HASH}", f'"{HASH}"', f'"{HASH}"'),
        ("models.tiny.prompt=a/b {question}", '"a/b {question}"', '"a/b {question}"'),
        ("workloads.quality={text: here/t.txt}", '{"text": "t.txt"}', '{"text": "file"}'),
        ("workloads.answers.questions=here/q.txt", '"q.txt"', '"file"'),
        ("models.tiny.weights=.", '"."', '"file"'),
        (
            "models.tiny.prompt={source: 'a/b {question}'}",
            '{"source": "a/b {question}"}',
            '{"source": "a/b {question}"}',
        ),
        ("description=a/b", '"a/b"', '"a/b"'),
        ("workloads.answers.stop=[a/b]", '["a/b"]', '["a/b"]'),
    ],
)
def test_of_a_file_that_was_set_its_name_is_kept(
    setting, kept, asked, changed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for name in ("q.txt", "t.txt"):
        (tmp_path / "here" / name).write_text("What is it?", encoding="utf-8")

    loaded = changed(setting)

    key, _, value = setting.partition("=")
    asked = asked or kept.replace("w.pth", "file")
    assert (loaded.settings.kept, loaded.settings.asked) == (
        (f"{key}={kept}",),
        (f"{key}={asked}",),
    )
    assert yaml.safe_load(loaded.settings.lines[0].partition("=")[2]) == yaml.safe_load(value)
    assert loaded.text.splitlines()[1] == f"# --set {key}={kept}"
    body = yaml.safe_load(loaded.text)
    typed = json.loads(msgspec.json.encode(loaded.study))
    for part in key.split("."):
        body, typed = body[part], typed[part]
    wanted = yaml.safe_load(kept)
    assert body == wanted
    assert typed == wanted or typed.items() >= wanted.items()


def test_what_the_studys_own_file_says_of_files_is_kept_as_it_stands(changed, good_study):
    study = yaml.safe_load(changed("seed=3").text)
    assert study["models"] == yaml.safe_load(good_study)["models"]


SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_workload_or_model_of_a_shipped_study_can_be_taken_away(path):
    study = load_study(path).study
    for axis in ("workloads", "models"):
        names = study.workloads.names if axis == "workloads" else tuple(study.models)
        for name in names if len(names) > 1 else ():
            less = load_study(path, [f"{axis}.{name}=null"])
            left = less.study.workloads.names if axis == "workloads" else tuple(less.study.models)
            assert left == tuple(one for one in names if one != name)
            assert all(
                (one.workload, one.model).count(name) == 0
                for one in (*less.study.exclude, *less.study.include)
            )


def test_what_is_left_out_besides_stays_left_out(write_study, good_study):
    more = "  - {model: tiny, strategy: cpu fp32, workload: speed}\n"
    path = write_study(good_study.replace("exclude:\n", f"exclude:\n{more}"))
    loaded = load_study(path, ["workloads.answers=null"])
    assert [one.strategy for one in loaded.study.exclude] == ["cpu fp32"]
    assert load_study(write_study(loaded.text, "again.yaml")).study == loaded.study


def test_an_addition_that_is_set_as_a_strategy_goes(write_study, good_study):
    more = "include: [{model: tiny, strategy: cpu bf16, workload: speed}]\n"
    loaded = load_study(write_study(good_study + more), ["strategies[2]=cpu bf16"])
    assert loaded.study.include == []


@pytest.mark.parametrize(
    "settings, words",
    [
        (["workloads.answers=null", "workloads.speed=null"], "workloads: --set leaves none of"),
        (["workloads=null"], "Keep one of: speed, answers."),
        (["models.tiny=null", "models.made-up=null"], "Keep one of: tiny, made-up."),
        (["strategies=[]"], "Keep one of: cpu fp32, cuda fp16i8 *20 -> cpu fp32."),
        (["models.tiny=null", "workloads.speed=null"], "exclude: leaves out every cell"),
        (
            ["workloads.answers=null", "exclude[1]={workload: answers}"],
            "exclude[1].workload: 'answers' is not among the workloads",
        ),
        (["seed=3", "exclude[1].model=gone"], "exclude[1].model: 'gone' is not among the models"),
    ],
)
def test_what_leaves_nothing_or_contradicts_itself_is_refused(settings, words, refused):
    [told] = refused(*settings)
    assert words in told


def test_a_study_that_is_empty_by_itself_is_not_set_so(write_study):
    path = write_study("name: a\nmodels: {m: {weights: 'random:169m'}}\nstrategies: [cpu fp32]\n")
    with pytest.raises(StudyError) as caught:
        load_study(path, ["workloads={}"])
    assert "workloads: names no workload" in str(caught.value)


def test_a_slip_of_the_studys_own_stays_one(write_study, good_study):
    path = write_study(good_study.replace("{model: made-up,", "{model: made-ip,"))
    with pytest.raises(StudyError, match="'made-ip' is not among the models"):
        load_study(path, ["workloads.speed.trials=1"])


def test_what_is_kept_is_yaml_whatever_was_set_and_however_the_file_is_called(
    write_study, good_study
):
    path = write_study(good_study, "two\nlines\u2028.yaml")
    loaded = load_study(path, [r'description="one\u2028two: {"'])
    again = load_study(write_study(loaded.text, "again.yaml"))
    assert again.study == loaded.study
    assert again.study.description == "one\u2028two: {"
