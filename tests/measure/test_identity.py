"""Keys of records: equal for the same content, different for other content."""

import copy
import hashlib

import pytest
import yaml

from harness.config.load import load_study
from harness.errors import SourceError
from harness.measure.bench import locked_sources
from harness.measure.identity import identify_model, record_key
from harness.plan.cell import Cell
from harness.records.record import SlotRecord
from harness.runtime.strategy import resolve
from harness.sources import Locked, parse_remote
from harness.sources.lock import write_lock
from harness.sources.places import download_path

N_LAYER = 13
STUDY = {
    "name": "keyed",
    "models": {"m": {"weights": "w.pth", "tokenizer": "t.json", "prompt": "Q: {question} A:"}},
    "strategies": ["cpu fp32"],
    "workloads": {
        "speed": {"prompt_tokens": 64, "generate_tokens": 8},
        "answers": {"questions": "q.yaml", "max_tokens": 5},
    },
}
QUESTIONS = {"questions": [{"id": "one", "text": "Why?", "pattern": "because"}]}


@pytest.fixture
def world(tmp_path):
    """Write a study with its files; returns its keys, of speed and of answers."""

    def keys(
        *changes,
        files=None,
        strategy="cpu fp32",
        engine="torch",
        threads=1,
        kernel="eager",
        planned=True,
    ):
        study = copy.deepcopy(STUDY)
        for path, value in changes:
            place = study
            *parents, last = path.split(".")
            for name in parents:
                place = place[name]
            place[last] = value
        for name, text in {
            "w.pth": "weights",
            "t.json": "tokenizer",
            "q.yaml": yaml.safe_dump(QUESTIONS),
            **(files or {}),
        }.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
        loaded = load_study(tmp_path / "study.yaml")
        slot = SlotRecord(
            slot=0,
            device="cpu",
            dtype="fp32",
            weight_dtype="fp32",
            streamed=False,
            bytes=1,
            kernels={"wkv": kernel},
        )
        found = []
        for workload in loaded.study.workloads.names:
            speed = loaded.study.workloads.speed
            cell = Cell(
                model="m",
                engine=engine,
                strategy=strategy,
                workload=workload,
                threads=threads,
                batch=speed.batch_sizes[0] if workload == "speed" else 1,
            )
            plans = resolve(strategy, N_LAYER) if planned else None
            found.append(record_key(loaded, cell, identify_model(loaded, "m"), plans, [slot]))
        return tuple(found)

    return keys


def test_paths_are_no_part_of_a_key(world):
    moved = {"other/w2.pth": "weights", "other/t2.json": "tokenizer"}
    assert world() == world(
        ("models.m.weights", "other/w2.pth"), ("models.m.tokenizer", "other/t2.json"), files=moved
    )
    elsewhere = {"other/q2.yaml": yaml.safe_dump(QUESTIONS)}
    assert world() == world(("workloads.answers.questions", "other/q2.yaml"), files=elsewhere)


def test_moved_weights_keep_both_keys_and_a_changed_byte_keeps_none(world):
    quality = ("workloads.quality", {})
    here = world(quality)
    moved = world(quality, ("models.m.weights", "far/away.pth"), files={"far/away.pth": "weights"})
    changed = world(quality, files={"w.pth": "weighta"})

    assert [key.presentation is None for key in here] == [True, False, False]
    assert moved == here
    for before, after in zip(here, changed, strict=True):
        assert after.computation != before.computation


@pytest.mark.parametrize("name", ["trials", "passes", "warmup_passes"])
def test_more_of_the_same_is_the_same(name, world):
    assert world() == world((f"workloads.speed.{name}", 9))


def test_quality_joins_with_speed_s_computation_and_on_what_is_read(world):
    quality = ("workloads.quality", {})
    _, answers, scored = world(quality)
    assert scored.computation == answers.computation
    assert scored.presentation not in (None, answers.presentation)
    assert world(quality, ("workloads.answers.trials", 7)) == world(quality)
    texts = {"a/t.txt": "One two.", "b.txt": "One two.", "c.txt": "One three."}

    def of(name):
        return world(("workloads.quality", {"text": name}), files=texts)[2]

    assert of("a/t.txt") == of("b.txt")
    assert len({scored, of("a/t.txt"), of("c.txt")}) == 3
    assert world(("workloads.quality", {"max_tokens": 9}))[2] != scored
    assert world(quality, ("models.m.prompt", "{question}"))[2] != scored


def test_one_length_and_a_list_of_one_are_the_same(world):
    assert world() == world(("workloads.speed.prompt_tokens", [64]))
    assert world()[0] != world(("workloads.speed.prompt_tokens", [64, 65]))[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [("cuda fp16", "cuda:0 fp16"), ("cpu fp32", "cpu fp32 *3 -> cpu fp32")],
)
def test_two_spellings_of_a_plan_are_the_same(one, other, world):
    assert world(strategy=one) == world(strategy=other)


def test_the_seed_of_a_file_says_nothing(world):
    assert world() == world(("models.m.seed", 5))


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"w.pth": "other weights"}},
        {"engine": "rwkv"},
        {"threads": 2},
        {"strategy": "cpu bf16"},
        {"strategy": "cpu fp32 *3 -> cpu bf16"},
        {"strategy": "cuda fp32"},
        {"strategy": "cpu fp32 *14 -> cpu fp16"},  # the same plan, but rescaled
        {"strategy": "cpu fp32 *3+"},
        {"kernel": "compiled"},
    ],
    ids=str,
)
def test_whatever_changes_the_computation_changes_the_keys_of_both_workloads(changes, world):
    was, now = world(), world(**changes)
    assert was[0].computation != now[0].computation
    assert was[1].computation != now[1].computation
    assert was[1].presentation == now[1].presentation


