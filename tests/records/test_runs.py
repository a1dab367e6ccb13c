"""Which run folders belong to a study: by hashes of content, as far as they are known."""

import json

import pytest

from harness.records.runs import note_identity, runs_of_study, software_changes

NAME = "study-20260101T000000Z"


def identity(study="s", **weights):
    return {
        "study_sha256": study,
        "models": {
            name: {"weights_sha256": value, "tokenizer_sha256": None}
            for name, value in weights.items()
        },
    }


@pytest.fixture
def run(tmp_path):
    """Make a run folder with these facts."""

    def make(facts, name=NAME):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        (folder / "records.jsonl").touch()
        return folder

    return make


def matches(folder, wanted):
    return folder in runs_of_study(folder.parent, wanted)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"identity": None},
        {"identity": {}},
        {"identity": {"study_sha256": "s"}},
        {"identity": {"models": {}}},
        {"identity": "s"},
        [],
        None,
    ],
    ids=str,
)
def test_facts_without_a_whole_identity_match_nothing(facts, run):
    folder = run(facts)
    assert not matches(folder, identity(m="a"))
    assert not matches(folder, identity())


def test_facts_that_are_no_json_match_nothing(run):
    folder = run({"identity": identity(m="a")})
    assert matches(folder, identity(m="a"))
    (folder / "facts.json").write_text('{"identity"', encoding="utf-8")
    assert not matches(folder, identity(m="a"))


def test_a_folder_without_records_is_no_run(run):
    folder = run({"identity": identity(m="a")})
    (folder / "records.jsonl").unlink()
    assert not matches(folder, identity(m="a"))


@pytest.mark.parametrize(
    ("recorded", "wanted", "same"),
    [
        (identity(m="a"), identity(m="a"), True),
        (identity(m="a"), identity(m="b"), False),
        (identity(m="a"), identity("t", m="a"), False),
        (identity(m="a"), identity(n="a"), False),
        (identity(m="a"), identity(m="a", n="b"), False),
        (identity(m="a", n="b"), identity(m="a"), False),
        (identity(m="a", n="b"), identity(n="b", m="a"), True),
        (identity(m="a", n="b"), identity(m="a", n="c"), False),
        # Not known, then or now: equal to any; what is known still counts.
        (identity(m=None), identity(m="a"), True),
        (identity(m="a"), identity(m=None), True),
        (identity(m=None, n="b"), identity(m="a", n="c"), False),
        (identity(m=None, n="b"), identity(m="a", n=None), True),
    ],
)
def test_hashes_are_compared_where_both_are_known(recorded, wanted, same, run):
    assert matches(run({"identity": recorded}), wanted) == same


def test_a_hash_that_was_not_known_is_noted_and_counts_from_then_on(run):
    folder = run({"cpu": "x", "identity": identity(m=None, n="b")})
    assert matches(folder, identity(m="other", n="b"))
    note_identity(folder, identity(m="a", n="b"))
    assert matches(folder, identity(m="a", n="b"))
    assert not matches(folder, identity(m="other", n="b"))
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    assert facts == {"cpu": "x", "identity": identity(m="a", n="b")}


def test_a_hash_that_is_known_is_never_forgotten(run):
    folder = run({"identity": identity(m="a", n=None)})
    note_identity(folder, identity(m=None, n="b"))
    assert matches(folder, identity(m="a", n="b"))
    assert not matches(folder, identity(m="other", n=None))


def test_facts_are_left_alone_where_there_is_nothing_to_note(run):
    folder = run({"identity": identity(m="a", n=None)})
    path = folder / "facts.json"
    before = (path.stat().st_ino, path.read_bytes())
    note_identity(folder, identity(m="a", n=None))
    assert (path.stat().st_ino, path.read_bytes()) == before


def test_what_was_set_is_known_also_as_earlier_releases_kept_it(run):
    with_paths = {**identity(m="a"), "set": ['models.m.weights="far/w.pth"', "threads=2"]}
    folder = run({"identity": {**with_paths, "software": {"torch": "1"}}})
    now = {**identity(m="a"), "software": {"torch": "1"}}
    now["set"] = ['models.m.weights="file"', "threads=2"]
    settings = ("threads=2", 'models.m.weights="far/w.pth"')

    def found(wanted, settings):
        return list(runs_of_study(folder.parent, wanted, settings)) == [folder]

    assert found(now, settings)
    assert not found(now, ())
    assert not found(now, ("threads=2", 'models.m.weights="near/w.pth"'))
    assert not found({**now, "models": identity(m="b")["models"]}, settings)
    assert not found(identity(m="a"), ())
    note_identity(folder, now)  # and is left so
    assert found(now, settings)
    newer = {**now, "software": {"torch": "2"}}
    assert not found(newer, settings)
    [change] = software_changes(folder.parent, newer, settings)
    assert change == f"{NAME} was measured with torch 1, now 2"


def test_the_newest_run_comes_first(run):
    facts = {"identity": identity(m="a")}
    names = ["s-20260102T000000Z", "s-20260103T000000Z", "s-20260101T000000Z"]
    folders = [run(facts, name) for name in names]
    found = list(runs_of_study(folders[0].parent, identity(m="a")))
    assert found == [folders[1], folders[0], folders[2]]
