"""The exact float32 log-probabilities of a model that need not fit into memory.

Turned inside out: a model goes through its layers for each token; here each layer, read from the
file once, goes over all tokens of all passages, and then the head. In memory are one layer, or the
head, the activations [tokens, C] of all passages, and a bounded workspace; where the activations
would be more than 1 GiB, as of 52,000 tokens of a 14B model, so many passages follow each other and
the weights are read again for each lot. That model then takes 1.4 GB for a layer and 2.8 GB in all.
Of the embedding only the rows of tokens that occur are read.

The arithmetic is that of `cpu fp32`: the same blocks on the same weights. Knows passages of tokens;
nothing of texts, strategies to be judged, or where its numbers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from harness.errors import BadInput, CheckpointError
from harness.runtime.allocator import returning_memory
from harness.runtime.checkpoint import read_header
from harness.runtime.devices import HOST, DeviceMap
from harness.runtime.passage import Passage
from harness.runtime.shape import ModelShape
from harness.runtime.state import empty_layer
from harness.runtime.strategy import resolve
from harness.runtime.synthetic import parse_random
from harness.runtime.tensors import Span
from harness.runtime.transform import StoredModel, open_checkpoint, open_stored
from harness.runtime.weights import Head, load_block_alone, load_head_alone

STRATEGY = "cpu fp32"
CHUNK_TOKENS = 256  # fed at once: bounds the workspace; a multiple of the chunk of `wkv.py`
_HEAD_ROWS = 64  # whose log-probabilities are made at once
# Fewer rows than this go through BLAS by another way, which sums in another order: rows are added,
# so that a passage has the same numbers whatever is fed beside it.
_FEWEST_ROWS = 16
ACTIVATION_BYTES = 2**30  # held at once, or those of one passage: computing takes far longer than
# to read the weights again for so many tokens
_SPAN_ROWS = 4096  # of the embedding, read at once

Progress = Callable[[int, int], None]  # layers done, the head among them, and all
Rows = npt.NDArray[np.float32]


def exact_log_probs(
    weights: str | Path,
    passages: Sequence[Passage],
    *,
    seed: int = 0,
    chunk_tokens: int = CHUNK_TOKENS,
    activation_bytes: int = ACTIVATION_BYTES,
    on_progress: Progress | None = None,
) -> Iterator[tuple[int, Rows]]:
    """Log-probabilities in nats, each passage fed from an empty state.

    Yields the index of a passage and [n, V] for its next n wanted rows, n being 64 at most: in the
    order of the passages and of their rows. `weights` is an original checkpoint, or one converted
    to float32 throughout, or `random:SIZE` with its `seed`. `chunk_tokens` bounds the workspace and
    `activation_bytes` what is held between layers; neither changes anything else.

    Raises, before anything is computed, `BadInput` for a passage that is empty, wants no row or
    holds a token outside the vocabulary, and `CheckpointError` for a file that cannot be read, or
    whose conversion lost digits.
    """
    if chunk_tokens < 1:
        raise BadInput(f"chunk_tokens is {chunk_tokens}; it must be 1 or more")
    shape, opening = _opening(weights, seed)
    for index, passage in enumerate(passages):
        _check(index, passage, shape.n_vocab)
    if not passages:
        return iter(())
    lots = _lots([len(one.ids) for one in passages], activation_bytes // (4 * shape.n_embd))
    report = on_progress or (lambda _done, _all: None)
    return _compute(opening, tuple(passages), lots, chunk_tokens, report)


def _opening(weights: str | Path, seed: int) -> tuple[ModelShape, Callable[[], StoredModel]]:
    """The model's shape, and how to open its tensors."""
    shape = parse_random(str(weights))
    if shape is not None:
        return shape, partial(open_stored, weights, STRATEGY, seed=seed)
    header = read_header(weights)
    converted = header.converted
    if converted is not None and (header.why_unfit(STRATEGY) or converted.plan.fold != "float32"):
        raise CheckpointError(
            f"{header.path} was converted for '{converted.strategy}', and so holds the weights "
            "rounded; the exact reference needs them as they were. Give the original checkpoint."
        )
    return header.shape, partial(open_checkpoint, header, STRATEGY, "float32")


