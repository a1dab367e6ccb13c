"""The references of a run: kept in the cache, and in their small form beside the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.measure.reference_cache import ReferenceCache
    from harness.measure.references import References

SMALL_FOLDER = "references"  # below the folder of results
PASSING_FOLDER = ".for-this-run"  # below that: full references that the cache is not to hold
_SPARED_BYTES = 2**30  # of the disk that results are written to


@contextmanager
def opened_references(results: Path, *, no_cache: bool) -> Iterator[References]:
    """What strategies are held against in one run; what is read stays until the end.

    With `no_cache`, and where the cache cannot hold them, they are computed for this run alone, in
    a folder beside its results. Raises `BadInput` for a budget that is no size.
    """
    from harness.measure.cache_budget import within_disk
    from harness.measure.file_cache import free_bytes
    from harness.measure.reference_cache import ReferenceCache
    from harness.measure.references import References

    small = results / SMALL_FOLDER
    budget = within_disk(free_bytes(results.absolute()), _SPARED_BYTES)
    passing = ReferenceCache(small / PASSING_FOLDER, budget, "the folder beside the results")
    with ExitStack() as stack:
        _clear(passing)  # what a killed run left
        stack.callback(_clear, passing)
        references = References([passing] if no_cache else [ReferenceCache(), passing], small)
        stack.callback(references.close)
        yield references


def _clear(passing: ReferenceCache) -> None:
    """Remove all that no other run uses."""
    passing.clear()
    for folder in (passing.folder, passing.folder.parent):
        with suppress(OSError):  # it is not there, or not empty
            folder.rmdir()
