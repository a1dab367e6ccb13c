"""How plots look, and how a matplotlib figure becomes bytes that are the same every time.

Knows colours, fonts and files; knows nothing of what is drawn. Colours are Okabe and Ito's, which
colour-blind readers can tell apart; none carries meaning alone: bars are labelled and hatched,
lines are labelled and have markers.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullFormatter

from harness.report.format import columns_of, elided, unit_of

BLUE = "#0072b2"
PALE_BLUE = "#9ccae6"
ORANGE = "#e69f00"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("s", "^", "D", "v", "P", "X", "*")
# Texts and rules have these colours in the files; a page puts its own in their place.
INK = "#1b1f24"
MUTED = "#5a6069"
RULE = "#d5d8dc"
PAPER = "#ffffff"

WIDTH_IN = 7.2
TITLE_COLUMNS = 66  # letters that fit into the width as a title
PNG_DPI = 160
_SETTINGS = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "errorbar.capsize": 3,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "hatch.color": PAPER,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",  # text stays text: it can be found, copied and read aloud
    "svg.hashsalt": "rwkv-harness",  # otherwise ids are random
    "text.color": INK,
    "text.parse_math": False,  # a strategy or a model's name may hold a dollar sign
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


class Drawing(NamedTuple):
    """A figure, its title, and what it says in words."""

    figure: Figure
    title: str
    says: str


@contextmanager
def house_style() -> Iterator[None]:
    """Within it, figures are drawn as above, whatever the user's own settings of matplotlib are."""
    with warnings.catch_warnings(), style.context(["default", _SETTINGS]):
        # A model's name may hold characters that the font lacks; the browser's font has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Numbers at the end of what a float holds, in a record that somebody edited.
        warnings.filterwarnings("ignore", message="overflow encountered")
        yield


def new_axes(height_in: float) -> tuple[Figure, Axes]:
    """One pair of axes on a figure of the usual width."""
    figure = new_figure(height_in)
    return figure, figure.add_subplot()


def new_figure(height_in: float) -> Figure:
    """An empty figure of the usual width, which lays itself out."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)  # type: ignore[union-attr,call-arg]
    return figure


def put_title(figure: Figure, what: str, name: str, how: str) -> str:
    """Write a title over the whole width of the figure; returns it in full, in one line.

    `name` is given by a user: where the title is too long, it gets a line of its own, and loses its
    middle where even that does not suffice.
    """
    title = f"{what}, {name}, {how}"
    shown = title
    if columns_of(title) > TITLE_COLUMNS:
        shown = f"{what}, {how}\n{elided(name, TITLE_COLUMNS)}"
    figure.suptitle(shown, x=0.014, ha="left", fontsize=10.5, fontweight="bold")
    return title


def counting_axis(axis: Axis) -> None:
    """Ticks as plain numbers with a comma between thousands, also on a logarithmic axis."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    axis.set_minor_formatter(NullFormatter())


def _count(value: float) -> str:
    return f"{value:,.10g}".replace("-", "−")


def size_axis(axis: Axis, largest: float, *, span: float | None = None) -> str:
    """Ticks at round numbers of the unit in which `largest` bytes are read; returns that unit.

    `span` is what the axis shows, where it does not begin at zero.
    """
    name, n_bytes = unit_of(largest)
    shown = largest if span is None else span
    axis.set_major_locator(MultipleLocator(_round_step(shown / n_bytes) * n_bytes))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / n_bytes:,.6g}"))
    return name


def settle(figure: Figure) -> None:
    """Lay the figure out once, so that all its files look alike and none pays for it again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def to_svg(figure: Figure) -> str:
    """The figure as SVG, without the date and without trailing blanks."""
    buffer = io.StringIO()
    nobody: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nobody)
    return "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, without the name and version of what wrote it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def to_inline(svg: str, prefix: str, label: str) -> str:
    """The SVG as an element of a page: unique ids, the page's colours and size, a text for readers.

    `prefix` is unique within the page; `label` is what the picture says.
    """
    body = svg[svg.index("<svg") :]
    head, rest = body.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None
    body = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    for colour, replacement in (
        (INK, "currentColor"),
        (MUTED, "var(--muted)"),
        (RULE, "var(--rule)"),
        (PAPER, "var(--paper)"),
    ):
        body = body.replace(colour, replacement)
    return f'<svg {view.group()} role="img" aria-label="{_attribute(label)}">{body.strip()}'


def _attribute(text: str) -> str:
    for character, entity in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return text


def _round_step(largest: float) -> float:
    """A round step (1, 2 or 5 times a power of ten) that divides `largest` into 4 to 9."""
    power = 10.0 ** math.floor(math.log10(largest))
    return next(power * f for f in (0.1, 0.2, 0.5, 1, 2) if largest / (power * f) < 10)
