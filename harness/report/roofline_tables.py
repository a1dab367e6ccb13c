"""The tables of how near each strategy came to the machine's limits, and of its energy.

Turns figures into texts, with what each of them means; decides nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.records.roofline import Roofline
from harness.report.facts import find
from harness.report.format import interval, listing, number, size
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import Fact, ModelSummary, Row
from harness.stats import Estimate

GIGA = 1e9
_NEARLY_ALL = 0.99
_FIGURE = "decode_j_per_token"
_NET_FIGURES = ("decode_net_j_per_token", "prefill_net_j_per_token")
DECODE, PREFILL = "Decode, % of bandwidth limit", "Prefill, % of compute limit"
_BYTES, _DECODE_J, _PREFILL_J = "Bytes per step", "Decode, J per token", "Prefill, J per token"
_BANDWIDTH = (
    "the least time in which a decode step can be done, if nothing but moving its bytes took time, "
    "in percent of the median step"
)
_COMPUTE = (
    "the least time in which the longest prompt can be fed, if nothing but multiplying took time, "
    "in percent of the median one"
)
_MOVED = (
    "every weight once, and one row of the embedding and the state (read and written) for each row "
    "of the batch"
)
_DEFINITIONS = (
    (
        f"Bandwidth limit: {_BANDWIDTH}. A step moves {_MOVED}, at the speed at which each "
        "device’s memory was read in this run; devices work one after another, and copies of "
        "streamed slots run beside them."
    ),
    (
        f"Compute limit: {_COMPUTE}: two operations for each number of a matrix and each token "
        "(the head sees the last one alone), at the speed at which square matrices were "
        "multiplied in the format of the products."
    ),
)
_TAKEN = "what the counters moved by while tokens were {}, over those tokens"
_ENERGY = (
    f"Joules per token: {_TAKEN.format('decoded or fed')}; “above idle” is less what the idle "
    "machine took in that time. A counter counts for the whole machine or GPU, whoever uses it."
)
_WHAT = {
    _BYTES: f"What a decode step must move: {_MOVED}.",
    DECODE: f"{_BANDWIDTH[0].upper()}{_BANDWIDTH[1:]}.",
    PREFILL: f"{_COMPUTE[0].upper()}{_COMPUTE[1:]}.",
    _DECODE_J: f"Joules: {_TAKEN.format('decoded')}.",
    _PREFILL_J: f"Joules: {_TAKEN.format('fed')}.",
}
_OR = (
    "or the machine was busier when its limits were measured than when the trials were: "
    "“Limits of this machine” says so."
)


def roofline_table(model: ModelSummary, facts: Sequence[Fact]) -> Table | None:
    """Every strategy that was timed, beside the limits; None where no record knows of any."""
    rows = [row for row in model.rows if row.roofline.work or row.roofline.missing]
    if not rows:
        return None
    shown: list[tuple[str, Callable[[Row], Cell]]] = [
        (_BYTES, _bytes),
        (DECODE, decode_share),
        (PREFILL, prefill_share),
    ]
    if any(row.energy.decode_j_per_token for row in rows):
        shown.append((_DECODE_J, _decode_j))
    if any(row.energy.prefill_j_per_token for row in rows):
        shown.append((_PREFILL_J, _prefill_j))
    titles = [title for title, _ in shown]
    return Table(
        caption=f"How near {model.name} came to the limits of this machine",
        columns=columns("Strategy", *titles, numeric=titles, what=_WHAT),
        rows=tuple((code(row.label), *(cell(row) for _, cell in shown)) for row in rows),
        remarks=(*_DEFINITIONS, *remarks(rows, facts), *_energy_remarks(rows)),
    )


def short_table(model: ModelSummary) -> Table | None:
    """The same in few columns, for a terminal; None where no strategy has a share."""
    rows = [row for row in model.rows if row.is_timed]
    if not any(row.roofline.decode_share or row.roofline.prefill_share for row in rows):
        return None
    shown: list[tuple[str, Callable[[Row], Cell]]] = [
        ("Decode, % of\nbandwidth limit", lambda row: _plain(decode_share(row))),
        ("Prefill, % of\ncompute limit", lambda row: _plain(prefill_share(row))),
    ]
    if any(row.energy.decode_j_per_token for row in rows):
        shown.append(("Decode,\nJ/token", lambda row: _plain(_decode_j(row))))
    titles = [title for title, _ in shown]
    return Table(
        caption=f"{model.name}: share of what this machine can do at best",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple((words(row.label), *(cell(row) for _, cell in shown)) for row in rows),
    )


def _plain(cell: Cell) -> Cell:
    """Without small print, for which a terminal has no room."""
    return Cell(text=cell.text, why=cell.why)


def remarks(rows: Iterable[Row], facts: Sequence[Fact]) -> Iterable[str]:
    """What to know of shares that are above 100 %, or of which that can be expected."""
    rows = list(rows)
    above = [row.label for row in rows if _is_above(row.roofline.decode_share)]
    if above:
        yield (
            f"More than 100 % of the bandwidth limit ({_quoted(above)}): a part of the weights "
            f"came from a cache, which is faster than the memory that the limit is of, {_OR}"
        )
    above = [row.label for row in rows if _is_above(row.roofline.prefill_share)]
    if above:
        yield (
            f"More than 100 % of the compute limit ({_quoted(above)}): the matrices of the model "
            f"suit the device better than the square ones that the limit is of, {_OR}"
        )
    cache = largest_cache(facts)
    fitting = [row.label for row in rows if cache is not None and _host_bytes(row, cache)]
    if fitting and cache is not None:
        yield (
            f"What a step reads of main memory fits the processor’s largest cache of {size(cache)} "
            f"({_quoted(fitting)}): memory bandwidth is not what bounds it, and 100 % could be "
            "passed."
        )


def largest_cache(facts: Sequence[Fact]) -> int | None:
    """Bytes of one cache of the processor's last level that is known."""
    for level in ("L4", "L3", "L2"):
        value = find(facts, [f"cpu_caches_bytes.{level}"])
        if value is not None and value.isdigit():
            return int(value)
    return None


