"""The references of a run: kept in the cache, and in their small form beside the results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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

    with ExitStack() as stack:
        if no_cache:
            prefix = "rwkv-harness-references-"
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
            # The budget is for what is kept; this goes when the run ends.
            cache = ReferenceCache(folder, budget=shutil.disk_usage(folder).free)
        else:
            cache = ReferenceCache()
        references = References(cache, results / SMALL_FOLDER)
        stack.callback(references.close)
        yield references
