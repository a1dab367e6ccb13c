"""Converted files: which strategies they serve, and what is said of those that are damaged."""

import shlex

import pytest
import safetensors.torch
import torch

from harness.errors import CheckpointError
from harness.runtime import load_model
from harness.runtime.checkpoint import read_header
from harness.runtime.convert import convert
from tests.runtime.conftest import DEEP, DEVICES, ODD, content_of, our_logits

# -- which strategies a converted file serves ----------------------------------------------------

PLANS = [
    "cpu fp32",
    "cuda fp32 *9 -> cpu fp32",
    "cpu fp32 *100 -> cpu fp16",  # rescaled for a stage that gets no slot
    "cpu fp32i8 *20",
    "cpu fp32i8",
    "cuda:0 fp32i8 *2 -> cuda:1 fp32i8 *3+",
    "cuda fp16i8 *2 -> cpu fp32",
    "cpu fp16i8 *1 -> cuda:1 fp16i8 *1 -> mps fp32 *0+",
    "cuda fp16i8 *1 -> cpu fp32",
    "cpu bf16i8 *4 -> cpu bf16",
]


@pytest.mark.parametrize("case", [DEEP, ODD], ids=lambda case: case.name)
@pytest.mark.parametrize("converted_for", PLANS)
def test_a_file_serves_every_plan_that_stores_the_same_tensors(
    case, converted_for, official_convert
):
    header = read_header(official_convert(case, converted_for))
    have = official_tensors(official_convert(case, converted_for))
    for strategy in PLANS:
        needed = official_tensors(official_convert(case, strategy))
        same = set(have) == set(needed) and all(
            have[name].dtype == needed[name].dtype and torch.equal(have[name], needed[name])
            for name in needed
        )
        assert (header.why_unfit(strategy) is None) == same, strategy


def official_tensors(path):
    content = content_of(path)
    return {name: value for name, value in content.items() if not name.startswith("_")}


def test_twenty_slots_of_int8_are_all_of_them(checkpoint, official_convert, tmp_path):
    convert(checkpoint(DEEP), tmp_path / "ours.safetensors", "cpu fp32i8 *20", fold="file")
    expected = our_logits(checkpoint(DEEP), "cpu fp32i8", fold="file")
    for path in (tmp_path / "ours.safetensors", official_convert(DEEP, "cpu fp32i8 *20")):
        assert torch.equal(our_logits(path, "cpu fp32i8"), expected)


@pytest.mark.parametrize(
    ("converted_for", "strategy", "said"),
    [
        ("cpu fp32i8", "cpu fp32", ["slots 0-13 hold fp32i8, not fp32"]),
        (
            "cpu fp32i8 *4 -> cpu fp32",
            "cuda fp32i8 *5 -> cpu bf16 *1",
            ["slot 4 holds fp32, not fp32i8", "slots 5-13 hold fp32, not bf16"],
        ),
        (
            "cpu fp32",
            "cpu fp32 *100 -> cpu fp16",
            ["weights as they are (as without an fp16 stage), not weights for halving every 6"],
        ),
        (
            "cuda fp16i8 *2 -> cpu fp32",
            "cuda bf16i8 *2 -> cpu fp32",
            [
                "slots 0-1 hold fp16i8, not bf16i8",
                "weights for halving every 6 blocks (as with an fp16 stage), not weights as",
            ],
        ),
    ],
)
def test_another_plan_is_refused_slot_by_slot_with_the_way_out(
    converted_for, strategy, said, checkpoint, official_convert, tmp_path
):
    convert(checkpoint(DEEP), tmp_path / "ours.safetensors", converted_for)
    for path in (tmp_path / "ours.safetensors", official_convert(DEEP, converted_for)):
        with pytest.raises(CheckpointError) as error:
            load_model(path, strategy, devices=DEVICES)
        message = str(error.value)
        assert str(path) in message
        assert f"'{converted_for}'" in message
        assert [text for text in said if text not in message] == []
        command = shlex.split(message[message.index("python -m harness") :])
        assert command[3:4] + command[-2:] == ["convert", "--strategy", strategy]
        with pytest.raises(CheckpointError, match="cannot serve"):
            convert(path, tmp_path / "other.pth", strategy)


# -- files that were tampered with ---------------------------------------------------------------


def changed(path, change, tmp_path):
    content = content_of(path)
    change(content)
    torch.save(content, tmp_path / "changed.pth")
    return tmp_path / "changed.pth"


@pytest.mark.parametrize(
    ("rescale", "said"),
    [
        (6, "weights for halving every 6 blocks (as with an fp16 stage), not weights as they are"),
        (4, "weights for halving every 4 blocks"),
    ],
)
def test_another_rescaling_than_the_plan_s_is_refused(rescale, said, official_convert, tmp_path):
    path = changed(
        official_convert(DEEP, "cpu fp32"),
        lambda content: content.update(_rescale_layer=rescale),
        tmp_path,
    )
    with pytest.raises(CheckpointError) as error:
        load_model(path, "cpu fp32")
    assert said in str(error.value)


