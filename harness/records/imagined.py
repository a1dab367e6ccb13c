"""What a run has so far, and trials that are only thought of: to foresee what a command would do.

Nothing is written, and no file is needed: a run that is still to begin has no records.
"""

from __future__ import annotations

from harness.records.record import Record
from harness.records.store import RecordStore


class ImaginedStore(RecordStore):
    """A store that takes records without keeping them anywhere.

    Of each cell the last of them is among its `records`, however many there are: for what comes
    next they are alike, and a long plan is thought through in little time.
    """

    def _read(self) -> int:
        self._place: dict[str, int] = {}  # of a cell's imagined record
        return super()._read() if self.path.exists() else 0

    @property
    def tried(self) -> frozenset[str]:
        """Ids of the cells of which any trial was made, or imagined."""
        return frozenset(one.cell.id for one in self.records if one.outcome.kind != "skipped")

    def append(self, record: Record) -> None:
        """Take a record in place of the last one that was imagined of its cell."""
        at = self._place.setdefault(record.cell.id, len(self.records))
        self.records[at : at + 1] = [record]
        self._count(record)
