import fcntl
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest

from harness.errors import BadInput, RecordsError
from harness.quality.small_form import SmallForm, compare_small, condense
from harness.quality.small_form_file import SMALL_SUFFIX, read_small_forms, write_small_forms
from tests.quality.rows import make_row

SHA256 = "cae65cc2428cb16b7ff189b1819ffe5ee558e40cf87c21d3c5d1290a1503f964"

# Numbers that are the same on every machine.
FORM = SmallForm(
    n_vocab=4,
    ids=np.array([[2, 0, 1, 3]]),
    log_p=np.array([[-0.25, -2.0, -4.5, -4.5]], dtype=np.float32),
    log_sum=np.array([0.125]),
    others=np.array([-np.inf]),
    entropy=np.array([0.75]),
    targets=np.array([3]),
    target_log_p=np.array([-4.625]),
)


def rows_of(n, n_vocab, seed=1):
    rng = np.random.default_rng(seed)
    shape = (n, n_vocab)
    return np.stack([make_row(rng, n_vocab, "usual") for _ in range(n)] or [np.zeros(shape)][:0])


@pytest.fixture(params=[10, 300])
def written(request, tmp_path):
    n_vocab = request.param
    rows = rows_of(5, n_vocab)
    forms = {"text": condense(rows[:3], [0, 1, 2]), "answer": condense(rows[3:], [3, 4])}
    path = tmp_path / f"small{SMALL_SUFFIX}"
    write_small_forms(path, forms)
    return path, rows, forms


def test_what_is_written_is_read(written):
    path, rows, forms = written
    read = read_small_forms(path)
    assert list(read) == ["text", "answer"]
    assert [len(one) for one in read.values()] == [3, 2]
    other = rows[::-1][:3]
    assert compare_small(read["text"], other) == compare_small(forms["text"], other)
    assert compare_small(read["answer"], other[:2]) == compare_small(forms["answer"], other[:2])


def test_equal_forms_give_equal_bytes_everywhere(tmp_path):
    """The hash holds for every release of Python and numpy, and every day of the year."""
    for name in ("one", "two"):
        write_small_forms(tmp_path / f"{name}.npz", {"key": FORM})
    first, second = ((tmp_path / f"{name}.npz").read_bytes() for name in ("one", "two"))
    assert first == second
    assert hashlib.sha256(first).hexdigest() == SHA256


def test_numpy_reads_it_too(written):
    path, rows, _ = written
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["log_p"].dtype == np.float32
        assert arrays["log_p"].shape == (5, min(64, rows.shape[1]))
        assert arrays["log_p"][:, 0].tolist() == rows.max(axis=1).tolist()
        assert arrays["targets"].tolist() == [0, 1, 2, 3, 4]


def test_a_large_vocabulary_has_larger_ids(tmp_path):
    row = np.zeros((1, 70_000), dtype=np.float32)
    row[0, 69_999] = 5
    write_small_forms(tmp_path / "a.npz", {"a": condense(row, [69_998])})
    read = read_small_forms(tmp_path / "a.npz")["a"]
    assert read.ids[0, :3].tolist() == [69_999, 0, 1]
    assert read.targets.tolist() == [69_998]


def test_passages_without_rows_are_kept(tmp_path):
    empty = condense(np.zeros((0, 70), dtype=np.float32), [])
    write_small_forms(tmp_path / "a.npz", {"none": empty, "some": condense(rows_of(1, 70), [0])})
    assert [len(one) for one in read_small_forms(tmp_path / "a.npz").values()] == [0, 1]
    write_small_forms(tmp_path / "a.npz", {"none": empty})
    assert [len(one) for one in read_small_forms(tmp_path / "a.npz").values()] == [0]


def test_nothing_is_no_file(tmp_path):
    with pytest.raises(BadInput):
        write_small_forms(tmp_path / "a.npz", {})
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_and_a_file_replaced(tmp_path):
    path = tmp_path / "references" / "a.npz"
    for n in (1, 2):
        write_small_forms(path, {"a": condense(rows_of(n, 70), [0] * n)})
    assert len(read_small_forms(path)["a"]) == 2
    assert [one.name for one in path.parent.iterdir()] == ["a.npz"]


def test_a_draft_that_another_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "a.npz"
    draft = tmp_path / ".a.npz.1"
    with draft.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_small_forms(path, {"a": FORM})
        assert draft.exists()
    write_small_forms(path, {"a": FORM})
    assert not draft.exists()


def test_a_file_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "a.npz").mkdir()  # in the way
    with pytest.raises(RecordsError, match=r"a\.npz: cannot be written"):
        write_small_forms(tmp_path / "a.npz", {"a": condense(rows_of(1, 70), [0])})
    assert [one.name for one in tmp_path.iterdir()] == ["a.npz"]


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(RecordsError, match="there is no such file"):
        read_small_forms(tmp_path / "a.npz")
    with pytest.raises(RecordsError, match="cannot be read"):
        read_small_forms(tmp_path)


