"""How the next token is drawn from logits.

The contract: temperature 0 or top_p 0 is the largest logit, the lowest id on ties; top_p 1 keeps
every token; temperature comes before truncation; the seed is explicit. With `compat="rwkv"` the
order is the official package's: truncation first, temperature after it. What differs even then: its
greedy draws among ties, and its top_p 1 keeps but the largest where float32 does not add up to 1.

`probabilities` says what is drawn from, `Sampler` draws. Knows logits of one row, [V]; knows
nothing of models, tokenizers or batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.errors import BadInput, NotANumber

Logits = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How to draw; the defaults are greedy. Raises BadInput for a value outside its range.

    A token that was generated n > 0 times has its logit lowered by
    `presence_penalty + n * frequency_penalty` (the prompt does not count). With a `penalty_decay`
    below 1 each further token makes what was counted so much less; the tokens `uncounted` count 0
    times, and still as present. A token of `ban` is never drawn. `top_k` 0 keeps all. Both
    truncations look at the same distribution: with `top_k`, `top_p` keeps no more for it.

    The official package's own: penalty_decay 0.996 (since 0.8), uncounted spaces, tabs and digits
    (`spaces_and_digits`), presence and frequency 0.2, temperature 1, top_p 0.85.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_decay: float = 1.0
    uncounted: frozenset[int] = frozenset()
    ban: tuple[int, ...] = ()
    seed: int = 0
    compat: Literal["rwkv"] | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, "0 or more", ok=0 <= self.temperature < math.inf)
        _check("top_p", self.top_p, "from 0 to 1", ok=0 <= self.top_p <= 1)
        _check("top_k", self.top_k, "0 (keep all) or more", ok=self.top_k >= 0)
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            _check(name, value, "a finite number", ok=math.isfinite(value))
        _check("penalty_decay", self.penalty_decay, "from 0 to 1", ok=0 <= self.penalty_decay <= 1)
        _check("ban", self.ban, "token ids, 0 or more", ok=min(self.ban, default=0) >= 0)
        _check("seed", self.seed, "0 or more", ok=self.seed >= 0)
        _check("compat", self.compat, "'rwkv', or left out", ok=self.compat in (None, "rwkv"))

    @property
    def greedy(self) -> bool:
        """Whether the largest logit is taken, so that the seed does not matter."""
        return self.temperature == 0 or self.top_p == 0


class Sampler:
    """Draws the tokens of one answer, remembering what it drew for the penalties.

    Two with one seed draw the same. The order: each token takes the generator's next uniform in
    [0, 1), unless it is the only one that is kept, which takes none; the share of [0, 1) that a
    token has lies behind those of all lower ids.
    """

    def __init__(self, settings: SamplingSettings) -> None:
        self.settings = settings
        self._drawn = 0
        self._counts: dict[int, float] = {}
        # Named, not numpy's default: the same seed must give the same answer in every release.
        self._random = np.random.Generator(np.random.PCG64(settings.seed))

    def draw(self, logits: Logits) -> int:
        """The next token for logits [V]. Raises NotANumber."""
        _check_finite(logits, self._drawn)
        ids, kept = _distribution(logits, self.settings, self._counts)
        token = int(ids[0])
        if len(ids) > 1:
            # In the order of ids: a tiny change of logits then moves few draws.
            cumulative = np.cumsum(kept)
            # A uniform is 1 - 2**-53 at most, and no product with that rounds up to its other
            # factor: the point is before the end, and so never with a token of no weight.
            point = self._random.random() * cumulative[-1]
            token = int(ids[np.searchsorted(cumulative, point, side="right")])
        self._count(token)
        return token

    def _count(self, token: int) -> None:
        self._drawn += 1
        decay = self.settings.penalty_decay
        if decay != 1:
            for i in self._counts:
                self._counts[i] *= decay
        self._counts.setdefault(token, 0)
        self._counts[token] += token not in self.settings.uncounted


def probabilities(
    logits: Logits, settings: SamplingSettings, counts: Mapping[int, float] | None = None
) -> Floats:
    """The distribution [V] that the next token is drawn from; it sums to 1.

    `counts` says how often each token was generated so far. Raises NotANumber for logits that are
    NaN or infinite, BadInput where `ban` names a token that is not there or leaves none.
    """
    _check_finite(logits, math.ceil(sum((counts or {}).values())))
    ids, kept = _distribution(logits, settings, counts or {})
    dense = np.zeros(len(logits), dtype=np.float64)
    dense[ids] = kept
    return dense


def _check_finite(logits: Logits, generated: int) -> None:
    if not np.isfinite(logits).all():
        raise NotANumber(
            f"The model gave {int(np.isnan(logits).sum()):,} NaN and "
            f"{int(np.isinf(logits).sum()):,} infinite logits of {len(logits):,}, after "
            f"{generated:,} generated tokens. Try a wider dtype, such as fp32."
        )


def _distribution(
    logits: Logits, settings: SamplingSettings, counts: Mapping[int, float]
) -> tuple[Ids, Floats]:
    """The kept ids, ascending, and their probabilities."""
    scores = _penalised(logits, settings, counts)
    if settings.greedy:
        return np.argmax(scores, keepdims=True).astype(np.int64), np.ones(1)
    scores -= scores.max()  # so that nothing overflows, however small the temperature
    with np.errstate(over="ignore"):
        tempered = scores / settings.temperature
    ids = _kept(scores if settings.compat == "rwkv" else tempered, settings)
    # The official p ** (1 / T) over the kept tokens is this same softmax, once normalised.
    weights = np.exp(tempered[ids])
    return ids, weights / weights.sum()


def _penalised(logits: Logits, settings: SamplingSettings, counts: Mapping[int, float]) -> Floats:
    """A float64 copy of the logits, lowered for what was generated; -inf for what is banned."""
    scores = logits.astype(np.float64)
    if counts and (settings.presence_penalty or settings.frequency_penalty):
        ids = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
        times = np.fromiter(counts.values(), dtype=np.float64, count=len(counts))
        scores[ids] -= settings.presence_penalty + settings.frequency_penalty * times
    if settings.ban:
        _check_ban(settings.ban, len(scores))
        scores[list(settings.ban)] = -math.inf
    return scores


def _check_ban(ban: tuple[int, ...], n_vocab: int) -> None:
    if max(ban) >= n_vocab:
        raise BadInput(f"ban has token {max(ban)}, and the model only {n_vocab:,} logits.")
    if len(set(ban)) == n_vocab:
        raise BadInput(f"ban has all {n_vocab:,} tokens, so that none can be drawn.")


def _kept(scores: Floats, settings: SamplingSettings) -> Ids:
    """The ids that top_p and top_k leave, ascending; scores [V] are logits with maximum 0."""
    ids = np.arange(len(scores), dtype=np.int64)
    if settings.top_p < 1:
        ids = _nucleus(scores, settings.top_p, keep_ties=settings.compat == "rwkv")
    if 0 < settings.top_k < len(ids):
        ids = _largest(scores, ids, settings.top_k)
    return ids


def _nucleus(scores: Floats, top_p: float, *, keep_ties: bool) -> Ids:
    """The fewest tokens, likeliest first, that together reach top_p (> 0); lowest id on ties.

    `keep_ties` keeps all tokens that are as likely as the last one.
    """
    weights = np.exp(scores)
    total = weights.sum()
    # No need to sort them all: the tokens below this share weigh less than 1 - top_p together, so
    # that none of them is wanted.
    candidates = np.flatnonzero(weights >= (1 - top_p) * total / len(weights))
    ranked = candidates[np.argsort(-scores[candidates], kind="stable")]
    last = int(np.searchsorted(np.cumsum(weights[ranked]), top_p * total))
    if last >= len(ranked):  # rounding: a sum that never reaches top_p
        return np.arange(len(scores), dtype=np.int64)
    if keep_ties:
        return np.flatnonzero(scores >= scores[ranked[last]])
    return np.sort(ranked[: last + 1])


def _largest(scores: Floats, ids: Ids, k: int) -> Ids:
    """The k of `ids` (ascending) with the largest scores, ascending; lowest id on ties."""
    among = scores[ids]
    least = np.partition(among, -k)[-k]
    above = ids[among > least]
    level = ids[among == least][: k - len(above)]
    return np.sort(np.concatenate([above, level]))


def _check(name: str, value: object, allowed: str, *, ok: bool) -> None:
    if not ok:
        raise BadInput(f"{name} is {value!r}; it must be {allowed}.")
