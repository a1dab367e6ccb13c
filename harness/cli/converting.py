"""Converted weights on the command line: the cache that `run` and `ask` read, and its progress."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.progress import OnBytes, byte_progress

if TYPE_CHECKING:
    from harness.measure.conversion import Conversions, Reading
    from harness.measure.job import Message


@contextmanager
def opened_conversions(*, no_cache: bool) -> Iterator[Conversions]:
    """The conversions of one command; what they read stays in the cache until the end.

    Raises `BadInput` for a budget that is no size.
    """
    from harness.measure.conversion import Conversions
    from harness.measure.conversion_cache import ConvertedCache

    if no_cache:
        yield Conversions(None, "--no-cache was given")
        return
    conversions = Conversions(ConvertedCache())
    try:
        yield conversions
    finally:
        conversions.close()


def reading_of(
    conversions: Conversions, weights: Path, engine: str, strategy: str, threads: int
) -> Reading:
    """What one model under one strategy should be read from, converted first where that pays."""
    from harness.config.limit_settings import Limits
    from harness.measure.conversion import Reading, Watch, Weights
    from harness.measure.job import Job
    from harness.sources import file_sha256

    absent = _absent(strategy)
    if absent:  # the engine will say what there is
        return Reading(weights=weights, missing=f"there is no {absent} here")
    job = Job(
        engine=engine, strategy=strategy, weights=str(weights), weights_seed=0, threads=threads
    )

    def sha256() -> str:
        with byte_progress(f"Hashing {weights.name}") as on_bytes:
            return file_sha256(weights, on_bytes)

    with ExitStack() as shown, tempfile.TemporaryDirectory() as folder:
        return conversions.reading(
            Weights(path=weights, seed=0, sha256=sha256),
            job,
            limits=Limits(),
            log=Path(folder) / "log",
            watch=Watch(
                message=_Progress(shown, f"Converting {weights.name} to '{strategy}'"),
                note=lambda text: click.echo(f"Note: {text}", err=True),
            ),
        )


class _Progress:
    """A progress line that appears when there is something to tell."""

    def __init__(self, shown: ExitStack, title: str) -> None:
        self._shown = shown
        self._title = title
        self._on_bytes: OnBytes | None = None

    def __call__(self, message: Message) -> None:
        from harness.measure.job import Written

        if not isinstance(message, Written):
            return
        if self._on_bytes is None:
            click.echo(f"{self._title}, once: {message.total_bytes / 2**20:.0f} MiB …", err=True)
            self._on_bytes = self._shown.enter_context(byte_progress(self._title))
        if message.done_bytes:  # until then a process is starting
            self._on_bytes(message.done_bytes, message.total_bytes)


def _absent(strategy: str) -> str | None:
    """The first device of a strategy that is not here. Asks the machine only where it must."""
    from harness.machine import probe_machine
    from harness.runtime.strategy import device_key, parse

    wanted = dict.fromkeys(stage.device for stage in parse(strategy) if stage.device != "cpu")
    if not wanted:
        return None
    there = {one.device for one in probe_machine().accelerators}
    return next((one for one in wanted if device_key(one) not in there), None)