def test_a_torn_file_is_refused(written):
    path, *_ = written
    whole = path.read_bytes()
    for size in [0, 1, 30, len(whole) // 2, len(whole) - 30, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(RecordsError, match="not a file of small forms"):
            read_small_forms(path)


def test_a_changed_byte_is_noticed_or_changes_nothing(written):
    """Of a zip's own fields some are read twice or never; no number may come out different."""
    path, rows, _ = written
    whole = path.read_bytes()
    same = {
        name: compare_small(one, rows[: len(one)]) for name, one in read_small_forms(path).items()
    }
    rng = np.random.default_rng(2)
    for at in rng.choice(len(whole), size=300, replace=False).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            read = read_small_forms(path)
        except RecordsError:
            continue
        assert same == {name: compare_small(one, rows[: len(one)]) for name, one in read.items()}


def entries(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewrite(path, kept, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in kept.items():
            file.writestr(name, data)


def changed(name, index, value):
    """The array `name`, with one number replaced."""

    def change(kept):
        array = np.load(io.BytesIO(kept[f"{name}.npy"]))
        array[index] = value
        header = kept[f"{name}.npy"][: -array.nbytes]
        return {**kept, f"{name}.npy": header + array.tobytes()}

    return change


def about(**fields):
    return lambda kept: {
        **kept,
        "about.json": json.dumps({**json.loads(kept["about.json"]), **fields}).encode(),
    }


def saved(name, array, *, allow_pickle=False):
    def change(kept):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=allow_pickle)
        return {**kept, f"{name}.npy": file.getvalue()}

    return change


HOSTILE = {
    "newer": (about(schema=2), "its schema is 2, and this release knows 1"),
    "huge": (about(rows={"text": 2**40}), "it says that it has"),
    "negative": (about(rows={"text": 6, "answer": -1}), "no rows"),
    "no rows": (about(rows={}), "no rows"),
    "no vocabulary": (about(n_vocab=0), "no vocabulary"),
    "a vast vocabulary": (about(n_vocab=2**40), "no vocabulary"),
    "another vocabulary": (about(n_vocab=70_000), "ids"),
    "other rows": (about(rows={"text": 3, "answer": 3}), "ids.npy has"),
    "rows that are no numbers": (about(rows={"text": "3"}), "Expected"),
    "no about": (lambda kept: {k: v for k, v in kept.items() if k != "about.json"}, "no about"),
    "about that is no JSON": (lambda kept: {**kept, "about.json": b"{"}, "not a file of small"),
    "one missing": (lambda kept: {k: v for k, v in kept.items() if k != "others.npy"}, "other ent"),
    "one more": (lambda kept: {**kept, "more.npy": b""}, "other entries"),
    "pickle": (saved("others", np.array([{}] * 5), allow_pickle=True), "others.npy has"),
    "other dtype": (saved("others", np.zeros(5, ">f8")), "another form"),
    "other shape": (saved("others", np.zeros((5, 1))), "another form"),
    "NaN": (changed("log_p", (1, 3), np.nan), "log_p is not finite"),
    "infinite": (changed("log_p", (1, 3), -np.inf), "log_p is not finite"),
    "NaN sum": (changed("log_sum", 1, np.nan), "log_sum is not finite"),
    "NaN others": (changed("others", 1, np.nan), "do not add up"),
    "much else": (changed("others", 1, 700.0), "do not add up"),
    "NaN entropy": (changed("entropy", 1, np.nan), "entropy is not finite"),
    "negative entropy": (changed("entropy", 1, -1.0), "an entropy is negative"),
    "NaN target": (changed("target_log_p", 1, np.nan), "target_log_p is not finite"),
    "certain and more": (changed("target_log_p", 1, 0.5), "a probability above 1"),
    "token outside": (changed("ids", (1, 3), 60_000), "outside the vocabulary"),
    "target outside": (changed("targets", 1, 60_000), "outside the vocabulary"),
    "in no order": (changed("log_p", (1, 3), 1.0), "in no order"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_this_release_would_not_have_written_is_refused(name, written):
    path, *_ = written
    change, match = HOSTILE[name]
    rewrite(path, change(entries(path)))
    with pytest.raises(RecordsError, match=match):
        read_small_forms(path)


def test_a_token_that_is_there_twice_is_refused(written):
    path, *_ = written
    kept = entries(path)
    twice = np.load(io.BytesIO(kept["ids.npy"]))[1, 5]
    rewrite(path, changed("ids", (1, 2), twice)(kept))
    with pytest.raises(RecordsError, match="in no order"):
        read_small_forms(path)


def test_equals_in_another_order_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_small_forms(path, {"a": FORM})
    rewrite(path, changed("ids", (0, slice(2, 4)), [3, 1])(entries(path)))
    with pytest.raises(RecordsError, match="in no order"):
        read_small_forms(path)


def test_others_where_there_can_be_none_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_small_forms(path, {"a": condense(rows_of(2, 10), [0, 0])})
    rewrite(path, changed("others", 1, -20.0)(entries(path)))
    with pytest.raises(RecordsError, match="where there can be none"):
        read_small_forms(path)


def test_compressed_entries_are_refused(written):
    """So that a small file never becomes a large array."""
    path, *_ = written
    rewrite(path, entries(path), zipfile.ZIP_DEFLATED)
    with pytest.raises(RecordsError, match="is compressed"):
        read_small_forms(path)
