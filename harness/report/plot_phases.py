"""Bar plot of memory by phase: a group of bars per strategy, one panel per place.

On the host a bar is the libraries, what came with the model, and other processes; on a device what
was allocated and what was kept in reserve. A tick marks what was predicted. Bars begin at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from harness.records.phases import PHASES
from harness.report.format import size
from harness.report.phases import PhaseUse
from harness.report.plot_bars import beside, name_rows
from harness.report.results import numbers_of_trials
from harness.report.style import (
    INK,
    LINES,
    ORANGE,
    PALE_BLUE,
    Drawing,
    new_figure,
    put_title,
    size_axis,
)
from harness.report.values import ModelSummary, Row

_BAR_IN = 0.17  # height that a bar takes
_FRAME_IN = 0.75  # height that a panel's axis takes
_GROUP = 0.86  # of a strategy's row, what its bars take
_COLOURS = dict(zip(PHASES, LINES, strict=True))
_HATCHES = dict(zip(PHASES, ("", "///", "...", "\\\\\\", "xxx", "---"), strict=True))

Part = tuple[int, dict[str, Any]]  # bytes, how they are drawn


def phases(model: ModelSummary) -> Drawing | None:
    """Peak memory of each phase, host and devices; None where nothing was read by phases."""
    rows = [row for row in model.rows if any(_host_parts(use) for use in row.phases)]
    if not rows:
        return None
    lanes = max(len(row.phases) for row in rows)
    devices = dict.fromkeys(name for row in rows for use in row.phases for name in use.devices)
    # The host, then each device with the strategies that use it.
    panels: list[tuple[str | None, list[Row]]] = [
        (None, rows),
        *((device, [row for row in rows if _is_on(row, device)]) for device in devices),
    ]
    heights = [_FRAME_IN + _BAR_IN * lanes * len(on) for _, on in panels]
    canvas = new_figure(sum(heights) + 0.5)
    axes = list(canvas.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0])
    for one, (where, on) in zip(axes, panels, strict=True):
        _panel(one, on, lanes, where)
    _legend(canvas, axes)
    how = numbers_of_trials(use.trials for row in rows for use in row.phases)
    title = put_title(canvas, "Memory by phase", model.name, how)
    said = "; ".join(f"{row.label}: {_says(row)}" for row in rows)
    return Drawing(canvas, title, f"Bar chart of peak memory in each phase, of the host: {said}.")


def _is_on(row: Row, device: str) -> bool:
    return any(device in use.devices for use in row.phases)


def _panel(axes: Axes, rows: Sequence[Row], lanes: int, device: str | None) -> None:
    thickness = _GROUP / lanes
    longest = 0
    for at, row in enumerate(rows):
        top = at - (len(row.phases) - 1) / 2 * thickness
        for lane, use in enumerate(row.phases):
            parts = _host_parts(use) if device is None else _device_parts(use, device)
            end = _bar(axes, parts, top + lane * thickness, thickness * 0.9)
            foreseen = _foreseen(use, device)
            if parts and foreseen is not None:
                _tick(axes, foreseen, top + lane * thickness, thickness)
            if parts:
                text = f"{size(end)}  {use.phase}"
                x = max(end, foreseen or 0)
                beside(axes, text, x, top + lane * thickness, fontsize=7.5, color=INK)
            longest = max(longest, end, (foreseen or 0) if parts else 0)
    name_rows(axes, rows)
    if longest:
        axes.set_xlim(0, longest * 1.3)
        where = "host, resident, with children" if device is None else f"{device}, reserved"
        axes.set_xlabel(f"{size_axis(axes.xaxis, longest)}, {where}, largest of the trials")
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{device}: nothing was read")


def _bar(axes: Axes, parts: Sequence[Part], y: float, height: float) -> int:
    """Parts one after another; returns where the last one ends."""
    left = 0
    for n_bytes, drawn in parts:
        axes.barh(y, n_bytes, left=left, height=height, linewidth=0, **drawn)
        left += n_bytes
    return left


def _host_parts(use: PhaseUse) -> list[Part]:
    own = use.host.get("own_peak_rss_bytes")
    if own is None or own.bytes is None:
        return []
    parts: list[Part] = []
    before = use.import_rss_bytes if use.growth_bytes is not None else None
    if before is not None and before <= own.bytes:
        parts.append((before, {"color": PALE_BLUE, "label": "libraries"}))
    rest = own.bytes - sum(n for n, _ in parts)
    parts.append((rest, _phase_look(use)))
    children = use.host.get("children_peak_rss_bytes")
    if children is not None and children.bytes:
        parts.append((children.bytes, {"color": ORANGE, "hatch": "ooo", "label": "children"}))
    return parts


def _device_parts(use: PhaseUse, device: str) -> list[Part]:
    figures = use.devices.get(device, {})
    allocated = figures.get("allocated_peak_bytes")
    if allocated is None or allocated.bytes is None:
        return []
    reserved = figures.get("reserved_peak_bytes")
    parts: list[Part] = [(allocated.bytes, _phase_look(use))]
    if reserved is not None and reserved.bytes is not None and reserved.bytes > allocated.bytes:
        kept = reserved.bytes - allocated.bytes
        parts.append((kept, {"color": PALE_BLUE, "hatch": "++", "label": "kept in reserve"}))
    return parts


def _phase_look(use: PhaseUse) -> dict[str, Any]:
    return {"color": _COLOURS[use.phase], "hatch": _HATCHES[use.phase], "label": use.phase}


def _foreseen(use: PhaseUse, device: str | None) -> int | None:
    """Where the tick stands: on the host, beyond the libraries."""
    if use.forecast is None:
        return None
    if device is not None:
        return use.device_forecast(device)
    before = use.import_rss_bytes
    return None if before is None else before + use.forecast.rss_growth_bytes


def _tick(axes: Axes, x: float, y: float, height: float) -> None:
    axes.plot([x, x], [y - height / 2, y + height / 2], color=INK, linewidth=1.6)


def _legend(canvas: Canvas, axes: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        found.update(dict(zip(labels, handles, strict=True)))
    if any(one.lines for one in axes):  # upright, as it is drawn
        look: dict[str, Any] = {"marker": "|", "markersize": 9, "markeredgewidth": 1.6}
        found["predicted"] = Line2D([], [], linestyle="", color=INK, **look)
    canvas.legend(
        found.values(), found, loc="outside lower left", ncols=4, borderpad=0.2, handlelength=1.6
    )


def _says(row: Row) -> str:
    ends = ((use.phase, sum(n for n, _ in _host_parts(use))) for use in row.phases)
    return ", ".join(f"{phase} {size(n)}" for phase, n in ends if n)
