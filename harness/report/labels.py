"""Labels beside what they name, without overlap. Knows text boxes, not what they say."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# Where a label may stand from its point, in points: right, left, above, below, then further away.
_PLACES: tuple[tuple[float, float, str, str], ...] = (
    (8, 0, "left", "center"),
    (-8, 0, "right", "center"),
    (0, 9, "center", "bottom"),
    (0, -9, "center", "top"),
    (8, 12, "left", "bottom"),
    (8, -12, "left", "top"),
    (-8, 12, "right", "bottom"),
    (-8, -12, "right", "top"),
    (8, 26, "left", "bottom"),
    (8, -26, "left", "top"),
    (-8, 26, "right", "bottom"),
    (-8, -26, "right", "top"),
)
_LINE = 1.25  # distance of two lines of text, in heights of a letter


def place_labels(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each point's text at the first place that is free; points are (x, y, text)."""
    _lay_out(axes)
    frame = axes.get_window_extent()
    taken = [
        Bbox.from_bounds(x - 5, y - 5, 10, 10)
        for x, y in axes.transData.transform([(x, y) for x, y, _ in points])
    ]
    for x, y, text in points:
        tries = [_annotate(axes, x, y, text, place) for place in _PLACES]
        boxes = [label.get_window_extent() for label in tries]
        chosen = next((at for at, box in enumerate(boxes) if _is_free(box, frame, taken)), 0)
        for at, label in enumerate(tries):
            if at != chosen:
                label.remove()
        taken.append(boxes[chosen])


def spread(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write texts on the right of the axes near the ends of their lines, one below the other.

    `ends` are (x, y, text, colour); a thin line leads from each end to its text.
    """
    _lay_out(axes)
    height = axes.get_window_extent().height
    step = 8.5 * _LINE / 72 * axes.figure.dpi / height  # one line of text, as a share of the axes
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
            fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 1.0, "shrinkA": 1, "shrinkB": 0},
            annotation_clip=False,
        )


def _lay_out(axes: Axes) -> None:
    """Give the axes their final place, so that positions in pixels are known."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()


def _annotate(
    axes: Axes, x: float, y: float, text: str, place: tuple[float, float, str, str]
) -> Annotation:
    dx, dy, horizontal, vertical = place
    return axes.annotate(
        text, (x, y), (dx, dy), textcoords="offset points", ha=horizontal, va=vertical, fontsize=8.5
    )


def _is_free(box: Bbox, frame: Bbox, taken: Sequence[Bbox]) -> bool:
    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    return inside and not any(box.overlaps(other) for other in taken)


def _apart(wanted: Sequence[tuple[float, int]], step: float) -> list[tuple[float, int]]:
    """Shares in rising order, moved up until each is a step from the one below, then centred."""
    placed: list[tuple[float, int]] = []
    for share, at in wanted:
        floor = placed[-1][0] + step if placed else share
        placed.append((max(share, floor), at))
    over = max(0.0, placed[-1][0] - 1.0) if placed else 0.0
    moved: list[tuple[float, int]] = []
    ceiling = float("inf")
    for share, at in reversed(placed):
        ceiling = min(share - over if over else share, ceiling)
        moved.append((ceiling, at))
        ceiling -= step
    return moved[::-1]
