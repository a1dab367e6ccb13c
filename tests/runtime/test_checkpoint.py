"""Checkpoint headers: byte ranges that are right, and files that are refused in words."""

import collections
import io
import pickle
import struct
import zipfile

import pytest
import safetensors.torch
import torch

from harness.errors import CheckpointError
from harness.runtime import load_model
from harness.runtime.checkpoint import read_header
from harness.runtime.tensors import FileSource
from tests.runtime.conftest import CASES, TOKENS, Case, random_tensors, views_of_one_storage

SMALL = Case(1, 32, 128, torch.float32)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_tensor_is_read_back(case, checkpoint):
    header = read_header(checkpoint(case))
    assert header.shape == case.shape
    source = FileSource(header)
    expected = random_tensors(case)
    assert set(header.tensors) == set(expected)
    for name, tensor in expected.items():
        got = source.read(name)
        assert got.dtype == tensor.dtype
        assert torch.equal(got, tensor)
    source.close()


def test_a_view_reads_only_its_own_bytes(checkpoint):
    case = next(case for case in CASES if case.shared_storage)
    info = read_header(checkpoint(case)).tensors["blocks.3.att.key.weight"]
    assert info.span_bytes == case.n_embd**2 * 2


def test_transposed_views_are_read(tmp_path):
    tensors = random_tensors(SMALL)
    tensors["head.weight"] = tensors["head.weight"].t().contiguous().t()
    torch.save(tensors, tmp_path / "model.pth")
    source = FileSource(read_header(tmp_path / "model.pth"))
    assert torch.equal(source.read("head.weight"), tensors["head.weight"])
    source.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_safetensors_run_as_pth(dtype, tmp_path):
    tensors = random_tensors(SMALL._replace(dtype=dtype))
    torch.save(tensors, tmp_path / "model.pth")
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"a": "b"})
    one, _ = load_model(tmp_path / "model.pth", "cpu fp32").forward(TOKENS)
    other, _ = load_model(tmp_path / "model.safetensors", "cpu fp32").forward(TOKENS)
    assert torch.equal(one, other)


def test_parameters_and_ordered_dicts_are_weights_too(tmp_path):
    tensors = random_tensors(SMALL)
    torch.save(
        collections.OrderedDict((k, torch.nn.Parameter(v)) for k, v in tensors.items()),
        tmp_path / "model.pth",
    )
    assert read_header(tmp_path / "model.pth").shape == SMALL.shape


def test_time_mix_without_ones_is_taken(tmp_path):
    tensors = random_tensors(SMALL)
    torch.save(
        {k: v.flatten() if "time_mix" in k else v for k, v in tensors.items()}, tmp_path / "m.pth"
    )
    assert read_header(tmp_path / "m.pth").shape == SMALL.shape


class Exploit:
    def __reduce__(self):
        return (print, ("this must not be printed",))


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, capsys):
    torch.save({**random_tensors(SMALL), "x": Exploit()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="print, which a file of weights has no use for"):
        read_header(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "opcodes", [b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", b"garbage", b""]
)
def test_hostile_pickles_inside_a_zip_are_refused(opcodes, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", opcodes)
    with pytest.raises(CheckpointError, match="refused"):
        read_header(tmp_path / "evil.pth")


def test_views_that_reach_beyond_their_storage_are_refused(tmp_path):
    torch.save(views_of_one_storage(random_tensors(SMALL)), tmp_path / "m.pth")
    data = (tmp_path / "m.pth").read_bytes()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as good,
        zipfile.ZipFile(tmp_path / "cut.pth", "w") as bad,
    ):
        for entry in good.infolist():
            content = good.read(entry)
            bad.writestr(entry.filename, content[:100] if "/data/" in entry.filename else content)
    with pytest.raises(CheckpointError, match="beyond its storage"):
        read_header(tmp_path / "cut.pth")


def _lfs(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")


def _html(path):
    path.write_bytes(b"\n<!DOCTYPE html><html><body>404</body></html>")


def _empty(path):
    path.write_bytes(b"")


def _bare_pickle(path):
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2))


def _ggml(path):
    path.write_bytes(struct.pack("<I", 0x67676D66) + b"\0" * 40)


def _cut(path):
    torch.save(random_tensors(SMALL), path)
    path.write_bytes(path.read_bytes()[:-2000])


def _text(path):
    path.write_bytes(b"hello")


def _list(path):
    torch.save([1, 2], path)


def _trainer(path):
    torch.save({"model": {}, "step": 3}, path)


def _zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")


def _llama(path):
    torch.save({"model.layers.0.self_attn.q_proj.weight": torch.zeros(2, 2)}, path)


def _v5(path):
    torch.save({**random_tensors(SMALL), "blocks.0.att.ln_x.weight": torch.zeros(32)}, path)


def _v6(path):
    torch.save({**random_tensors(SMALL), "blocks.0.att.time_maa_x": torch.zeros(32)}, path)


def _v7(path):
    torch.save({**random_tensors(SMALL), "blocks.0.att.r_k": torch.zeros(32)}, path)


def _missing(path):
    torch.save({k: v for k, v in random_tensors(SMALL).items() if k != "ln_out.bias"}, path)


def _misshapen(path):
    torch.save({**random_tensors(SMALL), "blocks.0.att.key.weight": torch.zeros(32, 31)}, path)


def _extra(path):
    torch.save({**random_tensors(SMALL), "head_q.weight": torch.zeros(32, 32)}, path)


def _whole_numbers(path):
    torch.save({**random_tensors(SMALL), "ln_out.bias": torch.zeros(32, dtype=torch.int64)}, path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_lfs, "Git LFS pointer"),
        (_html, "web page"),
        (_empty, "empty"),
        (_bare_pickle, "bare pickle"),
        (_ggml, "ggml"),
        (_cut, "cut off"),
        (_text, "not a .pth of torch.save and not safetensors"),
        (_list, "holds a list"),
        (_trainer, "'model' is not a tensor"),
        (_zip, "not one that torch.save wrote"),
        (_llama, "Llama"),
        (_v5, "RWKV-5"),
        (_v6, "RWKV-6"),
        (_v7, "RWKV-7"),
        (_missing, "ln_out.bias"),
        (_misshapen, r"'blocks.0.att.key.weight' has shape \[32, 31\]"),
        (_extra, "'head_q.weight'"),
        (_whole_numbers, "holds int64 numbers"),
    ],
)
def test_other_files_are_named_for_what_they_are(make, said, tmp_path):
    path = tmp_path / "file.pth"
    make(path)
    with pytest.raises(CheckpointError, match=said) as error:
        load_model(path, "cpu fp32")
    assert str(path) in str(error.value)


@pytest.mark.parametrize("cut", [3, 200, 5000])
def test_cut_off_safetensors_are_refused(cut, tmp_path):
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(random_tensors(SMALL), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError):
        read_header(path)