def _check(index: int, passage: Passage, n_vocab: int) -> None:
    n_tokens = len(passage.ids)
    if not n_tokens:
        raise BadInput(f"passage {index} is empty; give one token or more")
    if not 0 <= passage.first < n_tokens:
        raise BadInput(
            f"passage {index} wants its rows from {passage.first} on, and has the rows "
            f"0..{n_tokens - 1}"
        )
    for token in (min(passage.ids), max(passage.ids)):
        if not 0 <= token < n_vocab:
            raise BadInput(
                f"passage {index} holds token {token}, which is outside the vocabulary "
                f"0..{n_vocab - 1}. A tokenizer of another model?"
            )


def _lots(lengths: Sequence[int], most_tokens: int) -> list[range]:
    """Passages whose activations are held at once: neighbours, and one at least."""
    firsts, held = [0], 0
    for index, length in enumerate(lengths):
        if index > firsts[-1] and held + length > most_tokens:
            firsts.append(index)
            held = 0
        held += length
    return [range(first, stop) for first, stop in pairwise([*firsts, len(lengths)])]


def _compute(
    opening: Callable[[], StoredModel],
    passages: Sequence[Passage],
    lots: Sequence[range],
    chunk_tokens: int,
    report: Progress,
) -> Iterator[tuple[int, Rows]]:
    with closing(opening()) as stored:  # once: a file that is replaced meanwhile is another model
        n_slots = stored.shape.n_layer + 1
        for n, lot in enumerate(lots):
            said = partial(_said_of_all, report, n * n_slots, len(lots) * n_slots)
            some = passages[lot.start : lot.stop]
            for index, rows in _compute_lot(stored, some, chunk_tokens, said):
                yield lot[index], rows


def _said_of_all(report: Progress, before: int, total: int, done: int) -> None:
    report(before + done, total)


def _compute_lot(
    stored: StoredModel,
    passages: Sequence[Passage],
    chunk_tokens: int,
    report: Callable[[int], None],
) -> Iterator[tuple[int, Rows]]:
    """`report` hears how many slots are done."""
    sweep = _Sweep(stored, passages, chunk_tokens)
    report(0)
    x = sweep.embedded()
    for index in range(stored.shape.n_layer):
        sweep.through_block(index, x)
        report(index + 1)
    yield from _log_probs(sweep.head(), x, passages)
    report(stored.shape.n_layer + 1)


@dataclass(frozen=True, slots=True)
class _Feed:
    """Tokens that are fed at once: rows of the activations, side by side."""

    rows: torch.Tensor  # [B, T]; behind the end of a passage, its last row again
    is_real: torch.Tensor  # [B, T]


