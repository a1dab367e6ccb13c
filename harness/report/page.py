"""What a report says, in its order, before it is HTML or Markdown: both show exactly this.

Gathers tables, plots and sentences from a summary; knows no markup and no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from harness.report import evidence, fact_tables
from harness.report.advice import choice_sentence, choice_table
from harness.report.facts import find
from harness.report.format import clock_time, count, listing, size
from harness.report.latency_tables import answer_table, latency_tables
from harness.report.limit_tables import limits_table
from harness.report.order import order_lines
from harness.report.plots import Plot, draw_plots
from harness.report.quality_tables import about_quality, quality_tables
from harness.report.quiet_tables import quiet_tables
from harness.report.results import category_table, result_table
from harness.report.roofline_tables import roofline_table
from harness.report.table import Table
from harness.report.values import Fact, ModelSummary, Summary

_GPU_NAME = re.compile(r"gpus\.\d+\.name")


class ModelPage(Struct, frozen=True, kw_only=True):
    """The part of one model."""

    name: str
    slug: str  # unique within the page; letters, digits and dashes: for ids and files
    weights: str
    sentence: str  # the answer first
    choices: Table | None
    results: Table
    about_quality: tuple[str, ...]  # what the strategies were held against, and why not
    quality: tuple[Table, ...]
    roofline: Table | None  # how near to the machine's limits
    categories: Table | None
    plots: tuple[Plot, ...]
    differing: tuple[Table, ...]  # answers where some strategy leaves the reference
    agreeing: tuple[Table, ...]  # the others
    about_answers: str | None  # how many differ, in a sentence; None where nothing was asked
    agreeing_title: str
    placement: Table | None
    loading: Table | None
    planned: Table | None
    latency: tuple[Table, ...]  # what a user waits for, and the parts of an answer

    @property
    def tells_speed(self) -> bool:
        """Whether speed has a heading: it has something, or nothing at all was measured."""
        of_speed = any(plot.part == "speed" for plot in self.plots)
        return of_speed or self.roofline is not None or not self.plots


class Page(Struct, frozen=True, kw_only=True):
    """A whole report."""

    title: str
    description: str
    about: tuple[tuple[str, str], ...]  # what was run on what machine: term, text
    warnings: tuple[str, ...]
    models: tuple[ModelPage, ...]
    problems: Table | None
    details: tuple[tuple[str, str], ...]
    quiet: tuple[Table, ...]  # what disturbed the trials of each model, then what the figures are
    differences: Table | None
    facts: tuple[Table, ...]
    distributions: tuple[str, ...]  # name and version of each
    notes: tuple[str, ...]


def make_page(summary: Summary) -> Page:
    """Everything that the report of a run shows; draws the plots."""
    slugs = unique_slugs([model.name for model in summary.models])
    return Page(
        title=summary.study,
        description=summary.description,
        about=tuple(_about(summary)),
        warnings=summary.warnings,
        models=tuple(
            _model_page(model, slug, summary.facts)
            for model, slug in zip(summary.models, slugs, strict=True)
        ),
        problems=evidence.problem_table(summary),
        details=evidence.problem_details(summary),
        quiet=quiet_tables(summary.models),
        differences=fact_tables.difference_table(summary),
        facts=tuple(filter(None, (limits_table(summary), *fact_tables.fact_tables(summary.facts)))),
        distributions=fact_tables.distribution_list(summary.facts),
        notes=summary.notes,
    )


def unique_slugs(names: Sequence[str]) -> tuple[str, ...]:
    """Names in lower-case ASCII letters, digits and dashes; those that would clash are numbered."""
    slugs: list[str] = []
    for name in names:
        ascii_only = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
        base = "-".join(part for part in ascii_only.split("-") if part) or "model"
        slug, n = base, 1
        while slug in slugs:
            n += 1
            slug = f"{base}-{n}"
        slugs.append(slug)
    return tuple(slugs)


def _model_page(model: ModelSummary, slug: str, facts: Sequence[Fact]) -> ModelPage:
    differing = [question for question in model.questions if question.differs]
    agreeing = [question for question in model.questions if not question.differs]
    return ModelPage(
        name=model.name,
        slug=slug,
        weights=model.weights,
        sentence=choice_sentence(model),
        choices=choice_table(model),
        results=result_table(model),
        about_quality=about_quality(model),
        quality=quality_tables(model),
        roofline=roofline_table(model, facts),
        categories=category_table(model),
        plots=draw_plots(model),
        differing=evidence.answer_tables(model, differing) if differing else (),
        agreeing=evidence.answer_tables(model, agreeing) if agreeing else (),
        about_answers=_about_answers(len(differing), model),
        agreeing_title=_agreeing_title(len(agreeing), model),
        placement=evidence.placement_table(model),
        loading=evidence.loading_table(model),
        planned=evidence.planned_table(model),
        latency=(*latency_tables(model), *filter(None, [answer_table(model)])),
    )


def _is_compared(model: ModelSummary) -> bool:
    return any(given.compared for question in model.questions for given in question.answers)


def _agreeing_title(n: int, model: ModelSummary) -> str:
    questions = count(n, "question")
    if not _is_compared(model):
        return f"{questions}, answered but not compared with a reference"
    held = _held(model)
    if held is not None:
        return (
            f"{questions} to which no answer that was held against the exact reference ({held}) "
            "differs from its own"
        )
    reference = "the exact reference" if model.by_exact else "the reference"
    return f"{questions} that no strategy answers otherwise than {reference}"


def _held(model: ModelSummary) -> str | None:
    """Which answers were held against the exact reference, where others were not.

    By their samplings and prompts where these tell them apart, else by their strategies.
    """
    if not model.by_exact:
        return None
    given = [one for question in model.questions for one in question.answers]
    held = {one.label for one in given if one.compared}
    others = {one.label for one in given if not one.compared} - held
    if not others:
        return None
    variants = list(dict.fromkeys(row.variant for row in model.rows if row.label in held))
    apart = {row.variant for row in model.rows if row.label in others}.isdisjoint(variants)
    labels = [row.label for row in model.rows if row.label in held]
    return listing([f"“{name}”" for name in (variants if apart else labels)])


def _about_answers(differing: int, model: ModelSummary) -> str | None:
    of = len(model.questions)
    if of == 0:
        return None
    if not _is_compared(model):
        references = {row.label for row in model.rows if row.is_reference}
        labels = {given.label for question in model.questions for given in question.answers}
        if labels <= references:
            return "Only the reference strategy has answered: there is nothing to compare."
        return "The reference strategy has no answers, so none are compared with it."
    verb = "is" if differing == 1 else "are"
    if model.by_exact:
        held = _held(model)
        if differing == 0 and held is not None:
            return (
                f"Each answer that was held against the exact reference ({held}) is what it would "
                "have given, token for token. The others were not held against it."
            )
        if differing == 0:
            return "Each answer is what the exact reference would have given, token for token."
        only = f" Only the answers of {held} were held against it." if held is not None else ""
        return (
            f"{differing} of {count(of, 'question')} {verb} answered by at least one strategy "
            "otherwise than the exact reference would. In such an answer everything from the first "
            "differing token on is marked. Below it stand that token, counted from 1, and the one "
            "that the reference would have drawn in its place (“not …”), each with its probability "
            f"under the strategy and under the reference, before penalties and truncation.{only}"
        )
    if differing == 0:
        return "No strategy answers any question otherwise than the reference does."
    return (
        f"{differing} of {count(of, 'question')} {verb} answered otherwise than by the reference, "
        "by at least one strategy. In such an answer everything from the first differing "
        "character on is marked; the first differing token is named below it, counted from 1."
    )


def _about(summary: Summary) -> Iterable[tuple[str, str]]:
    yield "Run", summary.run
    if summary.started_at is not None:
        first, last = clock_time(summary.started_at), clock_time(summary.last_started_at)
        yield "Measured", first if first == last else f"from {first} to {last}"
    yield "Trials", f"{summary.trials_recorded:,} of {summary.trials_planned:,}"
    if summary.models:
        models = [
            model.name if model.weights == model.name else f"{model.name} ({model.weights})"
            for model in summary.models
        ]
        yield "Models", listing(models)
        threads = sorted({row.threads for model in summary.models for row in model.rows})
        yield "CPU threads", listing([str(n) for n in threads])
        engines = sorted({row.engine for model in summary.models for row in model.rows})
        yield ("Engine" if len(engines) == 1 else "Engines"), listing(engines)
    yield from order_lines(summary.order)
    yield from _machine(summary.facts)


def _machine(facts: Sequence[Fact]) -> Iterable[tuple[str, str]]:
    cpu = find(facts, ["cpu_model"])
    if cpu is not None:
        allowed = find(facts, ["cpu_allowed", "cpu_threads"])
        usable = f", {allowed} hardware threads usable" if allowed else ""
        yield "Processor", cpu + usable
    memory = find(facts, ["ram_bytes"])
    if memory is not None and memory.isdigit():
        limit = find(facts, ["cgroup_memory_bytes"])
        limited = f", limited to {size(int(limit))}" if limit and limit.isdigit() else ""
        yield "Memory", size(int(memory)) + limited
    gpus = [fact.value for fact in facts if fact.value and _GPU_NAME.fullmatch(fact.name)]
    if gpus:
        yield ("GPU" if len(gpus) == 1 else "GPUs"), listing(gpus)
    software = [("Python", ["python"]), ("PyTorch", ["torch"]), ("harness", ["harness"])]
    known = [(name, find(facts, keys)) for name, keys in software]
    parts = [
        value if name.lower() in value.lower() else f"{name} {value}"
        for name, value in known
        if value is not None
    ]
    system = find(facts, ["os"])
    if parts or system:
        yield "Software", ", ".join([*parts, *([system] if system else [])])
