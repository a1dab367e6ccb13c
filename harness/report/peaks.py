"""Which trials the peak memory of a row is of, so that like is compared with like.

A peak is of the whole use of a strategy: of its speed and of its answers, under whichever sampling
and prompt. Depth counts where every strategy of the model that was measured went through it; one
that did not would seem the smaller. Scoring is no use of a strategy. Knows cells, not bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from harness.config.matrix import ANSWERS, DEPTH, SPEED
from harness.records.record import Record
from harness.report.grouping import RowKey
from harness.report.trials import CellTrials

USES = (SPEED, DEPTH, ANSWERS)  # of a strategy; scoring it is none
Groups = Mapping[RowKey, Sequence[CellTrials]]


class Peaks(Struct, frozen=True, kw_only=True):
    """The trials whose memory is a row's; none where it was not measured."""

    records: tuple[Record, ...] = ()  # of speed and answers
    depth: tuple[Record, ...] = ()  # none too where depth does not count

    @property
    def counted(self) -> tuple[Record, ...]:
        """All of them."""
        return self.records + self.depth


NO_PEAKS = Peaks()


def peaks_of(groups: Groups) -> dict[RowKey, Peaks]:
    """The trials of each row.

    A strategy has its peak in the row with its speed, or in its first one: there the answers under
    all its samplings and prompts count, in its other rows their own.
    """
    depth_counts = _all_went_deep(groups)
    return {
        key: Peaks(
            records=_counted(
                [
                    *(one for one in cells if one.cell.workload in (SPEED, ANSWERS)),
                    *(_answers_beside(key, groups) if key == _leading(key, groups) else ()),
                ]
            ),
            depth=_counted(one for one in cells if depth_counts and one.cell.workload == DEPTH),
        )
        for key, cells in groups.items()
    }


def _all_went_deep(groups: Groups) -> bool:
    went: dict[tuple[str, str, int], set[str]] = {}  # engine, strategy, threads -> workloads
    for key, cells in groups.items():
        measured = {one.cell.workload for one in cells if one.counted}.intersection(USES)
        if measured:
            went.setdefault(key[:3], set()).update(measured)
    return all(DEPTH in one for one in went.values())


def _leading(key: RowKey, groups: Groups) -> RowKey:
    """The row of the same strategy with its speed, of the least batch; without any, its first."""
    rows = [other for other in groups if other[:3] == key[:3]]
    least = min(batch for *_, batch, _ in rows)
    rows = [other for other in rows if other[3] == least]
    timed = (o for o in rows if any(one.cell.workload == SPEED for one in groups[o]))
    return next(timed, rows[0])


def _answers_beside(key: RowKey, groups: Groups) -> Iterator[CellTrials]:
    for other, cells in groups.items():
        if other != key and other[:3] == key[:3]:
            yield from (one for one in cells if one.cell.workload == ANSWERS)


def _counted(cells: Iterable[CellTrials]) -> tuple[Record, ...]:
    return tuple(record for one in cells for record in one.counted)
