from __future__ import annotations

import fabricate
import pytest

from harness.records.store import Run
from harness.report.summary import summarise


@pytest.fixture
def summary_of(tmp_path):
    """Summarises a fabricated run without writing it."""

    def summarised(run: fabricate.Fabricated, notes=()):
        return summarise(
            Run(
                path=tmp_path / "20240501T100000Z",
                records=tuple(run.records),
                study=run.study,
                facts=fabricate.FACTS,
                plan=run.plan,
                notes=tuple(notes),
            )
        )

    return summarised


@pytest.fixture
def rows_of(summary_of):
    """The rows of the first model, by label."""
    return lambda run: {row.label: row for row in summary_of(run).models[0].rows}
