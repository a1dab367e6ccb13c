"""Labels beside what they name, without overlap. Knows text boxes, not what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from textwrap import wrap
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from harness.report.style import MUTED

_TextPlace = tuple[float, float, str, str]  # to the right and up, and which of its parts is there
# Where a label may stand from its point, in points: right, left, above, below, then ever further.
_PLACES: tuple[_TextPlace, ...] = (
    (8, 0, "left", "center"),
    (-8, 0, "right", "center"),
    (0, 9, "center", "bottom"),
    (0, -9, "center", "top"),
    *(
        (side * 10, up * distance, "left" if side > 0 else "right", "center")
        for distance in (14, 24, 36, 48, 60, 72, 84, 96)
        for up in (1, -1)
        for side in (1, -1)
    ),
)
# How much of a text is left of where it stands, or below.
_BEFORE = {"left": 0.0, "center": 0.5, "right": 1.0, "bottom": 0.0, "top": 1.0}
SIZE = 8.5  # of letters
MOST_NAMED = 14  # points whose names find room in a plot
LINE_IN = 0.17  # of what is written below the axes, in inches
LETTERS = 96  # in such a line
_NEAR = 12  # points up or down from which it is no longer plain what a label belongs to
_LINE = 1.4  # distance of two lines of text, in heights of a letter


class Point(NamedTuple):
    """A point with its name, and the ends of its error bar where it has one."""

    x: float
    y: float
    low: float | None
    high: float | None
    text: str
    radius: float = 0.0  # in points, of a mark that is larger than a usual one
    across: tuple[float, float] | None = None  # the ends of an error bar that lies down


def texts_or_numbers(texts: Sequence[str], names: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """What to write beside each point, and lines for below the axes that say what numbers mean.

    There are numbers where there are too many texts to be read in a plot.
    """
    if len(texts) <= MOST_NAMED:
        return texts, []
    numbers = [str(at) for at in range(1, len(names) + 1)]
    key = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
    # A name stays in its line.
    return numbers, wrap("; ".join(one.replace(" ", "\u00a0") for one in key), LETTERS)


def label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Write each point's text where it covers no point and no other text.

    Error bars are covered only where there is no other way.
    """
    lay_out(axes)
    frame = axes.get_window_extent()
    bars = [_occupied(axes, point) for point in points]
    bars += [_lying_bar(axes, point, point.across) for point in points if point.across is not None]
    dots = [_occupied(axes, point._replace(low=None, high=None)) for point in points]
    texts: list[Bbox] = []
    for point in points:
        size = _text_size(axes, point.text)
        place = _free_place(axes, point, size, frame, [*bars, *texts]) or _free_place(
            axes, point, size, frame, [*dots, *texts]
        )
        if place is None:  # to where there is more room
            middle = (frame.x0 + frame.x1) / 2
            at_right = axes.transData.transform((point.x, point.y))[0] > middle
            place = _PLACES[1 if at_right else 0]
        texts.append(_text_box(_annotate(axes, point, place)))


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write texts on the right of the axes near the ends of their lines, one below the other.

    `ends` are (x, y, text, colour); a thin line leads from each end to its text.
    """
    lay_out(axes)
    height = axes.get_window_extent().height
    step = SIZE * _LINE / 72 * axes.figure.dpi / height  # one line of text, as a share of the axes
    to_share = axes.transData + axes.transAxes.inverted()
    wanted = sorted(
        (float(to_share.transform((x, y))[1]), at) for at, (x, y, _, _) in enumerate(ends)
    )
    for share, at in _apart(wanted, step):
        x, y, text, colour = ends[at]
        axes.annotate(
            text,
            (x, y),
            (1.03, share),
            textcoords=axes.transAxes,
            va="center",
            fontsize=SIZE,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 1.0,
                "relpos": (0, 0.5),  # to the left edge of the text, not to its middle
                "shrinkA": 1,
                "shrinkB": 0,
            },
            annotation_clip=False,
        )


def lay_out(axes: Axes) -> None:
    """Give the axes their final place, so that positions in pixels are known."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()


