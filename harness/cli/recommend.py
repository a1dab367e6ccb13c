"""`recommend`: which measured strategy to run, under limits of memory and quality."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import console
from harness.cli.exits import EXIT_GATE_FAILED, EXIT_NOTHING_MEASURED
from harness.cli.sizes import Size, SizeOrNone
from harness.errors import BadInput, RecordsError
from harness.invocation import as_typed, command_line
from harness.report.recommend import PREFERENCES

if TYPE_CHECKING:
    from harness.records.store import Run
    from harness.report.ranking import Ranking
    from harness.report.recommend import Wishes

_PERCENT = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?P<percent>%?)")


class Share(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A share of all tokens: `99%` or `0.99`."""

    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """From 0 to 1."""
        if isinstance(value, float):
            return value
        match = _PERCENT.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"'{value}' is not a share. Write 99%, 99.5% or 0.995.", param, ctx)
        share = Decimal(match["number"]) / (100 if match["percent"] else 1)
        if share > 1:
            meant = "" if match["percent"] else f" Do you mean {match['number']}%?"
            self.fail(f"'{value}' is more than all tokens.{meant}", param, ctx)
        return float(share)


@click.command(short_help="Say which measured strategy to run, under limits.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@click.option(
    "--vram",
    type=SizeOrNone(),
    help="At most so much of an accelerator: 8GiB, 8G, 8192MiB; 8.5GB is SI; 0: use none.",
)
@click.option("--ram", type=Size(), help="At most so much main memory.")
@click.option(
    "--min-agreement",
    type=Share(),
    help="At least so many tokens as under the exact model: 99%, 0.99.",
)
@click.option(
    "--prefer",
    type=click.Choice(PREFERENCES),
    default="decode",
    show_default=True,
    help="What the best is best in: speed of decoding or of prompts, or little memory.",
)
@click.option("--model", metavar="NAME", help="This model alone, as its study names it.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, sizes in bytes.")
def command(
    runs: tuple[Path, ...],
    *,
    vram: int | None,
    ram: int | None,
    min_agreement: float | None,
    prefer: str,
    model: str | None,
    as_json: bool,
) -> int:
    """Name the best measured strategy of each model in RUN…, the one behind it, and their costs.

    RUN is results/<machine>/<run>, as 'run' prints it at the end. Runs of one machine are taken
    together: of what was measured in two of them, the newer counts, but a speed that was disturbed
    in every trial gives way to one that was not. Each machine has a ranking of its own. What was
    not measured passes no limit on it.

    RAM is the worker's peak in any trial of speed or answers, and of depth where every strategy was
    measured at depth, with Python and its libraries.
    VRAM is the most that the process held of an accelerator, by any method, its context included
    where the driver tells it; of several accelerators the fullest counts. A strategy that uses none
    takes 0. A limit on agreement is one on the study's fixed text, else on the answers.

    Exit codes: 0 every model has a strategy; 1 of some model none qualifies, and the nearest miss
    or the reason is shown; 2 bad input; 4 no strategy was measured.
    """
    from harness.report.ranking import rank_runs
    from harness.report.recommend import Wishes
    from harness.report.summary import summarise

    read = _read(runs)
    wishes = Wishes(
        ram_bytes=ram,
        vram_bytes=vram,
        min_agreement=min_agreement,
        prefer=prefer,  # type: ignore[arg-type]  # click has checked it
    )
    summaries = [(run, summarise(run)) for run in read]
    rankings = rank_runs(summaries, wishes, model)
    if not rankings:
        _complain_of_model(model, [one.name for _, s in summaries for one in s.models])
    if as_json:
        click.echo(json.dumps(_document(wishes, rankings), indent=2, ensure_ascii=False))
    else:
        _show(rankings, read, model)
    if not any(ranking.is_measured for ranking in rankings):
        return EXIT_NOTHING_MEASURED
    return 0 if all(one.found.best for one in rankings) else EXIT_GATE_FAILED


def _read(paths: Sequence[Path]) -> list[Run]:
    from harness.records.store import read_run

    try:
        # A run that is named twice is one run.
        return [read_run(path) for path in {path.resolve(): path for path in paths}.values()]
    except RecordsError as error:
        raise BadInput(str(error)) from error


def _complain_of_model(model: str | None, names: Sequence[str]) -> None:
    known = ", ".join(dict.fromkeys(names))
    if model is not None and known:
        raise BadInput(f"--model {model}: not in these runs. They have: {known}")
    raise BadInput("these runs have no models: nothing was planned in them")


