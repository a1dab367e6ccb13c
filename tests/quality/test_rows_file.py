import io
import json

import numpy as np
import pytest

from harness.errors import ReferenceUnusable
from harness.quality.rows_file import CHUNK, RowsFile, RowsWriter, rows_bytes
from tests.quality.rows import SHAPES, log_softmax, make_row


@pytest.fixture
def written(tmp_path):
    rows = np.stack([log_softmax(row) for row in np.random.default_rng(0).normal(size=(5, 7))])
    path = tmp_path / "rows.safetensors"
    with path.open("wb") as file:
        writer = RowsWriter(file, {"a": 2, "b": 3, "none": 0}, 7, {"weights": "w"})
        writer.write(rows[:1])
        writer.write(rows[1:4])  # chunks know nothing of where a passage ends
        writer.write(rows[4:])
        writer.finish()
    return path, rows


def test_each_passage_gets_its_rows_back(written):
    path, rows = written
    file = RowsFile(path)
    assert file.keys == {"a", "b", "none"}
    assert file.metadata["weights"] == "w"
    np.testing.assert_array_equal(file.rows("a")[:], rows[:2])
    np.testing.assert_array_equal(file.rows("b")[:], rows[2:])
    assert file.rows("none")[:].shape == (0, 7)
    np.testing.assert_array_equal(file.rows("b")[1:2], rows[3:4])
    np.testing.assert_array_equal(list(file.rows("b")), rows[2:])


def test_the_rows_are_mapped_not_loaded(written):
    assert isinstance(RowsFile(written[0]).rows("b")[:], np.memmap)


def test_more_rows_than_are_mapped_at_once_come_one_after_the_other(tmp_path):
    rng = np.random.default_rng(1)
    rows = np.stack([log_softmax(row) for row in rng.normal(size=(2 * CHUNK + 3, 2))])
    with (tmp_path / "rows").open("wb") as file:
        writer = RowsWriter(file, {"a": len(rows)}, 2, {})
        writer.write(rows)
        writer.finish()
    np.testing.assert_array_equal(list(RowsFile(tmp_path / "rows").rows("a")), rows)


@pytest.mark.parametrize("n_vocab", [2, 777, 65536])
def test_what_references_hold_is_not_taken_for_damage(n_vocab, tmp_path):
    rng = np.random.default_rng(2)
    rows = np.stack([make_row(rng, n_vocab, shape) for shape in SHAPES * 2])
    with (tmp_path / "rows").open("wb") as file:
        writer = RowsWriter(file, {"a": len(rows)}, n_vocab, {})
        writer.write(rows)
        writer.finish()
    np.testing.assert_array_equal(RowsFile(tmp_path / "rows").rows("a")[:], rows)


def test_rows_begin_where_the_format_wants_them():
    for name in ("a", "ab", "abc", "abcdefgh"):
        file = io.BytesIO()
        RowsWriter(file, {name: 1}, 3, {})
        assert file.tell() % 8 == 0


def test_the_library_reads_it_too(written):
    safetensors = pytest.importorskip("safetensors.numpy")
    path, rows = written
    np.testing.assert_array_equal(safetensors.load_file(path)["b"], rows[2:])


def test_the_room_that_it_needs_is_foreseen(written):
    path, _ = written
    n_bytes = rows_bytes({"a": 2, "b": 3, "none": 0}, 7)
    assert path.stat().st_size <= n_bytes < path.stat().st_size + 8192


def test_missing_or_surplus_rows_are_noticed():
    for rows in (np.zeros((1, 3)), np.zeros((3, 3))):
        writer = RowsWriter(io.BytesIO(), {"a": 2}, 3, {})
        writer.write(rows.astype(np.float32))
        with pytest.raises(AssertionError):
            writer.finish()


OURS = {"format": "rwkv-harness reference rows 1"}


