"""The `depth` workload: decode speed behind more and more context, in one loaded model.

The context is fed once, in chunks, with the state carried on; the state of each depth is kept,
which an RWKV's size allows. Then the depths are visited in shuffled order, pass after pass: were
they visited as the context grows, a machine that slows down as it warms up would look like a model
that slows down with its context. Feeding is timed from depth to depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from harness.config.depth_settings import Depth
from harness.engines.base import Ids, Session, State
from harness.measure.job import FedContext, VisitedDepth
from harness.measure.speed import (
    Clock,
    check_finite,
    draw_ids,
    no_garbage_collection,
    time_decode,
)
from harness.records.latency import AtDepth, Fed

CHUNK_TOKENS = 256  # of context, fed at a time: bounds what any engine holds beside the model


def measure_depth(
    session: Session,
    depth: Depth,
    seed: int,
    clock: Clock,
    send: Callable[[FedContext | VisitedDepth], None],
) -> None:
    """Feed the context, warm up by one visit, then visit each depth; sends each as it is there.

    Raises `NotANumber` for logits that are none.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    depths = depth.depths
    context = draw_ids(random, session, (1, depths[-1]))
    first = draw_ids(random, session, (1, 1))
    decoded = draw_ids(random, session, (depth.generate_tokens, 1))
    states = {}
    for fed, state in feed(session, context, depths, clock):
        states[fed.to_tokens] = state
        if fed.to_tokens > fed.from_tokens:  # an empty context is fed by nobody
            send(FedContext(fed=fed))
    _visit(session, states[depths[0]], first, decoded, clock)
    for _ in range(depth.passes):
        for tokens in (depths[at] for at in random.permutation(len(depths))):
            seconds = _visit(session, states[tokens], first, decoded, clock)
            send(VisitedDepth(visit=AtDepth(tokens=tokens, decode_s=seconds)))


def feed(
    session: Session, context: Ids, depths: tuple[int, ...], clock: Clock
) -> Iterator[tuple[Fed, State]]:
    """The state behind each of the rising `depths` of a context [1, T]; None is the empty one."""
    state, fed = None, 0
    for tokens in depths:
        begun_at = fed
        session.synchronize()
        begin = clock()
        while fed < tokens:
            end = min(tokens, fed + CHUNK_TOKENS)
            logits, state = session.prefill(context[:, fed:end], state)
            check_finite(logits, f"feeding {end} tokens of context")
            fed = end
        session.synchronize()
        yield Fed(from_tokens=begun_at, to_tokens=tokens, s=clock() - begin), state


def _visit(session: Session, state: State, first: Ids, decoded: Ids, clock: Clock) -> list[float]:
    """Seconds of each step behind a state, after one more token that is not timed.

    That token makes a state where there is none yet, and warms up what a step needs, at every
    depth alike.
    """
    with no_garbage_collection():
        _, state = session.prefill(first, state)
        session.synchronize()
        return [step.seconds for step in time_decode(session, decoded, state, clock)]
