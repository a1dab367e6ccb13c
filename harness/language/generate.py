"""The generation loop: one for every engine.

Knows a session by its two methods, a tokenizer by its `decode`, and the clock it is given. Knows
nothing of engines, batches or prompts' text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from harness.errors import BadInput
from harness.language.sampling import Sampler, SamplingSettings
from harness.language.stopping import StopMatcher, StopRules
from harness.language.stream import StreamDecoder

NO_STOPS = StopRules()
T = TypeVar("T")


class Generates(Protocol):
    """What of a session the loop needs; rows B = 1, V logits."""

    def prefill(
        self, ids: npt.NDArray[np.int64], state: Any
    ) -> tuple[npt.NDArray[np.float32], Any]:
        """Feed ids [1, T]; return the logits [1, V] after the last, and the state."""

    def step(self, ids: npt.NDArray[np.int64], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Feed ids [1]; return the logits [1, V] and the state."""


class Decodes(Protocol):
    """What of a tokenizer the loop needs."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One answer.

    text: what came before the stop string or token.
    token_ids: every token that was drawn, those of the stop string included (so that their text
        may be longer than `text`); a stop token is not among them.
    stop: what ended the answer ("cut": its deadline); `stopped_by` is the very string or token id.
    prefill_s: seconds from handing over the prompt to having its logits.
    decode_s: seconds of each step, from handing over a token to having the next logits, without
        sampling and text; `decode_s[i]` fed `token_ids[i]`. The last token is not fed, unless a
        stop token came after it.
    sample_s: seconds of each draw, the one of a stop token included.
    text_s: seconds in all that turning tokens into text took, with what `on_text` did.
    first_token_s: seconds from handing over the prompt to having drawn the first token; None where
        that was a stop token: a first token that is none is not waited for.
    state: the session's, after the prompt and all of `token_ids` but those of `unfed`.
    unfed: what `state` has not seen of `token_ids`: the last one, or none after a stop token (a
        stop token itself is never fed). To go on, generate from `state` with `unfed` and then
        the next ids as the prompt.
    """

    text: str
    token_ids: tuple[int, ...]
    stop: Literal["stop_string", "stop_token", "max_tokens", "cut"]
    stopped_by: str | int | None
    prompt_tokens: int
    prefill_s: float
    decode_s: tuple[float, ...]
    sample_s: tuple[float, ...]
    text_s: float
    first_token_s: float | None
    state: Any = field(compare=False, repr=False)
    unfed: tuple[int, ...]


def generate(  # noqa: PLR0913 - one loop, told everything by its caller
    session: Generates,
    prompt_ids: Sequence[int],
    tokenizer: Decodes,
    settings: SamplingSettings,
    *,
    state: Any = None,
    stop: StopRules = NO_STOPS,
    max_tokens: int = 200,
    clock: Callable[[], float] = time.perf_counter,
    give_up_s: float | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Generated:
    """Answer a prompt, one token at a time, from a fresh state or from the one given.

    A given state is a value: whoever holds it can go on from it again, in another way. What counts
    for penalties begins anew with each answer. After `give_up_s` seconds of the clock the answer is
    cut: that is looked at after each token, so a step that never returns is not ended. `on_text` is
    called with each piece of text as soon as it is certain to belong to the answer; the pieces
    concatenate to `text`. Equal settings, seed included, over equal logits give equal answers.
    Raises BadInput for an empty prompt or max_tokens below 1, and NotANumber for logits that are
    not finite.
    """
    if not len(prompt_ids):
        raise BadInput("The prompt has no tokens. Write a prompt that is not empty.")
    if max_tokens < 1:
        raise BadInput(f"max_tokens is {max_tokens}; it must be 1 or more.")

    fed, drawn, shown = _Timer(clock), _Timer(clock), _Timer(clock)
    answer = _Answer(tokenizer, stop.strings, on_text)
    sampler = Sampler(settings)

    begin = clock()
    logits, state = fed(session.prefill, np.asarray([prompt_ids], dtype=np.int64), state)
    first_token_s: float | None = None
    ended: str | int | None
    while True:
        token = drawn(sampler.draw, logits[0])
        if token in stop.tokens:
            ended = shown(answer.finish) or token
            break
        if first_token_s is None:
            first_token_s = drawn.end - begin
        shown(answer.push, token)
        is_late = give_up_s is not None and drawn.end - begin >= give_up_s
        if answer.stop_string is not None or len(answer.token_ids) == max_tokens or is_late:
            ended = shown(answer.finish)
            break
        logits, state = fed(session.step, np.asarray([token], dtype=np.int64), state)

    return Generated(
        text=answer.text,
        token_ids=tuple(answer.token_ids),
        stop=_kind(ended, is_cut=len(answer.token_ids) < max_tokens),
        stopped_by=ended,
        prompt_tokens=len(prompt_ids),
        prefill_s=fed.spans[0],
        decode_s=tuple(fed.spans[1:]),
        sample_s=tuple(drawn.spans),
        text_s=sum(shown.spans),
        first_token_s=first_token_s,
        state=state,
        unfed=tuple(answer.token_ids[len(fed.spans) - 1 :]),
    )


def _kind(
    ended: str | int | None, *, is_cut: bool
) -> Literal["stop_string", "stop_token", "max_tokens", "cut"]:
    if ended is None:
        return "cut" if is_cut else "max_tokens"
    return "stop_string" if isinstance(ended, str) else "stop_token"


class _Timer:
    """Calls one part of the work, again and again, and keeps how long each call took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.spans: list[float] = []
        self.end = 0.0  # when the last call was done

    def __call__(self, work: Callable[..., T], *args: Any) -> T:
        begin = self._clock()
        result = work(*args)
        self.end = self._clock()
        self.spans.append(self.end - begin)
        return result


class _Answer:
    """Grows by a token at a time: ids to characters to text that is certain."""

    def __init__(
        self,
        tokenizer: Decodes,
        stop_strings: Sequence[str],
        on_text: Callable[[str], None] | None,
    ) -> None:
        self.token_ids: list[int] = []
        self._decoder = StreamDecoder(tokenizer.decode)
        self._matcher = StopMatcher(stop_strings)
        self._on_text = on_text
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def stop_string(self) -> str | None:
        return self._matcher.found

    def push(self, token: int) -> None:
        self.token_ids.append(token)
        self._show(self._matcher.push(self._decoder.push(token)))

    def finish(self) -> str | None:
        """No more tokens: give out what was held back. The stop string, if there was one."""
        if self._matcher.found is None:
            self._show(self._matcher.push(self._decoder.finish()))
            self._show(self._matcher.finish())
        return self._matcher.found

    def _show(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            if self._on_text is not None:
                self._on_text(piece)
