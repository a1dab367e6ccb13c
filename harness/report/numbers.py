"""The numbers behind each plot, as a table.

One function per plot, named as in `plots.py`. What was never tried is not drawn, nor listed here.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.format import milliseconds, number, size
from harness.report.memory import forecast_text
from harness.report.results import against_reference, device_names
from harness.report.table import Cell, Table, code, columns, figure
from harness.report.values import MemoryUse, ModelSummary, Row
from harness.stats import Estimate

_SPREAD = ("Trials", "Median", "95\u00a0% low", "95\u00a0% high", "Minimum", "Maximum")
_NO_FORECAST = "no forecast was recorded: there is one for the torch engine alone"
_NO_INTERVAL = "one trial, or no spread between trials, gives no interval"


def decode(model: ModelSummary) -> Table:
    """Decode speed over trials."""
    titles = (*_SPREAD, "× reference")
    return Table(
        caption=f"Decode speed of {model.name}, tokens per second",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(
            (
                code(row.label),
                *_spread(row.decode_tok_per_s, row.missing.get("decode_tok_per_s")),
                against_reference(row),
            )
            for row in _timed(model)
        ),
    )


def prefill(model: ModelSummary) -> Table:
    """Prefill speed over trials, at each prompt length."""
    lengths = sorted({one.tokens for row in _timed(model) for one in row.prefill_lengths})
    rows: list[tuple[Cell, ...]] = []
    for row in _timed(model):
        by_length = {one.tokens: one.tok_per_s for one in row.prefill_lengths}
        why = row.missing.get("prefill_tok_per_s")
        if not by_length:
            headline = _spread(row.prefill_tok_per_s, why)
            rows.append((code(row.label), figure(None, why), *headline))
        rows.extend(
            (code(row.label), figure(f"{length:,}"), *_spread(by_length[length], why))
            for length in lengths
            if length in by_length
        )
    titles = ("Prompt tokens", *_SPREAD)
    return Table(
        caption=f"Prefill speed of {model.name}, tokens per second",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(rows),
    )


def memory(model: ModelSummary) -> Table:
    """Peaks of memory beside what was predicted, and what the weights alone take."""
    devices = device_names(model.rows)
    titles = (
        "Peak, host",
        "before the model",
        "of it the model",
        "predicted",
        *(title for name in devices for title in (f"Peak, {name}", f"predicted, {name}")),
        "Weights loaded",
    )
    return Table(
        caption=f"Memory of {model.name}",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(_memory_row(row, devices) for row in _tried(model)),
    )


def tradeoff(model: ModelSummary) -> Table:
    """Decode speed against memory."""
    titles = ("Peak memory, host and devices", "Decode, tok/s")
    rows = []
    for row in _timed(model):
        total, speed = row.memory.total_peak_bytes, row.decode_tok_per_s
        rows.append(
            (
                code(row.label),
                figure(None if total is None else size(total), row.missing.get("peak_rss_bytes")),
                figure(
                    None if speed is None else number(speed.value),
                    row.missing.get("decode_tok_per_s"),
                ),
            )
        )
    return Table(
        caption=f"Speed against memory of {model.name}",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(rows),
    )


def latency(model: ModelSummary) -> Table:
    """The median time of the token at each position."""
    rows = [row for row in model.rows if row.curve_s]
    titles = tuple(row.label for row in rows)
    longest = max((len(row.curve_s) for row in rows), default=0)
    return Table(
        caption=f"Time per token of {model.name} by position, milliseconds",
        columns=columns("Token", *titles, numeric=titles),
        rows=tuple(
            (
                figure(str(at + 1)),
                *(
                    figure(milliseconds(row.curve_s[at]))
                    if at < len(row.curve_s)
                    else figure(None, "fewer tokens were generated")
                    for row in rows
                ),
            )
            for at in range(longest)
        ),
    )


def _timed(model: ModelSummary) -> list[Row]:
    return [row for row in model.rows if row.is_timed]


def _tried(model: ModelSummary) -> list[Row]:
    return [row for row in model.rows if row.was_tried]


def _memory_row(row: Row, devices: Sequence[str]) -> tuple[Cell, ...]:
    used, missing = row.memory, row.missing
    before = used.import_rss_bytes
    loaded = sum(place.bytes for place in row.placement)
    nothing_there = missing.get("peak_rss_bytes", "the strategy puts nothing on this device")
    return (
        code(row.label),
        figure(_size(used.peak_rss_bytes), missing.get("peak_rss_bytes")),
        figure(_size(before), missing.get("model_bytes")),
        figure(_size(used.model_bytes), missing.get("model_bytes")),
        figure(forecast_text(used.forecast_bytes, used.model_bytes), _NO_FORECAST),
        *(cell for name in devices for cell in _on_device(row, name, nothing_there)),
        figure(
            size(loaded) if row.placement else None,
            missing.get("load_s", "the engine does not say what it loaded"),
        ),
    )


def _on_device(row: Row, name: str, nothing_there: str) -> tuple[Cell, Cell]:
    """The measured peak of a device, and the predicted one."""
    used = row.memory
    measured = used.device_peak_bytes.get(name)
    foreseen = forecast_text(_foreseen_on(used, name), measured)
    return figure(_size(measured), nothing_there), figure(foreseen, _NO_FORECAST)


def _foreseen_on(used: MemoryUse, name: str) -> int | None:
    """The same device may be written `cuda` and `cuda:0`."""
    return used.device_forecast_bytes.get("cuda:0" if name == "cuda" else name)


def _size(n_bytes: int | None) -> str | None:
    return None if n_bytes is None else size(n_bytes)


def _spread(value: Estimate | None, why: str | None) -> tuple[Cell, ...]:
    if value is None:
        return (figure(None, why),) * len(_SPREAD)
    like = value.value
    ends = (
        figure(None if end is None else number(end, like), _NO_INTERVAL)
        for end in (value.low, value.high)
    )
    return (
        figure(str(value.n)),
        figure(number(like)),
        *ends,
        figure(number(value.minimum, like)),
        figure(number(value.maximum, like)),
    )
