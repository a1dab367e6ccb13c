"""The table of what the machine can do at best, as it was measured in a run.

Turns figures into texts, with what each of them means; decides nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.records.roofline import Limit, LimitSet
from harness.records.validity import say
from harness.report.format import count, number
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import Summary

GIGA = 1e9
_KINDS = {
    "read": "reads memory",
    "product": "one token × large matrix",
    "multiply": "square matrices",
    "bus": "is copied to from the host",
}


def limits_table(summary: Summary) -> Table | None:
    """What the machine could do, at the begin of the run and at its end."""
    if not summary.limits:
        return None
    rows: dict[tuple[int, str, str, str | None], list[tuple[LimitSet, Limit]]] = {}
    for measured in summary.limits:
        for one in measured.limits:
            key = (measured.threads, one.device, one.kind, one.dtype)
            rows.setdefault(key, []).append((measured, one))
    return Table(
        caption="Limits of this machine, measured in this run",
        columns=columns(
            "Device",
            "What",
            "Format",
            "CPU threads",
            "At the beginning",
            "At the end",
            "Change",
            "Measured by",
            numeric=("CPU threads", "At the beginning", "At the end", "Change"),
        ),
        rows=tuple(
            (
                code(device),
                words(_KINDS[kind]),
                words(dtype or "any"),
                figure(str(threads)),
                *_begin_and_end(found),
                words(next((one.method for _, one in found if one.method), "")),
            )
            for (threads, device, kind, dtype), found in rows.items()
        ),
        remarks=(_ABOUT_LIMITS, *_disturbed(summary.limits)),
    )


_ABOUT_LIMITS = (
    "GB/s are 10⁹ bytes per second, GFLOP/s 10⁹ operations per second; a multiplication "
    "and an addition are two. “One token × large matrix” is the engine’s own product with "
    "a matrix that no cache holds: what decoding can reach of the memory’s speed. Each "
    "figure is that of the fastest repetition, for what disturbs one only makes it slower. "
    "Percentages of the bandwidth limit are of the fastest at the begin by which the "
    "device’s memory was read, percentages of the compute limit of “square matrices”. A "
    "change says that the machine was not the same at both ends: other work, heat, or a clock."
)


def _disturbed(measured: Sequence[LimitSet]) -> Iterable[str]:
    """What stood in the way of the measuring, each time that anything did."""
    for one in measured:
        if one.disturbances:
            said = "; ".join(say(each) for each in one.disturbances)
            yield (
                f"The machine was not quiet while its limits were measured at the {one.when}, on "
                f"{count(one.threads, 'CPU thread')}: {said}. They may be too low, and "
                "percentages of them too high."
            )


def _begin_and_end(found: Sequence[tuple[LimitSet, Limit]]) -> tuple[Cell, Cell, Cell]:
    begins = [one for measured, one in found if measured.when == "begin"]
    ends = [one for measured, one in found if measured.when == "end"]
    nothing = "not measured again at the end"
    begin = _limit(begins[0]) if begins else figure(None, "not measured at the begin")
    if not ends:
        return begin, figure(None, nothing), figure(None, nothing)
    first, last = (_value(one) for one in ((begins or ends)[0], ends[-1]))
    if first is None or last is None:
        change = figure(None, "one of the two is missing")
    else:
        change = figure(f"{(last / first - 1) * 100:+.0f} %".replace("-", "−"))
    return begin, _limit(ends[-1]), change


def _limit(one: Limit) -> Cell:
    value = _value(one)
    if value is None:
        return figure(None, one.missing)
    unit = "GFLOP/s" if one.bytes_per_s is None else "GB/s"
    return figure(f"{number(value / GIGA)} {unit}")


def _value(one: Limit) -> float | None:
    return one.flop_per_s if one.bytes_per_s is None else one.bytes_per_s
