"""Train the quickstart model: corpus -> tokenizer -> bf16 checkpoint -> score on held-out sums.

Imports torch only when called. One thread is the default because two stall on small machines, and
because sums in a fixed order are what makes a seeded run repeatable.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from harness.quickstart import corpus
from harness.quickstart.files import LOG_NAME, TOKENIZER_NAME, WEIGHTS_NAME
from harness.quickstart.tokenizer import N_VOCAB, train_tokenizer

if TYPE_CHECKING:
    import torch

    from harness.runtime.trainable import TrainableRwkv4

N_SCORED_SUMS = 500
QUESTION_WEIGHT = 0.1  # of the loss: an operand cannot be foreseen, an answer can


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what is trained; with one torch on one machine it fixes the bits."""

    n_layer: int = 4
    n_embd: int = 192
    n_vocab: int = N_VOCAB
    n_turns: int = corpus.N_TURNS
    seed: int = corpus.CORPUS_SEED
    threads: int = 1
    steps: int = 4000
    batch: int = 32
    tokens: int = 96
    peak_lr: float = 2.5e-3
    last_lr: float = 2e-5
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands, for whoever shows it."""

    step: int
    steps: int
    loss: float
    held_out_right: float | None
    elapsed_s: float


def train(out: Path, recipe: Recipe, report: Callable[[Progress], None]) -> dict[str, Any]:
    """Train by `recipe` into the folder `out`; return the log, which is also written there.

    Writes `tokenizer.json`, `model.pth` (bf16, original key layout) and `training.json`.
    """
    import torch

    from harness.runtime.trainable import TrainableRwkv4

    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    started = time.perf_counter()
    turns = list(corpus.write_turns(recipe.n_turns, recipe.seed))
    tokenizer = train_tokenizer(
        (turn.text() for turn in turns), out / TOKENIZER_NAME, recipe.n_vocab
    )
    encoded = [_encode(tokenizer, turn) for turn in turns]
    sums = [_encode(tokenizer, sum_turn(task)) for task in corpus.held_out_sums(N_SCORED_SUMS)]
    model = TrainableRwkv4(n_vocab=recipe.n_vocab, n_embd=recipe.n_embd, n_layer=recipe.n_layer)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.peak_lr,
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=recipe.weight_decay,
    )
    curve = []
    smooth: float | None = None
    for step, (ids, weights) in enumerate(_batches(encoded, recipe), start=1):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, recipe)
        loss = _loss(model, torch.from_numpy(ids), torch.from_numpy(weights))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if step % 10 == 0 or step == recipe.steps:
            right = held_out_score(model, sums[:100]) if step % 250 == 0 else None
            progress = Progress(
                step=step,
                steps=recipe.steps,
                loss=smooth,
                held_out_right=right,
                elapsed_s=time.perf_counter() - started,
            )
            if step % 50 == 0 or step == recipe.steps:
                curve.append(asdict(progress))
            report(progress)
    _round_to_bf16(model)
    weights_by_name = {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}
    torch.save(weights_by_name, out / WEIGHTS_NAME)
    log = {
        "recipe": asdict(recipe),
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "torch": str(torch.__version__),
        "corpus_tokens": sum(len(ids) for ids, _ in encoded),
        "trained_tokens": recipe.steps * recipe.batch * recipe.tokens,
        "elapsed_s": time.perf_counter() - started,
        "held_out_sums": {"n": len(sums), "right": held_out_score(model, sums)},
        "curve": curve,
    }
    write_log(out, log)
    return log


def write_log(folder: Path, log: dict[str, Any]) -> None:
    """Keep the log of a training beside the model."""
    (folder / LOG_NAME).write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


def sum_turn(task: corpus.Sum) -> corpus.Turn:
    """The question and the expected working of a held-out sum."""
    return corpus.Turn(f"What is {task.a} {task.sign} {task.b}?", corpus.work_out(task))


def held_out_score(model: TrainableRwkv4, sums: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of sums whose whole working and result greedy decoding would write exactly.

    Teacher forcing suffices: greedy decoding writes the expected answer if and only if the
    expected token is the likeliest one at each of its positions.
    """
    import torch

    length = max(len(ids) for ids, _ in sums)
    ids = np.zeros((len(sums), length), np.int64)
    answer = np.zeros((len(sums), length), bool)
    for row, (row_ids, weights) in enumerate(sums):
        ids[row, : len(row_ids)] = row_ids
        answer[row, : len(row_ids)] = weights == 1
    with torch.inference_mode():
        likeliest = model(torch.from_numpy(ids[:, :-1])).argmax(-1).numpy()
    right = (likeliest == ids[:, 1:]) | ~answer[:, 1:]
    return float(right.all(axis=1).mean())


def _encode(tokenizer: Tokenizer, turn: corpus.Turn) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of a turn, and the weight of each as a target: 1 in the answer."""
    asked = f"Bob: {turn.question}\n\nAlice:"
    ids = tokenizer.encode(turn.text()).ids
    n_asked = len(tokenizer.encode(asked).ids)
    weights = np.full(len(ids), 1.0, np.float32)
    weights[:n_asked] = QUESTION_WEIGHT
    return np.array(ids, np.int64), weights


def _batches(
    encoded: list[tuple[np.ndarray, np.ndarray]], recipe: Recipe
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`recipe.steps` batches: ids [B, T+1] and target weights [B, T].

    Every row starts at the beginning of a turn, as a prompt does, and is filled with whole turns,
    the last one cut.
    """
    rng = random.Random(recipe.seed)
    order: list[int] = []
    width = recipe.tokens + 1
    for _ in range(recipe.steps):
        ids = np.empty((recipe.batch, width), np.int64)
        weights = np.empty((recipe.batch, width), np.float32)
        for row in range(recipe.batch):
            filled = 0
            while filled < width:
                if not order:
                    order = list(range(len(encoded)))
                    rng.shuffle(order)
                turn_ids, turn_weights = encoded[order.pop()]
                take = min(len(turn_ids), width - filled)
                ids[row, filled : filled + take] = turn_ids[:take]
                weights[row, filled : filled + take] = turn_weights[:take]
                filled += take
        yield ids, weights[:, 1:]


def _loss(model: TrainableRwkv4, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy in nats of ids [B, T+1] with weights [B, T]."""
    from torch.nn.functional import cross_entropy

    logits = model(ids[:, :-1])
    each = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    flat = weights.flatten()
    return (each * flat).sum() / flat.sum()


def _learning_rate(step: int, recipe: Recipe) -> float:
    if step <= recipe.warmup_steps:
        return recipe.peak_lr * step / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(recipe.steps - recipe.warmup_steps, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return recipe.last_lr + (recipe.peak_lr - recipe.last_lr) * cosine


def _round_to_bf16(model: TrainableRwkv4) -> None:
    """Round the weights as the file will hold them, so that the score is the file's score."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(torch.bfloat16).float())