def _show(rankings: Sequence[Ranking], runs: Sequence[Run], asked: str | None) -> None:
    from harness.report.costs import costs
    from harness.report.recommended import misses, table, unmeasured
    from harness.report.terminal import printable

    out = console()
    for ranking in rankings:
        out.print(recommendation_line(ranking, rankings), markup=False, style="bold")
        out.print()
        shown = table(ranking)
        if shown is not None:
            for part in printable(shown):
                out.print(part, crop=False)
        for line in costs(ranking):
            out.print(line, markup=False)
        for heading, text in unmeasured(ranking):
            out.print(as_typed(f"{heading}: {text}"), markup=False)
        for line in misses(ranking):
            out.print(f"Nearest: {line}", markup=False)
        out.print()
    notes = _notes(rankings)
    for note in notes:
        out.print(note, markup=False)
    if notes:
        out.print()
    out.print(f"Next: {_next(rankings, runs, asked)}", markup=False, soft_wrap=True)


def _notes(rankings: Sequence[Ranking]) -> list[str]:
    """Each note once, with what it is of where it is not of all."""
    about: dict[str, list[str]] = {}
    for ranking in rankings:
        for note in ranking.notes:
            about.setdefault(note, []).append(_title(ranking, rankings))
    return [
        f"Note: {note}" if len(of) == len(rankings) else f"Note on {'; '.join(of)}: {note}"
        for note, of in about.items()
    ]


def recommendation_line(ranking: Ranking, rankings: Sequence[Ranking]) -> str:
    """One sentence, with the machine's name where there are several."""
    from harness.report.recommended import ranking_sentence

    return as_typed(f"{_title(ranking, rankings)}: {ranking_sentence(ranking)}")


def _title(ranking: Ranking, rankings: Sequence[Ranking]) -> str:
    machines = {one.machine for one in rankings}
    return f"{ranking.model} on {ranking.machine}" if len(machines) > 1 else ranking.model


def _next(rankings: Sequence[Ranking], runs: Sequence[Run], asked: str | None) -> str:
    """The report behind the first answer; where nothing qualifies, the limits that let one pass.

    `asked` is the model that was asked for, of maybe several.
    """
    from harness.report.nearest import nearest
    from harness.report.retyped import loosened, wish_options

    none = next((one for one in rankings if one.found.best is None), None)
    misses = nearest(none.options, none.wishes) if none is not None else ()
    if none is None or not misses:
        return command_line("report", _behind(none or rankings[0], runs)[0].path)
    model = ["--model", none.model] if asked is not None or len(rankings) > 1 else []
    kept = wish_options(none.wishes, without=[name for name, _ in misses[0].needs])
    paths = [run.path for run in runs if run in _behind(none, runs)]
    return command_line("recommend", *paths, *kept, *loosened(misses[0]), *model)


def _behind(ranking: Ranking, runs: Sequence[Run]) -> list[Run]:
    """The runs of a ranking, first those that its best is of, then the newest."""
    best = ranking.found.best
    names = list(dict.fromkeys([*(best.runs if best else ()), *ranking.runs]))
    here = [run for run in runs if run.path.resolve().parent.name == ranking.machine]
    found = [run for run in here if run.path.resolve().name in names]
    return sorted(found, key=lambda run: names.index(run.path.resolve().name))


def _document(wishes: Wishes, rankings: Sequence[Ranking]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "wishes": asdict(wishes),
        "qualifies": all(one.found.best is not None for one in rankings),
        "rankings": [_ranking_document(ranking, rankings) for ranking in rankings],
    }


def _ranking_document(ranking: Ranking, rankings: Sequence[Ranking]) -> dict[str, Any]:
    from harness.report.nearest import nearest
    from harness.report.recommend import is_behind
    from harness.report.recommended import unmeasured

    found, prefer = ranking.found, ranking.wishes.prefer
    behind = [one for one in (found.runner_up, *found.others) if one is not None]
    near = nearest(ranking.options, ranking.wishes) if found.best is None else ()
    return {
        "model": ranking.model,
        "machine": ranking.machine,
        "runs": list(ranking.runs),
        "sentence": recommendation_line(ranking, rankings),
        "measured": ranking.is_measured,
        "best": None if found.best is None else _option(found.best),
        "runner_up": None if found.runner_up is None else _option(found.runner_up),
        "others": [_option(one) for one in found.others],
        "not_told_apart": [
            one.name
            for one in behind
            if found.best is not None and not is_behind(one, found.best, prefer)
        ],
        "reference": None if ranking.reference is None else _option(ranking.reference),
        "refused": [{**_option(one), "why": why} for one, why in found.refused],
        "unknown": [{**_option(one), "why": why} for one, why in found.unknown],
        "nearest": [{"name": miss.option.name, "needs": dict(miss.needs)} for miss in near],
        "careful": [text for heading, text in unmeasured(ranking) if heading == "Careful"],
        "notes": list(ranking.notes),
    }


def _option(option: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(option), "why_missing": dict(option.why_missing)}
