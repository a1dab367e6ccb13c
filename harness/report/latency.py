"""The latency of a row: first pass, time to first token, decode steps, end to end, depth.

Each trial is first reduced to one value of its own (a median or a percentile over its passes,
answers or steps); the statistics then run over trials. Pooled over trials, steps would pretend to
be independent, and intervals would be far too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.records.latency import AnswerLatency
from harness.records.record import Answer, Record
from harness.report.latency_values import (
    AnswerTimes,
    DepthSpeed,
    DepthSweep,
    RowLatency,
    TokenTimes,
)
from harness.stats import Estimate, estimate, median, quantile, relative_slope, slope

PER_TOKENS = 1000  # a slope is per so many tokens of context


def latency_of(
    speed: Sequence[Record], depth: Sequence[Record], answers: Sequence[Record]
) -> RowLatency:
    """From the records, of each workload, that ended well."""
    return RowLatency(
        first_pass_s=_over_trials(speed, _first_pass),
        end_to_end_s=_over_trials(speed, _end_to_end),
        answers=answer_times(answers),
        depth=depth_sweep(depth),
    )


def token_times(records: Sequence[Record]) -> TokenTimes | None:
    """Percentiles of the decode steps of each trial, over trials; None where no step was timed."""
    steps = [[s for one in record.decode_s for s in one] for record in records]
    steps = [trial for trial in steps if trial]
    if not steps:
        return None
    return TokenTimes(
        n=sum(map(len, steps)),
        per_trial=max(map(len, steps)),
        p50_s=_quantile(steps, 0.5),
        p90_s=_quantile(steps, 0.9),
        p99_s=_quantile(steps, 0.99),
        maximum_s=max(map(max, steps)),
    )


def answer_times(records: Sequence[Record]) -> AnswerTimes | None:
    """Medians over the answers of each trial, over trials; None where none was taken apart."""
    every = (_taken_apart(record.answers) for record in records)
    trials = [answers for answers in every if answers]
    if not trials:
        return None

    def part(samples: Callable[[Answer, AnswerLatency], Iterable[float | None]]) -> Estimate | None:
        return _estimate(_median(s for one in trial for s in samples(*one)) for trial in trials)

    return AnswerTimes(
        n=sum(map(len, trials)),
        first_token_s=part(lambda _, latency: [latency.first_token_s]),
        tokenize_s=part(lambda _, latency: [latency.tokenize_s]),
        prefill_s=part(lambda answer, _: [answer.prefill_s]),
        sample_s=part(lambda _, latency: latency.sample_s),
        decode_s=part(lambda answer, _: answer.decode_s),
        text_s=part(lambda _, latency: [latency.text_s]),
        end_to_end_s=part(lambda _, latency: [latency.end_to_end_s]),
    )


def _taken_apart(answers: Iterable[Answer]) -> list[tuple[Answer, AnswerLatency]]:
    return [(answer, answer.latency) for answer in answers if answer.latency is not None]


def depth_sweep(records: Sequence[Record]) -> DepthSweep | None:
    """Decode speed behind each depth, and its slope; None where no depth was visited."""
    trials = [_by_depth(record) for record in records]
    trials = [times for times in trials if times]
    if not trials:
        return None
    depths = sorted({tokens for times in trials for tokens in times})
    slopes = [
        relative_slope([(tokens / PER_TOKENS, s) for tokens, s in times.items()])
        for times in trials
    ]
    known = [one for one in slopes if one is not None]
    return DepthSweep(
        speeds=tuple(
            DepthSpeed(
                tokens=tokens,
                tok_per_s=estimate([1 / times[tokens] for times in trials if tokens in times]),
            )
            for tokens in depths
        ),
        slope=slope(known) if known else None,
    )


def _by_depth(record: Record) -> dict[int, float]:
    """The median time of a step behind each depth, over all visits; without what took no time."""
    if record.latency is None:
        return {}
    steps: dict[int, list[float]] = {}
    for visit in record.latency.depth:
        steps.setdefault(visit.tokens, []).extend(visit.decode_s)
    medians = {tokens: median(times) for tokens, times in steps.items() if times}
    return {tokens: s for tokens, s in medians.items() if s > 0}


def _first_pass(record: Record) -> float | None:
    first = None if record.latency is None else record.latency.first_pass
    return None if first is None or first.after_gate else first.end_to_end_s


def _end_to_end(record: Record) -> float | None:
    return None if record.latency is None else _median(record.latency.end_to_end_s)


def _over_trials(
    records: Sequence[Record], value: Callable[[Record], float | None]
) -> Estimate | None:
    return _estimate(value(record) for record in records)


def _quantile(trials: Sequence[Sequence[float]], q: float) -> Estimate | None:
    return _estimate(quantile(steps, q) for steps in trials)


def _estimate(values: Iterable[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return estimate(known) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
