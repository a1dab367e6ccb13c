"""The worker's side of computing a reference: rows into a file.

Knows the engine protocol and passages; nothing of studies, trials or caches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from harness.engines.base import Engine, Logits, ModelSource, Referring
from harness.errors import HarnessError, ReferenceUnusable, Unsupported
from harness.measure.job import NoNumbers, ReferenceJob, Referred
from harness.quality.rows_file import RowsWriter, rows_bytes
from harness.runtime.output_file import replacing
from harness.runtime.passage import Passage


def compute_reference(
    engine: Engine,
    model: ModelSource,
    job: ReferenceJob,
    threads: int,
    send: Callable[[Referred | NoNumbers], None],
) -> None:
    """Write the file that `job` asks for, whole or not at all.

    Raises `Unsupported` for an engine that has no reference, `ReferenceUnusable` for weights that
    give no numbers, `HarnessError` where it cannot be written, and what the engine raises.
    """
    if not isinstance(engine, Referring):
        raise Unsupported(f"the {engine.name} engine computes no reference")
    passages = [Passage(ids=tuple(one.ids), first=one.first) for one in job.passages]
    chunks = engine.reference(
        model,
        passages,
        threads=threads,
        on_progress=lambda done, total: send(Referred(done=done, total=total)),
    )
    _write_rows(Path(job.out), job, chunks, send)


def _write_rows(
    out: Path,
    job: ReferenceJob,
    chunks: Iterator[tuple[int, Logits]],
    send: Callable[[NoNumbers], None],
) -> None:
    first = next(chunks, None)
    if first is None:
        raise HarnessError("the engine gave no rows of its reference")
    n_vocab = first[1].shape[1]
    rows = {one.key: one.n_rows for one in job.passages}
    with replacing(out, rows_bytes(rows, n_vocab)) as file:
        writer = RowsWriter(file, rows, n_vocab, {"weights_sha256": job.weights_sha256})
        for index, chunk in chain([first], chunks):
            _write(writer, chunk, job.passages[index].key, send)
        writer.finish()


def _write(
    writer: RowsWriter, rows: Logits, passage: str, send: Callable[[NoNumbers], None]
) -> None:
    try:
        writer.write(rows)
    except ReferenceUnusable:
        send(NoNumbers(passage=passage))
        raise