def _header(**entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        (2**40).to_bytes(8, "little") + b"{}",
        _header(a={"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}) + b"1234",
        _header(__metadata__={"format": "another"}),
        _header(__metadata__=["format"]),
        (2**16).to_bytes(8, "little") + b"[" * 2**16,
        _header(
            __metadata__=OURS,
            a={"dtype": "F32", "shape": [1.0, 1], "data_offsets": [0, 4]},
        )
        + b"1234",
        _header(
            __metadata__=OURS,
            a={"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        )
        + b"1234",
        _header(
            __metadata__=OURS,
            a={"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]},
        )
        + b"12345678",
        _header(
            __metadata__=OURS,
            a={"dtype": "F16", "shape": [1, 1], "data_offsets": [0, 4]},
        )
        + b"1234",
        _header(__metadata__=OURS, a={"dtype": "F32"}),
    ],
)
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(ReferenceUnusable, match=r"other\.safetensors: not a"):
        RowsFile(path)


def test_a_torn_file_and_a_longer_one_are_refused(written):
    path, _ = written
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\0"):
        path.write_bytes(content)
        with pytest.raises(ReferenceUnusable, match="not a whole file"):
            RowsFile(path)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ReferenceUnusable, match="cannot be read"):
        RowsFile(tmp_path / "none.safetensors")


def test_a_file_that_goes_or_shrinks_meanwhile_says_so(written):
    path, rows = written
    stored = RowsFile(path).rows("b")
    np.testing.assert_array_equal(stored[:2], rows[2:4])
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(stored[:2], rows[2:4])
    with pytest.raises(
        ReferenceUnusable, match=r"rows\.safetensors: cannot be read any more \(.*s"
    ):
        stored[2:]
    path.unlink()
    for read in (lambda: stored[:1], lambda: list(stored)):
        with pytest.raises(ReferenceUnusable, match=r"read any more \(No such file or directory\)"):
            read()


@pytest.mark.parametrize(
    "bad",
    [[np.nan], [np.inf], [-np.inf], [0] * 7, [-1], [3e38], [-90] * 7],
    ids=["nan", "inf", "-inf", "zeros", "other", "vast", "nothing"],
)
def test_damaged_rows_are_refused_and_no_others(bad, written):
    path, rows = written
    whole = bytearray(path.read_bytes())
    at = len(whole) - 7 * 4  # the last row
    whole[at : at + 4 * len(bad)] = np.array(bad, dtype=np.float32).tobytes()
    path.write_bytes(whole)
    stored = RowsFile(path).rows("b")
    np.testing.assert_array_equal(stored[:2], rows[2:4])
    for read in (lambda: stored[1:3], lambda: list(stored)):
        with pytest.raises(ReferenceUnusable, match=r"damaged, 1 of \d rows hold no .* Remove it"):
            read()


def swap(path, n_bytes, first, second):
    """Two numbers of the file, counted from its end."""
    whole = bytearray(path.read_bytes())
    one, other = len(whole) - n_bytes * first, len(whole) - n_bytes * second
    here, there = slice(one, one + n_bytes), slice(other, other + n_bytes)
    whole[here], whole[there] = whole[there], whole[here]
    path.write_bytes(whole)


def test_probabilities_that_are_not_those_written_are_found_when_all_are_read(written):
    path, rows = written
    for key in ("a", "b", "none"):
        RowsFile(path).rows(key).check()
    swap(path, 4, 1, 3)  # of the last row, which still adds up to 1
    file = RowsFile(path)
    assert file.rows("b")[2:][0, 6] == rows[4, 4] != rows[4, 6]
    with pytest.raises(ReferenceUnusable, match="its numbers are others than were written"):
        file.rows("b").check()
    file.rows("a").check()
    swap(path, 4, 1, 3)
    swap(path, 7 * 4, 1, 2)  # two rows
    with pytest.raises(ReferenceUnusable, match="its numbers are others"):
        RowsFile(path).rows("b").check()


def test_chunks_that_end_within_a_passage_do_not_change_its_checksum(tmp_path):
    rng = np.random.default_rng(3)
    rows = np.stack([log_softmax(row) for row in rng.normal(size=(2 * CHUNK + 9, 2))])
    found = set()
    for n, size in enumerate((1, 7, CHUNK, len(rows))):
        path = tmp_path / str(n)
        with path.open("wb") as file:
            writer = RowsWriter(file, {"a": CHUNK + 3, "b": CHUNK + 6}, 2, {})
            for start in range(0, len(rows), size):
                writer.write(rows[start : start + size])
            writer.finish()
        for key in "ab":
            RowsFile(path).rows(key).check()
        found.add(path.read_bytes())
    assert len(found) == 1


def test_a_file_without_checksums_is_read_as_before(written):
    path, rows = written
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    entries = json.loads(whole[8 : 8 + length])
    assert len(entries["__metadata__"].pop("crc32")) == 3 * 8
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
    stored = RowsFile(path).rows("b")
    stored.check()
    np.testing.assert_array_equal(stored[:], rows[2:])


@pytest.mark.parametrize("sums", ["", "0" * 16, "x" * 24])
def test_checksums_that_are_none_make_no_whole_file(written, sums):
    path, _ = written
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    entries = json.loads(whole[8 : 8 + length])
    entries["__metadata__"]["crc32"] = sums
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
    with pytest.raises(ReferenceUnusable, match="not a file of reference rows"):
        RowsFile(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_written(bad):
    rows = np.zeros((2, 3), dtype=np.float32)
    rows[1, 2] = bad
    file = io.BytesIO()
    writer = RowsWriter(file, {"a": 2}, 3, {})
    header = file.tell()
    with pytest.raises(ReferenceUnusable, match="gave 1 NaN or infinite log-probabilities of 6"):
        writer.write(rows)
    assert file.tell() == header


def test_rows_that_the_file_has_not_are_refused(written):
    with pytest.raises(ReferenceUnusable, match="has not the rows"):
        RowsFile(written[0]).rows("c")
