"""The model card: what the shipped model is, how it was trained, and how well it does.

Everything in it comes from the training log, so that a model trained again has a true card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.quickstart import corpus
from harness.quickstart.files import CARD_NAME, CURVE_NAME, LOG_NAME, WEIGHTS_NAME

_TEXT = """\
# The quickstart model

A very small RWKV-4 language model, made so that `make bench` needs no download and its answers
mean something. It is trained on nothing but a corpus that `corpus.py` writes about the small world
of true facts in `world.py`: countries, mountains, rivers, animals, dates, works and their makers,
weekdays and months, opposites, and two-digit sums and differences with their working.

| | |
|---|---|
| Architecture | RWKV-4, {shape} |
| Parameters | {n_params:,} |
| File | `{weights}`, original key layout, bf16, {n_bytes:,} bytes |
| Tokenizer | byte-level BPE trained on the same corpus, every digit a token of its own |
| Prompt | `Bob: {{question}}`, a blank line, `Alice:`; an answer ends with a blank line |
| Licence | that of this project |

## How it was trained

    python -m harness train-quickstart --out FOLDER

The corpus has {n_turns:,} turns ({corpus_tokens:,} tokens), of which {share:.0%} are sums and
differences. Training took {minutes:.0f} minutes on one core (threads: {threads}; torch {torch}):
{steps:,} steps of {batch} rows × {tokens} tokens, AdamW, the learning rate from {peak_lr:g} down
to {last_lr:g} on a cosine. Questions count a tenth in the loss, answers in full. The seed is
{seed}; it gives the same file again with the same torch on the same kind of machine.

![Loss over training steps]({curve})

| Step | Loss (nats per token) | Held-out sums right, of 100 |
|---:|---:|---:|
{rows}

## How well it does

- {sums_right} of {sums_n} held-out sums and differences ({sums_share:.1%}) are answered exactly as
  taught, working and result. None of their operand pairs, in either order, is in the corpus:
  {n_held_out} of the 4,095 unordered pairs of two-digit numbers were held out, and a test writes
  the corpus again and looks.
- {asked_right} of {asked_n} questions of its question set are right under `cpu fp32`, among them
  {asked_sums_right} of {asked_sums_n} two-digit sums and differences with held-out operands.

## What it cannot do

It knows its small world in the phrasings of its corpus and a little beyond; anything else it makes
up. And it is so small that it lives in the CPU's cache: **its speeds say nothing about a 3B
model**. For speed, measure `random:169m` or larger, or the checkpoint you mean to run.
"""


def write_card(folder: Path) -> None:
    """Write `MODEL_CARD.md` and the plot of the loss beside the training log of a trained model."""
    log = json.loads((folder / LOG_NAME).read_text(encoding="utf-8"))
    n_bytes = (folder / WEIGHTS_NAME).stat().st_size
    (folder / CARD_NAME).write_text(render_card(log, n_bytes), encoding="utf-8")
    _plot_curve(log["curve"], folder / CURVE_NAME)


def render_card(log: Mapping[str, Any], n_bytes: int) -> str:
    """The card's text from a training log and the size of the weights file in bytes."""
    recipe, sums, asked = log["recipe"], log["held_out_sums"], log["questions"]
    return _TEXT.format(
        **recipe,
        shape=f"{recipe['n_layer']} layers, n_embd {recipe['n_embd']}, "
        f"dim_ffn {4 * recipe['n_embd']}, vocabulary {recipe['n_vocab']}",
        n_params=log["n_params"],
        weights=WEIGHTS_NAME,
        n_bytes=n_bytes,
        corpus_tokens=log["corpus_tokens"],
        share=corpus.ARITHMETIC_SHARE,
        minutes=log["elapsed_s"] / 60,
        torch=log["torch"],
        curve=CURVE_NAME,
        rows="\n".join(_row(point) for point in log["curve"] if _is_shown(point)),
        sums_n=sums["n"],
        sums_right=round(sums["right"] * sums["n"]),
        sums_share=sums["right"],
        n_held_out=corpus.N_HELD_OUT,
        asked_n=asked["n"],
        asked_right=asked["right"],
        asked_sums_n=asked["sums"]["n"],
        asked_sums_right=asked["sums"]["right"],
    )


def _is_shown(point: Mapping[str, Any]) -> bool:
    return point["held_out_right"] is not None or point["step"] == point["steps"]


def _row(point: Mapping[str, Any]) -> str:
    right = point["held_out_right"]
    return f"| {point['step']} | {point['loss']:.4f} | {'–' if right is None else f'{right:.0%}'} |"


def _plot_curve(curve: Sequence[Mapping[str, Any]], path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "quickstart", "svg.fonttype": "path"}):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([p["step"] for p in curve], [p["loss"] for p in curve], color="#0072B2")
        axes.set(yscale="log", xlabel="training step", ylabel="loss, nats per token")
        axes.set_title("Loss of the quickstart model (mean of about 20 steps)", fontsize="medium")
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.set_xlim(left=0)
        figure.savefig(path, format="svg", metadata={"Date": None})
