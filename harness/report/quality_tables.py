"""The section of a report on quality: what was compared with what, and its tables.

Text and answers stand apart: the text is the same for all strategies, the answers are each one's
own. Turns figures into texts; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import structs

from harness.quality.summary import P99_TOKENS, Divergence, QualitySummary
from harness.records.quality import Gate
from harness.report.format import count, listing, number, seconds, share
from harness.report.quality import RowQuality
from harness.report.quality_cells import (
    AGREEMENT,
    RIGHT,
    SAME,
    SMALL_FORM,
    agreement_of,
    as_sentence,
    between,
    divergence_cell,
    right,
    same,
    small,
    why_no_mean,
    why_unscored,
)
from harness.report.table import Cell, Column, Table, code, columns, figure, words
from harness.report.values import ModelSummary, Row

_KL = "Kullback-Leibler divergence from the reference per token, in nats"
_WHAT = {
    "Agreement": f"{as_sentence(AGREEMENT)} Below: Wilson’s 95 % interval.",
    "KL, mean": f"{_KL}: the mean of all tokens.",
    "KL, median": f"{_KL}: of the middle token.",
    "KL, p99": f"{_KL}: 99 of 100 tokens have less.",
    "Perplexity": "e to the mean surprise at the tokens of the text, in nats. Below: the change "
    "against the reference’s; less is no better here, for the reference is what is wanted.",
    "Change of p, RMS": "Root mean square of how much more or less likely the strategy finds the "
    "token that came, in percentage points.",
    "NaN, Inf": "NaN and infinite log-probabilities, all tokens together.",
    "Right answers": as_sentence(RIGHT),
    "Same answers": as_sentence(SAME),
    "Accuracy": "Share of the passages whose last word the strategy holds for the likeliest.",
    "Perplexity of the word": "e to the mean surprise at a passage’s last word.",
}
_NOT_INDEPENDENT = (
    "Tokens follow each other, so an interval says how well this many tell the share, not how "
    "another text would go."
)
_DRAWS_NOTHING = (
    "The reference draws nothing: it is laid along the tokens of each answer, and draws again with "
    "the answer’s settings and seed. Where that gives another token first, the answer is not the "
    "same; one such token among hundreds is enough."
)
_GATE = (
    "Before a strategy is measured, its log-probabilities of the first tokens of a text are laid "
    "beside the reference’s. Lost: the variance of the difference in units of the reference’s own; "
    "0 % is the same, and 100 % has nothing to do with it. Allowed: what the rounding of the "
    "strategy’s formats may lose over all slots. One that loses more computes another function, "
    "as with a wrong sign or a layer left out: it ends as “wrong answers”, and nothing else of it "
    "is measured."
)

_TOO_LARGE = "larger than any number here can be: the last words were all but ruled out"
_LAMBADA = ("Accuracy", "Perplexity of the word")
Figure = tuple[str, Callable[[Row, QualitySummary], Cell]]


def quality_tables(model: ModelSummary) -> tuple[Table, ...]:
    """What was scored of a model, and what was looked at first; those that there are."""
    tables = (text_table(model), scored_answers_table(model), lambada_table(model))
    return tuple(table for table in (*tables, gate_table(model)) if table is not None)


def about_quality(model: ModelSummary) -> tuple[str, ...]:
    """What the reference is, how it was made, and what is not there, in sentences."""
    scored = [row.quality for row in model.rows if row.quality is not None]
    return (*_reference(scored), *_left_out(model, scored), *_gated(model))


def scored_here(model: ModelSummary) -> list[Row]:
    """The rows whose quality stands in no other row."""
    return [row for row in model.rows if "quality" not in row.elsewhere]


def text_table(model: ModelSummary) -> Table | None:
    """Every strategy on the fixed text; None where none was scored on it."""
    rows = scored_here(model)
    found = {row.label: row.quality.text for row in rows if row.quality is not None}
    if not any(found.values()):
        return None
    shown: list[Figure] = [*_divergences(), ("Perplexity", _perplexity), *_changes()]
    tokens = sorted({one.tokens for one in found.values() if one is not None})
    return Table(
        caption=f"{model.name} beside the exact reference, on {count(tokens[-1], 'token')} of the "
        "fixed text",
        columns=_columns([title for title, _ in shown]),
        rows=tuple(
            (code(row.label), *_cells(row, found.get(row.label), shown, "text")) for row in rows
        ),
        remarks=(_NOT_INDEPENDENT, *_small_form(model)),
    )


def scored_answers_table(model: ModelSummary) -> Table | None:
    """Every strategy along its own answers; None where none was scored so."""
    rows = scored_here(model)
    found = {row.label: row.quality.answers for row in rows if row.quality is not None}
    if not any(found.values()):
        return None
    of_tokens: Figure = ("Tokens", lambda _, scored: figure(f"{scored.tokens:,}"))
    shown: list[Figure] = [of_tokens, *_divergences(), *_changes()]
    # Of the small form nothing can be drawn, so it is not known what the reference would answer.
    alike = [("Same answers", same)] if model.by_exact else []
    titles = [*(title for title, _ in alike), "Right answers", *(title for title, _ in shown)]
    return Table(
        caption=f"{model.name} beside the exact reference, along each strategy’s own answers",
        columns=_columns(titles),
        rows=tuple(
            (
                code(row.label),
                *(cell(row) for _, cell in alike),
                right(row),
                *_cells(row, found.get(row.label), shown, "answers"),
            )
            for row in rows
        ),
        remarks=(
            *([_DRAWS_NOTHING] if model.by_exact else []),
            *_small_form(model),
        ),
    )


def lambada_table(model: ModelSummary) -> Table | None:
    """Last words; None where the study does not ask for them."""
    rows = scored_here(model)
    found = {row.label: row.quality.lambada for row in rows if row.quality is not None}
    documents = sorted({one.documents for one in found.values() if one is not None})
    if not documents:
        return None
    cells = []
    for row in rows:
        one = found.get(row.label)
        if one is None or one.accuracy is None:
            why = why_unscored(row, "lambada")
            cells.append((code(row.label), figure(None, why), figure(None, why)))
            continue
        low, high = one.accuracy_low, one.accuracy_high
        tag = None if low is None or high is None else between(low, high)
        perplexity = None if one.perplexity is None else number(one.perplexity)
        why = "a last word has no finite probability" if one.not_finite else _TOO_LARGE
        cells.append(
            (
                code(row.label),
                figure(share(one.accuracy), tag=tag),
                figure(perplexity, why),
            )
        )
    return Table(
        caption=f"LAMBADA: the last words of {count(documents[-1], 'passage')}, {model.name}",
        columns=_columns(_LAMBADA),
        rows=tuple(cells),
    )


def terminal_lambada_table(model: ModelSummary) -> Table | None:
    """The same for a terminal: no intervals, and names as words."""
    whole = lambada_table(model)
    if whole is None:
        return None
    return structs.replace(
        whole,
        columns=columns("Strategy", *_LAMBADA, numeric=_LAMBADA),
        rows=tuple(
            (words(name.text), *(structs.replace(cell, tag=None) for cell in rest))
            for name, *rest in whole.rows
        ),
    )


def gate_table(model: ModelSummary) -> Table | None:
    """What the first tokens showed; None where every strategy passed that was looked at."""
    gates = [(row, row.gate) for row in model.rows if row.gate is not None]
    if all(gate.why is None for _, gate in gates):
        return None
    titles = ("Tokens", "Lost", "Allowed", "KL, mean")
    return Table(
        caption=f"The first tokens of {model.name}, before anything was measured",
        columns=columns("Strategy", *titles, "Found", numeric=titles),
        rows=tuple((code(row.label), *_gate_cells(gate)) for row, gate in gates),
        remarks=(_GATE,),
    )


def _gate_cells(gate: Gate) -> Iterator[Cell]:
    why = gate.missing or "not recorded"
    yield figure(str(gate.tokens) if gate.tokens else None, why)
    for name in ("lost", "tolerated"):
        value = gate.figures.get(name)
        yield figure(None if value is None else _lost(value), why)
    kl = gate.figures.get("kl")
    yield figure(None if kl is None else small(kl), why)
    yield words("not looked at" if gate.missing else "passed" if gate.why is None else "wrong")


def _lost(share: float) -> str:
    """In percent, as precise as the reason of an outcome says it."""
    return f"{share * 100:.2g}\u00a0%"


def _divergences() -> list[Figure]:
    def of(name: str) -> Callable[[Row, QualitySummary], Cell]:
        def cell(_: Row, scored: QualitySummary) -> Cell:
            value: Divergence | None = getattr(scored, name)
            if name == "kl_p99" and scored.tokens < P99_TOKENS:
                return figure(None, f"p99 needs {P99_TOKENS} tokens, and there are fewer")
            return divergence_cell(value, why_no_mean(scored))

        return cell

    return [
        ("Agreement", lambda _, scored: agreement_of(scored)),
        ("KL, mean", of("kl_mean")),
        ("KL, median", of("kl_median")),
        ("KL, p99", of("kl_p99")),
    ]


def _changes() -> list[Figure]:
    return [
        ("Change of p, RMS", _probability),
        ("NaN, Inf", lambda _, scored: figure(f"{scored.not_finite:,}")),
    ]


def _perplexity(_: Row, scored: QualitySummary) -> Cell:
    ratio = scored.perplexity_ratio
    if scored.perplexity is None or ratio is None:
        return figure(None, why_no_mean(scored))
    return figure(number(scored.perplexity), tag=change(ratio))


def change(ratio: float) -> str:
    """`+0.81 %`: how a ratio differs from 1, to a hundredth of a percent."""
    percent = abs(ratio - 1) * 100
    size = number(percent) if percent >= 1 else f"{percent:.2f}"
    sign = "±" if size == "0.00" else "+" if ratio > 1 else "−"
    return f"{sign}{size}\u00a0%"


def _probability(_: Row, scored: QualitySummary) -> Cell:
    rms = scored.probability_rms
    return figure(None if rms is None else f"{rms * 100:.2f}\u00a0%", why_no_mean(scored))


def _cells(
    row: Row, scored: QualitySummary | None, shown: Sequence[Figure], part: str
) -> Iterator[Cell]:
    for _, cell in shown:
        yield figure(None, why_unscored(row, part)) if scored is None else cell(row, scored)


def _columns(titles: Sequence[str]) -> tuple[Column, ...]:
    return columns("Strategy", *titles, numeric=titles, what=_WHAT)


def _small_form(model: ModelSummary) -> list[str]:
    labels = [
        f"“{row.label}”"
        for row in model.rows
        if row.quality is not None and not row.quality.is_exact and row.quality.headline is not None
    ]
    if not labels:
        return []
    told = (
        f"Of {listing(labels)} {SMALL_FORM}, the 64 likeliest tokens of each row and sums of the "
        "others: the divergence is at least the figure (≥), and at most the one below it, or lies "
        "between nothing and the figure (≤). "
        "Agreement, perplexity and probabilities are exact all the same."
    )
    return [told]


def _reference(scored: Sequence[RowQuality]) -> Iterator[str]:
    methods = list(dict.fromkeys(one.method for one in scored if one.method is not None))
    if not methods:
        return
    weights = dict.fromkeys(one.weights_sha256 for one in scored if one.weights_sha256 is not None)
    of = f", of the weights with sha256 {listing([f'{sha[:12]}…' for sha in weights])}"
    took = [one.made_s for one in scored if one.made_s is not None]
    # What the gate needed of it was made before, and that is not in these records.
    made = f" Computing what of it was not kept yet took {seconds(sum(took))}." if took else ""
    yield (
        f"The reference is the model itself{of if weights else ''}, computed by no strategy of "
        f"this study: {listing(methods)}, without int8 and without rescaling.{made} Quality is how "
        "near a strategy comes to that model, not how good the model is."
    )


def _left_out(model: ModelSummary, scored: Sequence[RowQuality]) -> Iterator[str]:
    """Parts that no strategy was scored on, and why."""
    parts = {"text": "the fixed text", "answers": "the answers", "lambada": "LAMBADA"}
    for name, shown in parts.items():
        if any(getattr(one, name) is not None for one in scored):
            continue
        reasons = dict.fromkeys(one.missing[name] for one in scored if name in one.missing)
        for why in reasons:
            yield f"Nothing of {model.name} was scored on {shown}: {why}."


def _gated(model: ModelSummary) -> Iterator[str]:
    found = {row.strategy: row.gate for row in model.rows if row.gate is not None}
    gates = list(found.values())
    passed = [gate for gate in gates if gate.why is None and gate.missing is None]
    if passed and len(passed) == len(gates):
        tokens = count(max(gate.tokens for gate in passed), "token")
        lost = max(gate.figures.get("lost", 0.0) for gate in passed)
        who = "Each strategy" if len(found) > 1 else f"“{next(iter(found))}”"
        yield (
            f"{who} was first looked at on {tokens}, to stop one that computes something else: "
            f"no more than {_lost(lost)} was lost of what the reference says there, which rounding "
            "explains."
        )
    for why in dict.fromkeys(gate.missing for gate in gates if gate.missing is not None):
        yield f"Of {model.name} the first tokens of some strategies were not looked at: {why}."
