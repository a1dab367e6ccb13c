"""A cell: one thing to measure."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.runtime.forecast import Forecast


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Model × engine × strategy × threads × workload × batch, by the names of the study."""

    model: str
    engine: str
    strategy: str
    workload: str  # "speed", "depth", "answers" or "quality"
    threads: int
    batch: int = 1  # rows that are run at once; more than 1 for `speed` alone
    sampling: str | None = None  # names; for `answers`, and what `quality` scores of them
    prompt: str | None = None
    variant: str = ""  # what the id says of these two: the names of which there are several

    @property
    def id(self) -> str:
        """Unique within a run and stable across runs, for people and for files."""
        tail = f"/{self.variant}" if self.variant else ""
        rows = f"/batch{self.batch}" if self.batch > 1 else ""
        place = f"{self.model}/{self.engine}/{self.strategy}/{self.threads}t{rows}"
        return f"{place}/{self.workload}{tail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecasts:
    """What a cell will take, reading the weights as they are, or once converted to its plan."""

    as_given: Forecast
    converted: Forecast


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedOnce:
    """The file that a cell reads in place of the original weights; made where nobody did."""

    plan: str  # cells of one model that need the same tensors share the file
    nbytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCell:
    """A cell with what can be said of it before it runs."""

    cell: Cell
    trials: int
    skip_reasons: tuple[str, ...] = ()  # none: it will run
    # Bytes of weights that will lie on each device, as written in the strategy; host memory is
    # "cpu". Empty when the weights cannot be seen.
    weight_bytes: dict[str, int] = field(default_factory=dict)
    # Memory of our own runtime, libraries apart; None for other engines, and without a shape.
    forecasts: Forecasts | None = None
    converted: ConvertedOnce | None = None  # None: the weights are read as they are
    warnings: tuple[str, ...] = ()
    same_as: str | None = None  # the id of the cell that is measured for this one, which is not

    @property
    def skip_reason(self) -> str | None:
        """All reasons in one line; None for a cell that will run."""
        return "; ".join(self.skip_reasons) or None