def test_a_rescaling_that_divides_nothing_stored_is_no_difference(official_convert, tmp_path):
    path = changed(
        official_convert(ODD, "cpu fp32"),
        lambda content: content.update(_rescale_layer=999),  # a way to switch it off
        tmp_path,
    )
    expected = our_logits(official_convert(ODD, "cpu fp32"), "cpu fp32")
    assert torch.equal(our_logits(path, "cpu fp32"), expected)


KEY = "blocks.1.ffn.key.weight"
DAMAGE = [
    (lambda c: c.pop(f"{KEY}_mx"), f"'{KEY}_mx' is missing"),
    (lambda c: c.pop(f"{KEY}_ry"), f"'{KEY}_ry' is missing"),
    (lambda c: c.pop(KEY), f"'{KEY}' is missing"),
    (lambda c: c.pop("blocks.2.att.key.weight"), "'blocks.2.att.key.weight' is missing"),
    (lambda c: c.pop("emb.weight"), "without an embedding"),
    (lambda c: c.pop("ln_out.bias"), "'ln_out.bias' is missing"),
    (lambda c: c.update({f"{KEY}_ry": torch.zeros(47, 1)}), rf"'{KEY}_ry' is fp32 \[47, 1\]"),
    (lambda c: c.update({f"{KEY}_ry": torch.zeros(48, 2)}), rf"'{KEY}_ry' is fp32 \[48, 2\]"),
    (lambda c: c.update({f"{KEY}_rx": c[f"{KEY}_rx"].bfloat16()}), f"'{KEY}_rx' is bf16"),
    (lambda c: c.update({KEY: c[KEY].float()}), f"'{KEY}' is fp32"),
    (lambda c: c.update({KEY: c[KEY].t()}), f"'{KEY}' is uint8"),
    (lambda c: c.update({"blocks.0.att.time_decay": torch.zeros(48).half()}), "time_decay' is fp1"),
    (lambda c: c.update({"blocks.0.ln0.weight": torch.zeros(48)}), "'blocks.0.ln0.weight'"),
    (lambda c: c.update({"blocks.77.ln1.bias": torch.zeros(48)}), "missing"),
    (lambda c: c.update({"blocks.999999.ln1.bias": torch.zeros(48)}), "most are missing"),
    (lambda c: c.update(_strategy="garbage"), "'garbage'"),
    (lambda c: c.update(_strategy=""), "a stage is empty"),
    (lambda c: c.update(_strategy="cpu fp32i4"), "4-bit"),
    (lambda c: c.update(_strategy="cpu fp32"), "slots 0-3 hold fp32i8, not fp32"),
    (lambda c: c.update(_strategy=None), "'_strategy' is not a tensor"),
    (lambda c: c.update(_version="0.6"), "version '0.6'"),
    (lambda c: c.update(_version="odd"), "version 'odd'"),
    (lambda c: c.update(_version="nan"), "version 'nan'"),
    (lambda c: c.pop("_version"), "version None"),
    (lambda c: c.update(_rescale_layer="6"), "_rescale_layer is '6'"),
    (lambda c: c.update(_rescale_layer=-6), "_rescale_layer is -6"),
    (lambda c: c.pop("_rescale_layer"), "_rescale_layer is None"),
    (lambda c: c.pop("_strategy"), "ln0"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[said for _, said in DAMAGE])
def test_damaged_converted_files_are_refused_in_words(damage, said, official_convert, tmp_path):
    path = changed(official_convert(ODD, "cpu fp32i8"), damage, tmp_path)
    with pytest.raises(CheckpointError, match=said) as error:
        load_model(path, "cpu fp32i8")
    assert str(path) in str(error.value)


OUR_DAMAGE = [
    ({"rwkv_harness_converted": "2"}, "another release"),
    ({"strategy": "garbage"}, "'garbage'"),
    ({"strategy": "cpu bf16i8"}, "slots 0-3 hold fp32i8, not bf16i8"),
    ({"fold": "bf16"}, "damaged"),
    ({"rescale_layer": "-1"}, "damaged"),
    ({"rescale_layer": ""}, "damaged"),
]


@pytest.mark.parametrize(("damage", "said"), OUR_DAMAGE)
def test_damaged_metadata_of_ours_is_refused_in_words(damage, said, checkpoint, tmp_path):
    path, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    convert(checkpoint(ODD), path, "cpu fp32i8")
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(safetensors.torch.load_file(path), bad, {**metadata, **damage})
    with pytest.raises(CheckpointError, match=said) as error:
        load_model(bad, "cpu fp32i8")
    assert str(bad) in str(error.value)
