"""Converted files: ours and the official package's, in both formats, are the same bits."""

import sys

import pytest
import safetensors.torch
import torch

from harness.runtime.checkpoint import read_header
from harness.runtime.convert import convert
from harness.runtime.shape import RANDOM_SHAPES, original_tensors
from harness.runtime.strategy import canonical
from harness.runtime.synthetic import RandomSource
from tests.runtime.conftest import (
    DEEP,
    ODD,
    TOKENS,
    Case,
    content_of,
    our_logits,
    random_tensors,
    views_of_one_storage,
)

FILES = [
    Case(13, 32, 96, torch.float32),
    DEEP,
    ODD,
    Case(7, 64, 80, torch.float16, shared_storage=True),
]
RUN_HERE = [
    "cpu fp32",
    "cpu bf16",
    "cpu fp16",
    "cpu fp32i8",
    "cpu bf16i8",
    "cpu fp16i8",
    "cpu fp32i8 *1+",
    "cpu bf16i8 -> cpu fp32 -> cpu bf16 *1",
    "cpu fp32 *1 -> cpu fp16i8 -> cpu bf16i8 *1",
]
RUN_ELSEWHERE = [
    "cuda fp16i8 *2 -> cpu fp32",
    "cuda:0 fp16i8 *1 -> cuda:1 bf16 *0+ -> mps fp32i8 *1",
]
EVERY_FILE = pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
EVERY_STRATEGY = pytest.mark.parametrize("strategy", RUN_HERE + RUN_ELSEWHERE)


def official_runs(model):
    """The same of the official package; None where it has no half for this torch's CPU."""
    try:
        first, state = model.forward(TOKENS, None, full_output=True)
        second, _ = model.forward([7], state)
    except RuntimeError as error:
        if "'Half'" not in str(error):
            raise
        return None
    return torch.cat((first, second[None]))


def assert_same_content(got, expected):
    """Names, and of each entry all that torch.save kept: format, shape, layout, bits."""
    assert set(got) == set(expected)
    for name, wanted in expected.items():
        found = got[name]
        assert type(found) is type(wanted), name
        if not isinstance(wanted, torch.Tensor):
            assert found == wanted, name
            continue
        assert found.dtype == wanted.dtype, name
        assert found.shape == wanted.shape, name
        assert found.stride() == wanted.stride(), name
        assert torch.equal(found, wanted), name


# -- what the official package converts ----------------------------------------------------------


@EVERY_FILE
@EVERY_STRATEGY
def test_what_the_official_package_converts_is_what_ours_does(
    case, strategy, checkpoint, official_convert, tmp_path
):
    theirs = official_convert(case, strategy)
    convert(checkpoint(case), tmp_path / "ours.pth", strategy, form="pth")
    assert_same_content(content_of(tmp_path / "ours.pth"), content_of(theirs))


@EVERY_FILE
@EVERY_STRATEGY
def test_it_runs_here_as_the_original_does(case, strategy, checkpoint, official_convert):
    theirs = official_convert(case, strategy)
    header = read_header(theirs)
    assert header.shape == case.shape
    assert header.converted.strategy == strategy
    assert header.why_unfit(strategy) is None
    logits = our_logits(theirs, strategy)
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, our_logits(checkpoint(case), strategy, fold="file"))


# -- what ours converts --------------------------------------------------------------------------


@EVERY_FILE
@pytest.mark.parametrize("strategy", RUN_HERE)
def test_the_official_package_runs_ours_as_the_original(
    case, strategy, checkpoint, official, tmp_path
):
    convert(checkpoint(case), tmp_path / "ours.pth", strategy, form="pth")
    from_ours = official(tmp_path / "ours.pth", strategy)
    from_original = official(checkpoint(case), strategy)
    assert_same_content(dict(from_ours.w), dict(from_original.w))
    got, expected = official_runs(from_ours), official_runs(from_original)
    assert (got is None) == (expected is None)
    assert got is None or torch.equal(got, expected)