def _free_place(
    axes: Axes, point: Point, size: tuple[float, float], frame: Bbox, taken: Sequence[Bbox]
) -> _TextPlace | None:
    """The first place where a text of that size covers nothing that is taken; None if none is."""
    x, y = axes.transData.transform((point.x, point.y))
    for place in _PLACES:
        dx, dy = (d / 72 * axes.figure.dpi for d in _from_rim(point, place))
        left = x + dx - size[0] * _BEFORE[place[2]]
        bottom = y + dy - size[1] * _BEFORE[place[3]]
        if _is_free(Bbox.from_bounds(left, bottom, *size), frame, taken):
            return place
    return None


def _text_size(axes: Axes, text: str) -> tuple[float, float]:
    """Width and height in pixels."""
    written = axes.text(0, 0, text, fontsize=SIZE)
    box = written.get_window_extent()
    written.remove()
    return box.width, box.height


def _text_box(label: Annotation) -> Bbox:
    """What the text alone covers, without the line to its point."""
    label.get_window_extent()  # gives the text its place
    return Text.get_window_extent(label)


def _occupied(axes: Axes, point: Point) -> Bbox:
    """What a point and its error bar cover, in pixels."""
    low = point.y if point.low is None else point.low
    high = point.y if point.high is None else point.high
    bottom = max(low, min(axes.get_ylim()))  # the axis cuts a bar that reaches below it
    (x, y0), (_, y1) = axes.transData.transform([(point.x, bottom), (point.x, high)])
    reach = max(5.0, point.radius / 72 * axes.figure.dpi)
    return Bbox.from_extents(x - reach, y0 - reach, x + reach, y1 + reach)


def _lying_bar(axes: Axes, point: Point, across: tuple[float, float]) -> Bbox:
    """What the point's horizontal error bar covers, in pixels."""
    (x0, y), (x1, _) = axes.transData.transform([(end, point.y) for end in across])
    return Bbox.from_extents(x0, y - 3, x1, y + 3)


def _from_rim(point: Point, place: _TextPlace) -> tuple[float, float]:
    """From the point to its text, in points: from the rim of a large mark, not from its middle."""
    dx, dy = (math.copysign(abs(d) + point.radius, d) if d else 0.0 for d in place[:2])
    return dx, dy


def _annotate(axes: Axes, point: Point, place: _TextPlace) -> Annotation:
    _, up, horizontal, vertical = place
    # Discs touch: a line says whose text it is.
    is_far = up != 0 if point.radius else abs(up) > _NEAR
    # A text that is not right beside its point is tied to it by a line.
    far = {"arrowstyle": "-", "color": MUTED, "lw": 0.8, "shrinkA": 0, "shrinkB": 3}
    return axes.annotate(
        point.text,
        (point.x, point.y),
        _from_rim(point, place),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        fontsize=SIZE,
        arrowprops=far if is_far else None,
    )


def _is_free(box: Bbox, frame: Bbox, taken: Sequence[Bbox]) -> bool:
    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    return inside and not any(box.overlaps(other) for other in taken)


def _apart(wanted: Sequence[tuple[float, int]], step: float) -> list[tuple[float, int]]:
    """Shares of the axes at least a step apart, as near as can be to the wanted (rising) ones.

    Texts that would touch form a block around the mean of what they want; the last is at most 1.
    """
    blocks: list[list[float]] = []  # of wanted shares, less the steps that lie below each
    for place, (share, _) in enumerate(wanted):
        blocks.append([share - place * step])
        while len(blocks) > 1 and fmean(blocks[-2]) >= fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1].extend(last)
    bases = [fmean(block) for block in blocks for _ in block]
    highest = 1.0 - (len(wanted) - 1) * step
    return [
        (min(base, highest) + place * step, at)
        for place, (base, (_, at)) in enumerate(zip(bases, wanted, strict=True))
    ]
