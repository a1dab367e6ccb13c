"""Memory by phase as a table: what was measured beside what was predicted, and what each figure is.

Turns figures into texts; decides nothing. A column that no strategy has is left out, and a sentence
below the table says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.records.phases import DEVICE_FIGURES, FIGURES, HOST_FIGURES, PHASES, Figure
from harness.report.format import listing, size
from harness.report.memory import forecast_text
from harness.report.phases import PhaseUse
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import ModelSummary, Row

_WITH_CHILDREN = "peak_rss_bytes"
_OWN, _CHILDREN = "own_peak_rss_bytes", "children_peak_rss_bytes"
_NO_FORECAST = "no forecast was recorded: there is one for the torch engine alone"
_OLD = "the record is older than phases"
_MODEL, _PREDICTED = "of it the model", "predicted"
_MODEL_IS = (
    "the worker’s own peak beyond what was resident before the model was opened. The pages of "
    "libraries that are first used then are in it, some 20 MiB that nothing predicts and that are "
    "much of a small model"
)
_PREDICTED_IS = (
    "what the forecast said of the model’s part, or of what torch allocates on a device, and its "
    "ratio to what was measured"
)


def phases(model: ModelSummary) -> Table:
    """Every phase of every strategy that was tried."""
    rows = [row for row in model.rows if row.was_tried]
    uses = [use for row in rows for use in row.phases]
    host = _shown(
        (use.host for use in uses), [n for n in HOST_FIGURES if n not in (_OWN, _CHILDREN)]
    )
    devices = {
        device: _shown((use.devices.get(device, {}) for use in uses), list(DEVICE_FIGURES))
        for device in dict.fromkeys(name for use in uses for name in use.devices)
    }
    titles = [*_host_titles(host), *_device_titles(devices)]
    return Table(
        caption=f"Memory of {model.name} by phase, the largest of the trials",
        columns=columns("Strategy", "Phase", *titles, numeric=titles, what=_says(titles)),
        rows=tuple(
            (code(row.label), words(use.phase), *_cells(use, host, devices))
            for row in rows
            for use in row.phases or (_without(row),)
        ),
        remarks=tuple(_remarks(uses, host, devices)),
    )


def _without(row: Row) -> PhaseUse:
    return PhaseUse(phase="–", missing=row.missing.get(_WITH_CHILDREN, _OLD))


def _shown(trials: Iterable[dict[str, Figure]], names: Sequence[str]) -> list[str]:
    """Names that some strategy has a figure for."""
    known = {name for figures in trials for name, one in figures.items() if one.bytes is not None}
    return [name for name in names if name in known]


def _host_titles(host: Sequence[str]) -> list[str]:
    titles = []
    for name in host:
        titles.append(FIGURES[name].title)
        if name == _WITH_CHILDREN:
            titles += [_MODEL, _PREDICTED]
    return titles


def _device_titles(devices: dict[str, list[str]]) -> list[str]:
    titles = []
    for device, names in devices.items():
        for name in names:
            titles.append(f"{FIGURES[name].title}, {device}")
            if name == "allocated_peak_bytes":
                titles.append(f"{_PREDICTED}, {device}")
    return titles


def _says(titles: Sequence[str]) -> dict[str, str]:
    """What each column is, also where it is of one device."""
    known = {one.title: one.says for one in FIGURES.values()}
    known |= {_MODEL: _MODEL_IS, _PREDICTED: _PREDICTED_IS}
    return {title: f"{known[title.partition(',')[0]]}." for title in titles}


def _cells(use: PhaseUse, host: Sequence[str], devices: dict[str, list[str]]) -> Iterable[Cell]:
    for name in host:
        if name != _WITH_CHILDREN:
            yield _cell(use.host.get(name), use.missing)
            continue
        yield _with_children(use)
        growth = use.growth_bytes
        yield figure(
            None if growth is None else size(growth), use.missing or "not recorded before loading"
        )
        foreseen = None if use.forecast is None else use.forecast.rss_growth_bytes
        yield figure(forecast_text(foreseen, growth), _NO_FORECAST)
    for device, names in devices.items():
        found = use.devices.get(device)
        why = use.missing or (None if found else "the strategy puts nothing on this device")
        for name in names:
            one = None if found is None else found.get(name)
            yield _cell(one, why)
            if name == "allocated_peak_bytes":
                measured = None if one is None else one.bytes
                foreseen = use.device_forecast(device)
                yield figure(forecast_text(foreseen, measured), why or _NO_FORECAST)


def _with_children(use: PhaseUse) -> Cell:
    """Both together; where a child was, what each took."""
    both, own = use.host.get(_WITH_CHILDREN), use.host.get(_OWN)
    children = use.host.get(_CHILDREN)
    parts = [
        f"{title} {size(one.bytes)}"
        for title, one in (("worker", own), ("children", children))
        if one is not None and one.bytes is not None
    ]
    is_alone = children is not None and children.bytes == 0
    cell = _cell(both, use.missing)
    if is_alone or not parts:
        return cell
    return Cell(text=cell.text, why=cell.why, tag="\n".join(parts))


def _cell(one: Figure | None, missing: str | None) -> Cell:
    if one is None or one.bytes is None:
        return figure(None, missing or (None if one is None else one.missing))
    return figure(size(one.bytes))


def _remarks(
    uses: Sequence[PhaseUse], host: Sequence[str], devices: dict[str, list[str]]
) -> Iterable[str]:
    phases = [phase for phase in PHASES if any(use.phase == phase for use in uses)]
    yield "Phases: " + "; ".join(f"{phase}, {PHASES[phase]}" for phase in phases) + "."
    shown = [*host, *dict.fromkeys(name for names in devices.values() for name in names)]
    for name in shown:
        yield f"{FIGURES[name].title}: {FIGURES[name].says}. {_methods(uses, name)}"
    if _WITH_CHILDREN in host:
        yield f"Of it the model: {_MODEL_IS}. Predicted: {_PREDICTED_IS}."
    left_out: dict[str, list[str]] = {}
    for name, reason in _missing(uses):
        if name not in (*shown, _OWN, _CHILDREN) and FIGURES[name].title not in (
            left_out.get(reason, ())
        ):
            left_out.setdefault(reason, []).append(FIGURES[name].title)
    for reason, titles in left_out.items():
        yield f"{listing(titles)}: – ({reason})."


def _methods(uses: Sequence[PhaseUse], name: str) -> str:
    found = dict.fromkeys(
        figures[name].method
        for use in uses
        for figures in (use.host, *use.devices.values())
        if name in figures and figures[name].method is not None
    )
    return f"Method: {' | '.join(method for method in found if method)}."


def _missing(uses: Sequence[PhaseUse]) -> Iterable[tuple[str, str]]:
    """Figures that some phase lacks, each with the reason."""
    for use in uses:
        for figures in (use.host, *use.devices.values()):
            for name, one in figures.items():
                if one.missing is not None and name in FIGURES:
                    yield name, one.missing