class _Sweep:
    """One pass of a model's layers over the activations [tokens, C] of all passages."""

    def __init__(self, stored: StoredModel, passages: Sequence[Passage], chunk_tokens: int) -> None:
        self._stored = stored
        self._plans = resolve(STRATEGY, stored.shape.n_layer)
        self._devices = DeviceMap({HOST: torch.device("cpu")})
        ids = [token for passage in passages for token in passage.ids]
        self._ids = torch.tensor(ids, dtype=torch.int64)
        lengths = [len(passage.ids) for passage in passages]
        self._groups = [
            _feeds([(starts, lengths[i]) for i, starts in group], chunk_tokens)
            for group in _side_by_side(lengths, chunk_tokens)
        ]

    @torch.no_grad()
    def embedded(self) -> torch.Tensor:
        """What the first block is given: [tokens, C]."""
        x = torch.empty(len(self._ids), self._stored.shape.n_embd)
        ids, where = self._ids.sort()
        spans = _spans(torch.unique_consecutive(ids).tolist())
        edges = torch.tensor([start for start, _ in spans] + [self._stored.shape.n_vocab])
        bounds = torch.searchsorted(ids, edges).tolist()
        for (start, _), (low, high), rows in zip(
            spans, pairwise(bounds), self._stored.embedding_rows(spans), strict=True
        ):
            for at in range(low, high, _SPAN_ROWS):  # or they would all be there twice
                some = slice(at, min(at + _SPAN_ROWS, high))
                x[where[some]] = rows[ids[some] - start]
        return x

    @torch.no_grad()
    def through_block(self, index: int, x: torch.Tensor) -> None:
        """Replace the activations before a block by those behind it."""
        with returning_memory():  # also what was computed on the way: the heap would keep pieces
            block = load_block_alone(self._stored, self._plans[index], index, self._devices)
            for feeds in self._groups:
                state = empty_layer(len(feeds[0].rows), x.shape[1], x.dtype, x.device)
                for feed in feeds:
                    y, state = block.forward(x[feed.rows], state)
                    x[feed.rows[feed.is_real]] = y[feed.is_real]
            del block

    @torch.no_grad()
    def head(self) -> Head:
        """The last slot."""
        with returning_memory():
            return load_head_alone(self._stored, self._plans[-1], self._devices)


def _side_by_side(lengths: Sequence[int], chunk_tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Passages, as (index, first row), that are fed at once; those of like length together."""
    starts = np.cumsum([0, *lengths])[:-1].tolist()
    left = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while left:
        n = max(1, chunk_tokens // max(lengths[left[0]], _FEWEST_ROWS))
        yield [(i, starts[i]) for i in left[:n]]
        left = left[n:]


def _feeds(passages: Sequence[tuple[int, int]], chunk_tokens: int) -> list[_Feed]:
    """Passages of (first row, length), all of them in one feed, or one alone in several."""
    longest = max(length for _, length in passages)
    firsts, lengths = (torch.tensor(numbers)[:, None] for numbers in zip(*passages, strict=True))
    feeds = []
    for start in range(0, longest, chunk_tokens):
        stop = min(start + chunk_tokens, longest)
        if stop == longest:  # what is fed behind the end changes nothing that is kept
            stop = max(stop, start + _FEWEST_ROWS)
        times = torch.arange(start, stop)[None]
        feeds.append(
            _Feed(rows=firsts + torch.minimum(times, lengths - 1), is_real=times < lengths)
        )
    return feeds


def _spans(rows: Sequence[int]) -> list[Span]:
    """Ascending numbers of rows as spans of neighbours."""
    spans: list[Span] = []
    for row in rows:
        if spans and row == spans[-1][1] and row - spans[-1][0] < _SPAN_ROWS:
            spans[-1] = (spans[-1][0], row + 1)
        else:
            spans.append((row, row + 1))
    return spans


def _log_probs(
    head: Head, x: torch.Tensor, passages: Sequence[Passage]
) -> Iterator[tuple[int, Rows]]:
    """The wanted rows, as many of all passages at once as may be, given out by passage."""
    start = 0
    wanted: list[tuple[int, int]] = []
    for index, passage in enumerate(passages):
        wanted += [(index, start + row) for row in range(passage.first, len(passage.ids))]
        start += len(passage.ids)
    for low in range(0, len(wanted), _HEAD_ROWS):
        batch = wanted[low : low + _HEAD_ROWS]
        rows = _head_rows(head, x[[row for _, row in batch]])
        owners = [index for index, _ in batch]
        for index in dict.fromkeys(owners):
            first = owners.index(index)
            yield index, rows[first : first + owners.count(index)]


@torch.no_grad()
def _head_rows(head: Head, x: torch.Tensor) -> Rows:
    """x [n, C] -> log-probabilities [n, V]."""
    n = len(x)
    if n < _FEWEST_ROWS:
        x = torch.cat((x, x[-1:].expand(_FEWEST_ROWS - n, -1)))
    with returning_memory():
        rows: Rows = torch.log_softmax(head.logits(x)[:n], dim=-1).numpy()
    return rows
