"""Every strategy a CPU can run, against the official package and against float64.

Three models are compared on the same tokens: ours, the official package under the same strategy,
and a float64 twin of what the strategy stores (the official package's own tensors, int8 ones
dequantised). How far the official package is from its twin is what its formats cost in rounding.
That figure, measured here, is all that ours may take too; `pytest -rP` shows the figures.
"""

import functools
import sys

import pytest
import torch

from harness.runtime import load_model
from harness.runtime.reference import ReferenceModel
from tests.runtime.conftest import CASES, Case, kl, random_tensors

CHECKPOINTS = [
    Case(n_layer, n_embd, dim_ffn, dtype)
    for n_layer, n_embd, dim_ffn in [(3, 48, 101), (13, 32, 96), (2, 128, 320)]
    for dtype in (torch.float32, torch.bfloat16)
]
EVERY_CHECKPOINT = pytest.mark.parametrize("case", CHECKPOINTS, ids=lambda case: case.name)
TOKENS = torch.randint(0, 61, (24,), generator=torch.Generator().manual_seed(0)).tolist()
# How the tokens are fed: each piece goes on from the state behind the one before.
WAYS = {"whole": (24,), "single tokens": (1,) * 9, "carried": (5, 1, 1, 17)}

FP32 = [
    "cpu fp32",
    "cpu fp32 *2+",
    "cpu fp32 *1 -> cpu fp32",
    "cpu fp32 *100 -> cpu fp16",  # a stage without a slot, for which all others are rescaled
]
OTHERS = [
    "cpu bf16",
    "cpu fp16",
    "cpu fp32i8",
    "cpu bf16i8",
    "cpu fp16i8",
    "cpu fp32i8 -> cpu fp32",
    "cpu fp16i8 -> cpu fp16",
    "cpu fp32 -> cpu bf16",
    "cpu fp32i8 -> cpu bf16i8 -> cpu fp32 *1",
    "cpu fp32 -> cpu fp16 -> cpu bf16",
    "cpu bf16 *1+",
    "cpu fp32i8 *0+",
    "cpu bf16i8 *1+ -> cpu fp32 *1",
    "cpu fp16i8 *1 -> cpu fp16 *0+ -> cpu fp32 *1",
    "cpu fp32i8 *100 -> cpu fp16",
    "cpu bf16i8 -> cpu bf16 *100 -> cpu fp16",
]
FP32_BOUND = 2e-5  # of logits
# What logits apart by that much at most can make of a divergence: half their variance.
FP32_KL = FP32_BOUND**2 / 2


def feed(forward, pieces):
    """Logits [T, V] behind each of the tokens, fed in pieces."""
    rows, state, start = [], None, 0
    for n in pieces:
        logits, state = forward(TOKENS[start : start + n], state, full_output=True)
        rows.append(logits.reshape(n, -1))
        start += n
    return torch.cat(rows)


def feed_official(model, pieces):
    try:
        return feed(model.forward, pieces)
    except RuntimeError as error:
        if "'Half'" not in str(error):
            raise
        pytest.skip(f"the official package cannot run fp16 with this torch: {error}")


class FoldedReference(ReferenceModel):
    """The float64 twin of a model whose embedding ln0 is folded into."""

    def _norm(self, name, x):
        return x if name == "blocks.0.ln0" else super()._norm(name, x)


def in_original_form(official, original):
    """What the official package stores, as float64 tensors of an original checkpoint."""
    tensors = dict(original)
    for name in original:
        if "ln0" in name or name.endswith("time_decay"):
            continue  # folded away; and stored as -exp, in float32
        tensor = official.w[name]
        if tensor.dtype == torch.uint8:
            q, mx, rx, my, ry = (official.w[name + part].double() for part in PARTS)
            tensor = (q + 0.5) * ry * rx + my + mx
        tensor = tensor.double()
        if tensor.dim() == 2 and name != "emb.weight":
            tensor = tensor.t()
        if official.RESCALE_LAYER and name.endswith(("att.output.weight", "ffn.value.weight")):
            tensor = tensor * 2 ** (int(name.split(".")[1]) // official.RESCALE_LAYER)
        tensors[name] = tensor
    return tensors


PARTS = ("", "_mx", "_rx", "_my", "_ry")


@functools.cache
def original_logits(case):
    """Of the original model in float64: nothing rounded, nothing quantised."""
    return ReferenceModel(random_tensors(case)).forward(TOKENS)[0]


@EVERY_CHECKPOINT
@pytest.mark.parametrize("strategy", FP32)
def test_fp32_logits_are_the_official_ones(case, strategy, checkpoint, official):
    theirs = official(checkpoint(case), strategy)
    ours = load_model(checkpoint(case), strategy, fold="file")
    for pieces in WAYS.values():
        got = feed(ours.forward, pieces)
        assert got.dtype == torch.float32
        assert (got - feed_official(theirs, pieces)).abs().max() < FP32_BOUND


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_so_they_are_for_files_of_other_makes(case, checkpoint, official):
    theirs = feed_official(official(checkpoint(case), "cpu fp32"), (12,))
    ours = feed(load_model(checkpoint(case), "cpu fp32", fold="file").forward, (12,))
    assert (ours - theirs).abs().max() < FP32_BOUND


def test_so_they_are_over_more_tokens_than_our_chunks_hold(checkpoint, official):
    case, tokens = CHECKPOINTS[0], TOKENS * 12
    theirs, _ = official(checkpoint(case), "cpu fp32").forward(tokens, None, full_output=True)
    model = load_model(checkpoint(case), "cpu fp32", fold="file")
    ours, _ = model.forward(tokens, full_output=True)
    assert (ours - theirs).abs().max() < FP32_BOUND


@EVERY_CHECKPOINT
@pytest.mark.parametrize("strategy", OTHERS)
def test_other_formats_round_no_worse_than_the_official_package(
    case, strategy, checkpoint, official, record_property
):
    theirs = official(checkpoint(case), strategy)
    ours = load_model(checkpoint(case), strategy, fold="file")
    twin, _ = FoldedReference(in_original_form(theirs, random_tensors(case))).forward(TOKENS)
    for way, pieces in WAYS.items():
        theirs_now, ours_now = feed_official(theirs, pieces), feed(ours.forward, pieces)
        n = sum(pieces)
        figures = {
            "official": kl(twin[:n], theirs_now),
            "ours": kl(twin[:n], ours_now),
            "original to official": kl(original_logits(case)[:n], theirs_now),
            "original to ours": kl(original_logits(case)[:n], ours_now),
            "official to ours": kl(theirs_now, ours_now),
        }
        means = {name: figure.mean().item() for name, figure in figures.items()}
        record_property(f"KL, {way}", means)
        shown = ", ".join(f"{name} {mean:.1e}" for name, mean in means.items())
        sys.stdout.write(f"{strategy}, {way}: KL(float64, …) {shown}\n")
        assert_no_larger(figures["ours"], figures["official"])
        assert_no_larger(figures["original to ours"], figures["original to official"])
        # Two that are so near to the truth each are at most twice as far apart, in the root.
        assert means["official to ours"] < 4 * means["official"] + FP32_KL


def assert_no_larger(ours, official):
    """The mean over tokens, but for four standard errors of what differs from token to token."""
    differences = ours - official
    error = differences.std() / len(differences) ** 0.5
    assert differences.mean() < 4 * error + FP32_KL, (ours.mean(), official.mean(), error)