def test_the_plan_of_the_rescaled_strategy_is_indeed_the_same():
    assert resolve("cpu fp32", N_LAYER) == resolve("cpu fp32 *14 -> cpu fp16", N_LAYER)


def test_depths_are_part_of_the_key_however_they_are_written(world):
    def key(**depth):
        return world(("workloads", {"depth": {"at": [0, "1k"], **depth}}))

    assert key() == key(at=[1000, 0], passes=7, trials=5)
    assert key() != key(at=[0, "2k"])
    assert key() != key(generate_tokens=9)


def test_where_layers_are_not_known_the_words_are_the_plan(world):
    one = world(strategy="cpu fp32", planned=False)[0]
    assert one != world(strategy="cpu bf16", planned=False)[0]


def test_random_weights_are_told_apart_by_shape_and_seed(world):
    def random(shape, seed):
        (key,) = world(
            ("models", {"m": {"weights": shape, "seed": seed}}),
            ("workloads", {"speed": {"prompt_tokens": 64}}),
        )
        return key

    assert random("random:169m", 1) == random("random:169m", 1)
    assert random("random:169m", 1) != random("random:169m", 2)
    assert random("random:169m", 1) != random("random:430m", 1)


@pytest.mark.parametrize(
    ("name", "value"), [("prompt_tokens", 65), ("generate_tokens", 9), ("batch", 2)]
)
def test_lengths_and_batch_are_of_speed_alone(name, value, world):
    was, now = world(), world((f"workloads.speed.{name}", value))
    assert was[0] != now[0]
    assert was[1] == now[1]


@pytest.mark.parametrize(
    ("change", "files"),
    [
        (("models.m.prompt", "{question}"), {}),
        (("workloads.answers.max_tokens", 6), {}),
        (("workloads.answers.stop", ["!"]), {}),
        (("workloads.answers.stop_tokens", [3]), {}),
        (("workloads.answers.sampling", {"temperature": 0.5}), {}),
        (("workloads.answers.sampling", {"temperature": 0.5, "seed": 4}), {}),
        (("description", "the same"), {"t.json": "another tokenizer"}),
        (("description", "the same"), {"q.yaml": "questions: [{id: one, text: Whence}]"}),
    ],
    ids=str,
)
def test_what_is_asked_and_how_is_of_answers_alone(change, files, world):
    was, now = world(), world(change, files=files)
    assert was[1].presentation != now[1].presentation
    assert was[1].computation == now[1].computation
    assert was[0] == now[0]
    assert now[0].presentation is None


def test_the_seed_of_the_draws_counts(world):
    def drawn(seed):
        sampling = {"temperature": 0.5, "seed": seed}
        return world(("workloads.answers.sampling", sampling))[1].presentation

    assert drawn(1) != drawn(2)


def test_a_file_that_is_not_there_has_no_hash(world, tmp_path):
    world()
    for name in ("w.pth", "t.json"):
        (tmp_path / name).unlink()
    found = identify_model(load_study(tmp_path / "study.yaml"), "m")
    assert (found.weights_sha256, found.tokenizer_sha256) == (None, None)


def test_content_that_is_not_what_the_study_says_is_refused(world, tmp_path):
    right = hashlib.sha256(b"weights").hexdigest()
    assert world(("models.m.sha256", right)) == world()
    with pytest.raises(SourceError, match=rf"w\.pth: has sha256 {right}, and the study"):
        world(("models.m.sha256", "0" * 64))
    with pytest.raises(SourceError, match=r"t\.json: has sha256"):
        world(("models.m.tokenizer_sha256", "0" * 64))


def test_content_that_is_not_what_the_lock_says_is_refused(world, tmp_path):
    source = ("models.m.source", "https://example.org/w.pth")
    lock = {"https://example.org/w.pth": Locked(sha256="0" * 64, size=7)}
    write_lock(tmp_path / "study.yaml", lock)
    with pytest.raises(SourceError, match=r"lock says(.|\n)*pull STUDY --update"):
        world(source)


def test_what_a_lock_should_say_is_known_after_hashing(world, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    url = "https://example.org/w.pth"
    downloaded = download_path(parse_remote(url))
    downloaded.parent.mkdir(parents=True)
    downloaded.write_bytes(b"weights")
    world(("models.m.weights", url))

    def to_be_locked():
        loaded = load_study(tmp_path / "study.yaml")
        return locked_sources(loaded, {"m": identify_model(loaded, "m")})

    right = Locked(sha256=hashlib.sha256(b"weights").hexdigest(), size=7)
    assert to_be_locked() == {url: right}
    write_lock(tmp_path / "study.yaml", {url: right})
    assert to_be_locked() == {}


def test_a_file_put_there_by_hand_says_nothing_of_its_source(world, tmp_path):
    world(("models.m.source", "https://example.org/w.pth"))
    loaded = load_study(tmp_path / "study.yaml")
    assert locked_sources(loaded, {"m": identify_model(loaded, "m")}) == {}
