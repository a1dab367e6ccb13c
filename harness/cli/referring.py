"""The references of a run: kept in the cache, and in their small form beside the results."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.measure.references import References

SMALL_FOLDER = "references"  # below the folder of results


@contextmanager
def opened_references(results: Path, *, no_cache: bool) -> Iterator[References]:
    """What strategies are held against in one run; what is read stays until the end.

    With `no_cache` they are computed for this run alone. Raises `BadInput` for a budget that is no
    size.
    """
    from harness.measure.reference_cache import ReferenceCache
    from harness.measure.references import References

    small = results / SMALL_FOLDER
    if no_cache:
        with tempfile.TemporaryDirectory(prefix="rwkv-harness-references-") as folder:
            yield References(ReferenceCache(Path(folder)), small)
        return
    references = References(ReferenceCache(), small)
    try:
        yield references
    finally:
        references.close()
