"""Converted files: ours and the official package's, in both formats, are the same bits."""

import shlex

import pytest
import safetensors.torch
import torch

from harness.errors import CheckpointError
from harness.runtime import load_model
from harness.runtime.checkpoint import read_header
from harness.runtime.convert import convert
from harness.runtime.devices import DeviceMap
from harness.runtime.strategy import canonical
from tests.runtime.conftest import TOKENS, Case, random_tensors

DEEP = Case(13, 32, 96, torch.bfloat16, shared_storage=True)
ODD = Case(3, 48, 101, torch.float32)
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
# Every device name of the strategies, all of them on the CPU.
DEVICES = DeviceMap(dict.fromkeys(["cpu", "cuda", "cuda:0", "cuda:1", "mps"], torch.device("cpu")))


def content_of(path):
    """All that torch reads. What is in these files is known, so the fast reader may read it."""
    return torch.load(path, weights_only=False)


def our_logits(path, strategy, fold="float32"):
    """Of a sequence, and of a token behind it."""
    model = load_model(path, strategy, fold=fold, devices=DEVICES)
    first, state = model.forward(TOKENS, full_output=True)
    second, _ = model.forward([7], state)
    return torch.cat((first, second[None]))


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


@pytest.mark.parametrize("spelled", ["  cpu fp32i8 *1->cpu fp32  ", "cpu fp32i8   ->   cpu fp32"])
def test_however_a_strategy_is_spelled_the_official_package_knows_it_again(
    spelled, checkpoint, official, tmp_path
):
    convert(checkpoint(ODD), tmp_path / "ours.pth", spelled, form="pth")
    assert content_of(tmp_path / "ours.pth")["_strategy"] == canonical(spelled)
    assert official_runs(official(tmp_path / "ours.pth", spelled)) is not None


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


def test_the_entries_of_an_original_do_not_come_back_through_conversion(checkpoint, tmp_path):
    """What is stored is a pure function of the original: converting twice gives the same bytes."""
    for name in ("one", "two"):
        convert(checkpoint(ODD), tmp_path / name, "cpu bf16i8", form="pth")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert random_tensors(ODD).keys() - content_of(tmp_path / "one").keys() == {
        "blocks.0.ln0.weight",
        "blocks.0.ln0.bias",
    }
