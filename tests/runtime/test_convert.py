"""Converting as a user does it: what is written, and what is left when it does not work."""

import gc
import json
import os
import struct
import sys
import zipfile
from types import SimpleNamespace

import pytest
import torch

from harness.errors import BadInput, CheckpointError, HarnessError
from harness.runtime import load_model, output_file
from harness.runtime.checkpoint import read_header
from harness.runtime.convert import _source_sha256, convert
from harness.runtime.pth_writer import PthWriter
from harness.runtime.stored import StoredTensor
from harness.runtime.synth_file import save_random
from harness.runtime.tensors import FileSource
from tests.runtime.conftest import ODD, TOKENS, Case, content_of, random_tensors

FORMS = pytest.mark.parametrize("form", ["safetensors", "pth"])
SHA256 = "5b" * 32


def changed_header(path, change):
    """A safetensors file with another header before the same bytes."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    return path


# -- what is written -----------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_originals_of_every_format_convert_to_what_is_loaded_from_them(form, dtype, tmp_path):
    case = ODD._replace(dtype=torch.float32)
    torch.save({n: t.to(dtype) for n, t in random_tensors(case).items()}, tmp_path / "a.pth")
    strategy = "cpu fp32i8 *2 -> cpu bf16"
    convert(tmp_path / "a.pth", tmp_path / "b", strategy, form=form)
    fold = "file" if form == "pth" else "float32"
    expected, _ = load_model(tmp_path / "a.pth", strategy, fold=fold).forward(TOKENS)
    logits, _ = load_model(tmp_path / "b", strategy).forward(TOKENS)
    assert torch.equal(logits, expected)


@FORMS
def test_every_tensor_begins_where_it_can_be_mapped(form, checkpoint, tmp_path):
    convert(checkpoint(ODD), tmp_path / "out", "cpu fp32i8", form=form)
    multiple = 64 if form == "pth" else 1
    offsets = [info.offset for info in read_header(tmp_path / "out").tensors.values()]
    assert [offset for offset in offsets if offset % multiple] == []
    if form == "safetensors":
        length = struct.unpack("<Q", (tmp_path / "out").read_bytes()[:8])[0]
        assert length % 8 == 0


@FORMS
def test_progress_ends_at_the_bytes_of_all_tensors(form, checkpoint, tmp_path):
    heard = []
    path = tmp_path / "out"
    done = convert(
        checkpoint(ODD),
        path,
        "cpu bf16i8",
        form=form,
        on_progress=lambda done, total: heard.append((done, total)),
    )
    total = sum(info.span_bytes for info in read_header(path).tensors.values())
    assert heard[0] == (0, total)
    assert heard[-1] == (total, total)
    assert heard == sorted(heard)
    assert done.nbytes == path.stat().st_size > total


def test_the_hash_of_the_original_goes_from_file_to_file(checkpoint, tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert convert(checkpoint(ODD), one, "cpu fp32", source_sha256=SHA256).source_sha256 == SHA256
    assert convert(one, two).source_sha256 == SHA256
    assert read_header(two).converted.source_sha256 == SHA256


def test_random_weights_of_another_seed_or_size_have_another_hash():
    made_from = [("random:169m", 0), ("random:169m", 1), ("random:430m", 0)]
    assert len({_source_sha256(weights, seed) for weights, seed in made_from}) == 3


@pytest.mark.parametrize("seed", [0, 7])
def test_random_weights_written_to_a_file_are_those_of_its_seed(seed, tmp_path):
    shape, heard = ODD.shape, []
    for name in ("a.pth", "a.safetensors"):
        save_random(
            tmp_path / name,
            shape,
            seed=seed,
            dtype=ODD.dtype,
            on_progress=lambda done, total: heard.append((done, total)),
        )
        assert heard[-1][0] == heard[-1][1] == 4 * shape.n_params
    expected = random_tensors(ODD, seed)
    content = content_of(tmp_path / "a.pth")
    assert list(content) == list(expected)
    assert all(torch.equal(content[name], tensor) for name, tensor in expected.items())


class _Large(PthWriter):
    """Takes every entry for one of more than 2 GiB."""

    def _add(self, name, data):
        super()._add(name, _Claim(data) if name.startswith("data/") else data)


class _Claim(bytes):
    nbytes = 2**31


def test_entries_with_64_bit_sizes_are_as_aligned_and_readable(tmp_path):
    tensors = {f"t{i}": torch.arange(5.0 + i) for i in range(3)}
    announced = {n: StoredTensor(dtype="fp32", shape=tuple(t.shape)) for n, t in tensors.items()}
    with (tmp_path / "out.pth").open("wb") as file:
        writer = _Large(file, announced, {})
        for name, tensor in tensors.items():
            writer.write(name, tensor)
        writer.finish()
    content = content_of(tmp_path / "out.pth")
    assert all(torch.equal(content[name], tensor) for name, tensor in tensors.items())
    with zipfile.ZipFile(tmp_path / "out.pth") as archive, (tmp_path / "out.pth").open("rb") as raw:
        for entry in archive.infolist():
            raw.seek(entry.header_offset + 26)
            start = entry.header_offset + 30 + sum(struct.unpack("<HH", raw.read(4)))
            assert start % 64 == 0, entry.filename


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["itself", "symlink", "hard link"])
def test_the_input_is_never_the_output(kind, checkpoint, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(checkpoint(ODD).read_bytes())
    out = path if kind == "itself" else tmp_path / "b.pth"
    if kind == "symlink":
        out.symlink_to(path)
    elif kind == "hard link":
        os.link(path, out)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="is the file that is to be converted"):
        convert(path, out, "cpu fp32")
    assert path.read_bytes() == before


def test_a_fold_that_a_converted_file_does_not_have_is_refused(checkpoint, tmp_path):
    convert(checkpoint(ODD), tmp_path / "a.safetensors", "cpu bf16")
    with pytest.raises(BadInput, match="folded in float32, not in file"):
        convert(tmp_path / "a.safetensors", tmp_path / "b.pth", form="pth", fold="file")
    convert(tmp_path / "a.safetensors", tmp_path / "b.pth", form="pth")


@pytest.mark.parametrize("digest", [5, None, "", "5b", ["x"], "5B" * 32, SHA256 + "\n"])
def test_a_source_hash_that_is_none_is_refused(digest, checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    convert(checkpoint(ODD), path, "cpu fp32")
    changed_header(path, lambda header: header["__metadata__"].update(source_sha256=digest))
    with pytest.raises(CheckpointError, match="which is no SHA-256; damaged"):
        read_header(path)


@pytest.mark.parametrize("name", ["blocks.1.att.key.weight", "head.weight"])
@pytest.mark.parametrize("is_converted", [False, True])
def test_matrices_have_two_dimensions(name, is_converted, checkpoint, tmp_path):
    path = checkpoint(ODD)
    if is_converted:
        convert(path, tmp_path / "a.pth", "cpu fp32", form="pth")
        path = tmp_path / "a.pth"
    content = content_of(path)
    content[name] = content[name][:, :, None].contiguous()
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=f"'{name}'"):
        load_model(tmp_path / "bad.pth", "cpu fp32")


def test_a_file_that_shrinks_while_it_is_read_is_refused(checkpoint, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(checkpoint(ODD).read_bytes())
    source = FileSource(read_header(path))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"'head.weight': the file ended while it was read"):
        source.read("head.weight")
    source.close()


# -- what is left --------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_conversion_that_breaks_off_leaves_the_old_file_and_nothing_else(
    form, error, checkpoint, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    out.write_text("old")
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    def breaking(done, _total):
        if done:
            raise error

    expected = HarnessError if isinstance(error, OSError) else error
    with pytest.raises(expected):
        convert(checkpoint(ODD), out, "cpu fp32", form=form, on_progress=breaking)
    gc.collect()
    assert complaints == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert out.read_text() == "old"


def test_a_full_disk_is_seen_before_anything_is_written(checkpoint, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=3 * 2**19)
    monkeypatch.setattr(output_file.shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(HarnessError, match=r"needs [0-9.]+ MiB, and its disk has 1\.5 MiB free"):
        convert(checkpoint(Case(1, 256, 512, torch.float32)), tmp_path / "out", "cpu fp32")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_said_in_words(checkpoint, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HarnessError, match=r"out cannot be written: (File exists|Not a directory)"):
        convert(checkpoint(ODD), tmp_path / "file" / "out", "cpu fp32")


def test_a_file_whose_metadata_names_another_plan_is_damaged(checkpoint, tmp_path):
    out = tmp_path / "out.safetensors"
    convert(checkpoint(ODD), out, "cpu bf16i8")
    changed_header(out, lambda header: header["__metadata__"].update(plan="1 fp32*4"))
    with pytest.raises(CheckpointError, match="its metadata names another one"):
        read_header(out)


def test_the_official_format_names_the_strategy_as_it_was_spelled(checkpoint, tmp_path):
    """The official package compares the texts, leading zeros and all."""
    convert(checkpoint(ODD), tmp_path / "out.pth", " cpu fp32 *01->cpu bf16 ", form="pth")
    named = torch.load(tmp_path / "out.pth")["_strategy"]
    assert named == "cpu fp32 *01 -> cpu bf16"