def decode_share(row: Row) -> Cell:
    """Percent, with its interval and the bytes per second behind it."""
    share = row.roofline.decode_share
    return _share(row, share, "decode_share", "decode_tok_per_s", _moved(row, share))


def prefill_share(row: Row) -> Cell:
    """Percent, with its interval and the operations per second behind it."""
    share = row.roofline.prefill_share
    return _share(row, share, "prefill_share", "prefill_tok_per_s", _multiplied(row, share))


def _share(row: Row, share: Estimate | None, name: str, speed: str, tag: str | None) -> Cell:
    if share is None:
        why = row.missing.get(speed) or row.roofline.missing.get(name)
        return figure(None, why)
    spread = interval(
        None if share.low is None else share.low * 100,
        None if share.high is None else share.high * 100,
        share.value * 100,
    )
    return figure(
        f"{number(share.value * 100)} %", tag="\n".join(filter(None, (spread, tag))) or None
    )


def _bytes(row: Row) -> Cell:
    work = row.roofline.work
    if work is None:
        return figure(None, row.roofline.missing.get("decode_share"))
    parts = [f"{size(n)} on {device}" for device, n in work.step_bytes.items() if n]
    parts += [f"{size(n)} copied to {device}" for device, n in work.bus_bytes.items()]
    total = sum(work.step_bytes.values())
    return figure(size(total), tag="\n".join(parts) if len(parts) > 1 else None)


def _moved(row: Row, share: Estimate | None) -> str | None:
    """`19.1 of 35.8 GB/s`, where one device does it all."""
    work = row.roofline.work
    device = None if work is None else _only_device(work)
    if work is None or device is None or share is None or device not in work.read_bytes_per_s:
        return None
    if work.decode_bound_s is None:
        return None
    step_s = work.decode_bound_s / share.value
    limit = work.read_bytes_per_s[device] / GIGA
    return f"{number(work.step_bytes[device] / step_s / GIGA, limit)} of {number(limit)} GB/s"


def _multiplied(row: Row, share: Estimate | None) -> str | None:
    """`72 of 97 GFLOP/s`, where it is done in one format on one device."""
    work = row.roofline.work
    if work is None or share is None or len(work.prefill_flop) != 1:
        return None
    ((device, by_dtype),) = work.prefill_flop.items()
    limits = work.flop_per_s.get(device, {})
    if len(by_dtype) != 1 or not set(by_dtype) <= set(limits):
        return None
    (dtype,) = by_dtype
    limit = limits[dtype] / GIGA
    return f"{number(share.value * limit, limit)} of {number(limit)} GFLOP/s"


def _only_device(work: Roofline) -> str | None:
    """The one that reads all but a row of the embedding, if there is one."""
    total = sum(work.step_bytes.values())
    return next((name for name, n in work.step_bytes.items() if n >= _NEARLY_ALL * total), None)


def _is_above(share: Estimate | None) -> bool:
    return share is not None and share.value > 1


def _host_bytes(row: Row, cache: int) -> bool:
    work = row.roofline.work
    return work is not None and _only_device(work) == "cpu" and work.step_bytes["cpu"] <= cache


def _decode_j(row: Row) -> Cell:
    used = row.energy
    return _joules(row, used.decode_j_per_token, used.decode_net_j_per_token, "decode")


def _prefill_j(row: Row) -> Cell:
    used = row.energy
    return _joules(row, used.prefill_j_per_token, used.prefill_net_j_per_token, "prefill")


def _joules(row: Row, raw: Estimate | None, net: Estimate | None, phase: str) -> Cell:
    if raw is None:
        why = row.missing.get(f"{phase}_tok_per_s")
        return figure(None, why or row.energy.missing.get(f"{phase}_j_per_token"))
    above = None if net is None else f"{number(net.value)} above idle"
    return figure(number(raw.value), tag=above)


def _energy_remarks(rows: Sequence[Row]) -> Iterable[str]:
    counters = {name: how for row in rows for name, how in row.energy.counters.items()}
    reasons = dict.fromkeys(
        why for row in rows for name, why in row.energy.missing.items() if name == _FIGURE
    )
    if counters:
        named = listing([f"{name} ({how})" for name, how in counters.items()])
        yield f"{_ENERGY} Counted: {named}."
        yield from _idle(rows)
        left_out = dict.fromkeys(
            f"{name.removeprefix('not counted: ')}: {why}"
            for row in rows
            for name, why in row.energy.missing.items()
            if name.startswith("not counted")
        )
        if left_out:
            yield f"Energy that was not counted: {'; '.join(left_out)}."
    elif reasons:
        yield f"Joules per token could not be measured: {'; '.join(reasons)}."


def _idle(rows: Sequence[Row]) -> Iterable[str]:
    """What is taken off for “above idle”, and why that is missing where it is."""
    watts = {name: w for row in rows for name, w in row.energy.idle_w.items()}
    if watts:
        named = listing([f"{number(w)} W ({name})" for name, w in watts.items()])
        yield f"Idle, watched before the first trial, the machine took {named}."
    reasons = dict.fromkeys(
        why for row in rows for name, why in row.energy.missing.items() if name in _NET_FIGURES
    )
    if reasons:
        yield f"No figure above idle: {'; '.join(reasons)}."


def _quoted(labels: Sequence[str]) -> str:
    return listing([f"“{label}”" for label in labels])
