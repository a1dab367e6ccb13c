"""The plots of a report: which there are, in which order, and the numbers behind each.

Bars are drawn in `plot_bars.py`, lines and points in `plot_curves.py` and `plot_latency.py`; what
they look like, and how they become files, is in `style.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from harness.report import (
    latency_tables,
    numbers,
    phase_tables,
    plot_bars,
    plot_curves,
    plot_latency,
    plot_order,
    plot_phases,
    plot_quality,
)
from harness.report.style import Drawing, house_style, settle, to_png, to_svg
from harness.report.table import Table
from harness.report.values import ModelSummary

Draw = Callable[[ModelSummary], Drawing | None]
Tables = tuple[Callable[[ModelSummary], Table], ...]

_PLOTS: dict[str, tuple[Draw, Tables]] = {
    "decode": (plot_bars.decode, (numbers.decode,)),
    "prefill": (plot_bars.prefill, (numbers.prefill,)),
    "lengths": (plot_latency.lengths, (numbers.prefill,)),
    "memory": (plot_bars.memory, (numbers.memory,)),
    "phases": (plot_phases.phases, (phase_tables.phases,)),
    "tradeoff": (plot_curves.tradeoff, (numbers.tradeoff,)),
    "quality": (plot_quality.quality, (plot_quality.quality_table,)),
    "latency": (plot_curves.latency, (numbers.latency,)),
    "depth": (plot_latency.depth, (latency_tables.depth_table,)),
    "sequence": (plot_order.sequence, (plot_order.sequence_table,)),
    "batch": (plot_latency.batch, (latency_tables.batch_table,)),
}


_PARTS = {  # the part of a report that a plot stands in, where that is not speed
    "memory": "memory",
    "phases": "memory",
    "tradeoff": "memory",
    "quality": "quality",
    "latency": "latency",
    "depth": "latency",
}


class Plot(Struct, frozen=True, kw_only=True):
    """A drawn plot with what it says and the numbers behind it."""

    kind: str  # a key of `_PLOTS`
    title: str
    says: str  # the text alternative
    svg: str
    png: bytes
    tables: tuple[Table, ...]

    @property
    def part(self) -> str:
        """The part of a report that it stands in: speed, latency, memory or quality."""
        return _PARTS.get(self.kind, "speed")


def draw_plots(model: ModelSummary) -> tuple[Plot, ...]:
    """All plots of a model that there are numbers for."""
    drawn: list[Plot] = []
    with house_style():
        for kind, (draw, tables) in _PLOTS.items():
            drawing = draw(model)
            if drawing is None:
                continue
            settle(drawing.figure)
            drawn.append(
                Plot(
                    kind=kind,
                    title=drawing.title,
                    says=drawing.says,
                    svg=to_svg(drawing.figure),
                    png=to_png(drawing.figure),
                    tables=tuple(table(model) for table in tables),
                )
            )
    return tuple(drawn)