@EVERY_FILE
@EVERY_STRATEGY
def test_both_forms_run_here_as_the_original_and_turn_into_each_other(
    case, strategy, checkpoint, official_convert, tmp_path
):
    convert(checkpoint(case), tmp_path / "ours.safetensors", strategy)
    assert torch.equal(
        our_logits(tmp_path / "ours.safetensors", strategy), our_logits(checkpoint(case), strategy)
    )
    convert(checkpoint(case), tmp_path / "file.safetensors", strategy, fold="file")
    convert(tmp_path / "file.safetensors", tmp_path / "back.pth", form="pth")
    theirs = content_of(official_convert(case, strategy))
    assert_same_content(content_of(tmp_path / "back.pth"), theirs)
    convert(official_convert(case, strategy), tmp_path / "forth.safetensors")
    assert_same_content(
        safetensors.torch.load_file(tmp_path / "forth.safetensors"),
        safetensors.torch.load_file(tmp_path / "file.safetensors"),
    )
    plans = {read_header(path).converted.plan for path in tmp_path.glob("f*.safetensors")}
    assert [plan.fold for plan in plans] == ["file"]


@pytest.mark.parametrize("spelled", ["  cpu fp32i8 *1->cpu fp32  ", "cpu fp32i8   ->   cpu fp32"])
def test_however_a_strategy_is_spelled_the_official_package_knows_it_again(
    spelled, checkpoint, official, tmp_path
):
    convert(checkpoint(ODD), tmp_path / "ours.pth", spelled, form="pth")
    assert content_of(tmp_path / "ours.pth")["_strategy"] == canonical(spelled)
    assert official_runs(official(tmp_path / "ours.pth", spelled)) is not None


def test_matrices_without_a_range_are_nan_only_where_the_official_package_quantises(
    official, tmp_path
):
    """An untrained model has such: they are all zero."""
    tensors = random_tensors(ODD)
    for name in ("att.output.weight", "ffn.value.weight"):
        tensors[f"blocks.1.{name}"] = torch.zeros_like(tensors[f"blocks.1.{name}"])
    torch.save(tensors, tmp_path / "original.pth")
    convert(tmp_path / "original.pth", tmp_path / "ours.pth", "cpu fp32i8", form="pth")
    assert torch.isnan(official_runs(official(tmp_path / "original.pth", "cpu fp32i8"))).all()
    logits = official_runs(official(tmp_path / "ours.pth", "cpu fp32i8"))
    ours = our_logits(tmp_path / "original.pth", "cpu fp32i8", fold="file")
    assert (logits - ours).abs().max() < 5e-5


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["cuda fp16i8 *8 -> cpu fp32", "cpu bf16i8"])
def test_a_model_of_a_published_size_is_converted_to_the_same_bits(strategy, monkeypatch, tmp_path):
    rwkv_model = pytest.importorskip("rwkv.model")
    source = RandomSource(RANDOM_SHAPES["169m"], 0, torch.bfloat16)
    original = {name: source.read(name) for name in original_tensors(source.shape)}
    torch.save(views_of_one_storage(original), tmp_path / "original.pth")
    monkeypatch.setattr(rwkv_model, "exit", sys.exit, raising=False)
    with pytest.raises(SystemExit):
        rwkv_model.RWKV(str(tmp_path / "original"), strategy, False, str(tmp_path / "theirs"))
    convert(tmp_path / "original.pth", tmp_path / "ours.pth", strategy, form="pth")
    assert_same_content(content_of(tmp_path / "ours.pth"), content_of(tmp_path / "theirs.pth"))
    expected = our_logits(tmp_path / "original.pth", strategy, fold="file")
    assert torch.equal(our_logits(tmp_path / "theirs.pth", strategy), expected)


@pytest.mark.parametrize(("strategy", "n_entries"), [("cpu fp32", 241), ("cuda fp16i8", 609)])
def test_thirteen_layers_have_so_many_entries(
    strategy, n_entries, checkpoint, official_convert, tmp_path
):
    convert(checkpoint(DEEP), tmp_path / "ours.pth", strategy, form="pth")
    for path in (tmp_path / "ours.pth", official_convert(DEEP, strategy)):
        content = content_of(path)
        assert len(content) == n_entries
        assert not {"blocks.0.ln0.weight", "blocks.0.ln0.bias"} & set(content)
        assert content["_version"] == "0.7"
        assert content["_rescale_layer"] == (6 if "fp16" in strategy else 0)


def test_converting_twice_gives_the_same_bytes(checkpoint, tmp_path):
    for name in ("one", "two"):
        convert(checkpoint(ODD), tmp_path / name, "cpu bf16i8", form="pth")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
