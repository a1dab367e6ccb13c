"""The live line of a run: how often it is drawn, and that what it says is never long behind."""

import io
from contextlib import suppress
from dataclasses import replace

import pytest
from rich.console import Console

from harness.cli.console import say
from harness.cli.display import RunDisplay
from harness.machine import MemoryReading
from harness.measure.job import Imported, Passed, Referred
from harness.measure.trial import Trial
from harness.plan.cell import Cell
from harness.records.order import Cooling
from harness.records.record import Answer, CellRef, Key, Outcome, Record

CELL = Cell(model="m", engine="torch", strategy="cpu fp32", workload="speed", threads=1)
PASS = Passed(prefill=[], decode_s=[])
IMPORTED = Imported(versions={}, peak_rss=MemoryReading(missing="not asked"))


def ended(kind, *, reason=None, **given):
    """What the first trial left behind."""
    cell = CellRef(id=CELL.id, **{n: getattr(CELL, n) for n in CELL.__slots__ if n != "variant"})
    return Record(
        key=Key(computation="c"),
        cell=cell,
        trial=0,
        attempt=0,
        facts={},
        outcome=Outcome(kind=kind, reason=reason),
        started_at="2026-05-01T10:00:00Z",
        **given,
    )


class Counting(Console):
    """A console that counts what is written to it, and at what time."""

    def __init__(self, *, terminal):
        super().__init__(file=io.StringIO(), width=80, force_terminal=terminal)
        self.now = 100.0


@pytest.fixture
def shown():
    """A display with a clock that stands still, and the texts of its lines as they are drawn."""

    def make(*, terminal=True):
        out = Counting(terminal=terminal)
        display = RunDisplay(out, 3, clock=lambda: out.now)
        lines = []
        draw = display._line
        display._line = lambda doing: lines.append(doing) or draw(doing)
        return display, out, lines

    return make


def test_a_worker_that_reports_a_hundred_times_a_second_is_not_drawn_as_often(shown):
    display, out, lines = shown()
    with display.shown():
        display.begin(Trial(cell=CELL, trial=0, attempt=0))
        for _ in range(200):
            out.now += 0.01
            display.message(PASS)
    assert 1 + 6 <= len(lines) <= 1 + 8  # two seconds


def test_a_trial_that_begins_is_drawn_at_once_and_a_wait_of_a_second_too(shown):
    display, out, lines = shown()
    with display.shown():
        display.begin(Trial(cell=CELL, trial=0, attempt=0))
        display.message(IMPORTED)  # at the same moment: the next drawing has it
        display.begin(Trial(cell=CELL, trial=1, attempt=0))
        display.message(IMPORTED)
        out.now += 1.0
        display.tick()
    assert lines == ["starting 0 s", "starting 0 s", "loading 1 s"]


def test_without_a_terminal_a_sign_of_life_comes_after_half_a_minute(shown):
    display, out, lines = shown(terminal=False)
    with display.shown():
        display.begin(Trial(cell=CELL, trial=0, attempt=0))
        for _ in range(45):
            out.now += 1.0
            display.tick()
    assert lines == []
    said = out.file.getvalue().splitlines()
    name = "m | cpu fp32 | 1 thread | speed #1"
    assert said == [f"[1/3] {name} …", f"  {name}: starting, 31 s"]


@pytest.mark.parametrize(
    ("ends_in", "left"),
    [(None, "2 min 20 s"), (300.0, "2 min 20 s"), (73.0, "3.0 s"), (9.0, "0 s")],
)
def test_the_time_left_is_no_more_than_the_budget(ends_in, left):
    out = Counting(terminal=False)
    ends_at = None if ends_in is None else out.now + ends_in
    display = RunDisplay(out, 3, at_most=True, clock=lambda: out.now, ends_at=ends_at)
    display.begin(Trial(cell=CELL, trial=0, attempt=0))
    out.now += 70
    display.end(Trial(cell=CELL, trial=0, attempt=0), ended("ok"))
    display.begin(Trial(cell=CELL, trial=1, attempt=0))
    assert out.file.getvalue().splitlines()[-1].endswith(f" …, at most {left} left")


def test_the_time_left_falls_while_a_trial_goes_on_and_is_not_said_beyond_it(shown):
    display, out, lines = shown()
    with display.shown():
        for number in (0, 1, 2):
            trial = Trial(cell=CELL, trial=number, attempt=0)
            display.begin(trial)
            if number:
                for later in (0.0, 8.0, 7.0):
                    out.now += later
                    lines.append(display._left(""))
            display.end(trial, ended("ok", took_s=15.0))
    left = [line for line in lines if line == "" or line.endswith(" left")]
    assert left == ["30 s left", "22 s left", "15 s left", "15 s left", "7.0 s left", ""]


def test_what_is_done_once_does_not_count_as_time_of_a_trial():
    """Such as finding out what the machine can do: the later trials will not do it again."""
    out = Counting(terminal=False)
    display = RunDisplay(out, 3, clock=lambda: out.now)
    display.begin(Trial(cell=CELL, trial=0, attempt=0))
    out.now += 70
    display.end(
        Trial(cell=CELL, trial=0, attempt=0),
        ended("ok", took_s=10.0, cooling=Cooling(waited_s=5.0)),
    )
    display.begin(Trial(cell=CELL, trial=1, attempt=0))
    *_, ended_line, begun = out.file.getvalue().splitlines()
    assert ended_line.endswith("(15 s)")
    assert begun.endswith(" …, 30 s left")


SPEEDS = {"decode_tok_per_s": 36.14, "prefill_tok_per_s": 320.0}
RIGHT = Answer(id="sum", text="85", token_ids=[1], right=True)


@pytest.mark.parametrize(
    "kind, given, said",
    [
        ("ok", SPEEDS, "decode 36.1 tok/s, prefill 320 tok/s"),
        ("noisy", SPEEDS, "noisy: why; decode 36.1 tok/s, prefill 320 tok/s"),
        ("noisy", {"answers": [RIGHT]}, "noisy: why; 1 answer, 1 of 1 right"),
        ("noisy", {}, "noisy: why"),
        ("timeout", SPEEDS, "timeout: why"),  # of some passes only
    ],
)
def test_a_noisy_trial_shows_its_cause_and_its_figures(kind, given, said, shown):
    display, out, _ = shown(terminal=False)
    trial = Trial(cell=CELL, trial=0, attempt=0)
    record = ended(kind, reason=None if kind == "ok" else "why", **given)
    display.begin(trial)
    display.end(trial, record)
    assert (
        out.file.getvalue().splitlines()[-1]
        == f"  m | cpu fp32 | 1 thread | speed #1: {said} (0 s)"
    )


def begun(shown, trial):
    """What is said of a trial as it begins."""
    display, out, _ = shown(terminal=False)
    display.begin(trial)
    return out.file.getvalue().splitlines()[-1]


def test_cells_that_differ_in_sampling_and_prompt_alone_are_told_apart(shown):
    cell = replace(CELL, workload="answers", threads=4, sampling="greedy", prompt="bob")
    trial = Trial(cell=replace(cell, variant="greedy/bob"), trial=0, attempt=0)
    assert begun(shown, trial) == "[1/3] m | cpu fp32 | 4 threads | answers greedy/bob …"


@pytest.mark.parametrize(
    ("workload", "called"),
    [("speed", "speed #2"), ("answers", "answers #2"), ("depth", "depth #2")],
)
def test_a_trial_that_is_made_again_says_so(workload, called, shown):
    cell = replace(CELL, workload=workload)
    first, second = (begun(shown, Trial(cell=cell, trial=1, attempt=n)) for n in (0, 1))
    assert first == f"[1/3] m | cpu fp32 | 1 thread | {called} …"
    assert second == f"[1/3] m | cpu fp32 | 1 thread | {called}, again …"


NO_GPU = "no device cuda here, only cpu"


def skipping(display, cells, *, reason=NO_GPU, attempt=0):
    """Let cells be skipped, as the schedule does before all else."""
    for cell in cells:
        trial = Trial(cell=cell, trial=0, attempt=attempt, skip_reason=reason)
        display.begin(trial)
        display.end(trial, ended("skipped", reason=reason))


def said_of_skipped(shown, cells, **given):
    display, out, _ = shown(terminal=False)
    with display.shown():
        skipping(display, cells, **given)
    return out.file.getvalue().splitlines()


def test_what_is_skipped_again_is_not_made_again(shown):
    said = said_of_skipped(shown, [CELL], reason="no device cuda here", attempt=1)
    assert said == ["  m | cpu fp32 | 1 thread | speed: skipped: no device cuda here"]


def cells(*strategies, models=("m",), workloads=("speed", "answers")):
    return [
        replace(CELL, model=model, strategy=strategy, workload=workload)
        for model in models
        for strategy in strategies
        for workload in workloads
    ]


def test_cells_that_are_skipped_for_one_reason_are_one_line(shown):
    skipped = cells("cuda fp16", "cuda fp16i8")
    assert said_of_skipped(shown, skipped) == [
        "  4 cells skipped: no device cuda here, only cpu (cuda fp16, cuda fp16i8 of m)"
    ]


def test_what_does_not_fit_into_80_columns_is_left_out_at_a_word(shown):
    # Nothing is said of models where not one has its place.
    skipped = cells("cuda fp16", "cuda fp16i8", models=("quickstart", "random-169m"))
    (said,) = said_of_skipped(shown, skipped)
    assert said == "  8 cells skipped: no device cuda here, only cpu (cuda fp16, cuda fp16i8 …)"
    assert len(said) <= 80


def test_a_long_reason_stays_whole_and_leaves_room_for_names(shown):
    reason = "cpu needs 27.6 GiB for weights and 1.2 GiB beside them, and 20.1 GiB are free here"
    (said,) = said_of_skipped(shown, cells("cuda fp16", "cuda fp16i8"), reason=reason)
    assert said == f"  4 cells skipped: {reason} (cuda fp16, cuda fp16i8 …)"


def test_each_reason_has_its_line_and_each_model_its_strategies(shown):
    display, out, _ = shown(terminal=False)
    unequal = [*cells("a", models=("m", "n")), *cells("b", models=("n",)), *cells("c")]
    official = [replace(cell, engine="rwkv") for cell in cells("cpu fp32")]
    with display.shown():
        skipping(display, unequal, reason="why")
        skipping(display, official, reason="not installed")
    assert out.file.getvalue().splitlines() == [
        "  8 cells skipped: why (a of m, n; b of n; c of m)",
        "  2 cells skipped: not installed (rwkv cpu fp32 of m)",
    ]


def test_what_is_skipped_is_said_before_the_first_trial_and_once(shown):
    display, out, _ = shown(terminal=False)
    with display.shown():
        skipping(display, cells("cuda fp16"))
        display.begin(Trial(cell=CELL, trial=0, attempt=0))
        display.begin(Trial(cell=CELL, trial=1, attempt=0))
    assert [line.split(" (")[0] for line in out.file.getvalue().splitlines()] == [
        f"  2 cells skipped: {NO_GPU}",
        "[1/3] m | cpu fp32 | 1 thread | speed #1 …",
        "[1/3] m | cpu fp32 | 1 thread | speed #2 …",
    ]


def test_what_is_skipped_is_said_also_where_the_run_is_stopped(shown):
    display, out, _ = shown(terminal=False)
    with suppress(KeyboardInterrupt), display.shown():
        skipping(display, cells("cuda fp16"))
        raise KeyboardInterrupt
    assert out.file.getvalue().startswith("  2 cells skipped")


@pytest.mark.parametrize(("width", "terminal"), [(40, True), (40, False)])
def test_a_terminal_gets_whole_words_and_a_log_whole_lines(width, terminal):
    out = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    display = RunDisplay(out, 3, clock=lambda: 0.0)
    said = "It lies in some/long/path/that-is/longer/than-the/terminal, here it is (11 s, 5 %)."
    display.aside(said)
    assert out.file.getvalue().splitlines() == (
        [
            "It lies in",
            "    some/long/path/that-is/longer/than-the/terminal,",
            "    here it is (11 s, 5 %).",
        ]
        if terminal
        else [said]
    )


def test_a_number_keeps_its_unit_where_a_line_is_broken():
    out = Console(file=io.StringIO(), width=20, force_terminal=True, color_system=None)
    say(out, "  it took so long: 11 s of 12 s and 63 % of it")
    assert out.file.getvalue().splitlines() == [
        "  it took so long:",
        "11 s of 12 s and",
        "63 % of it",
    ]


def drawn(out, display):
    """The live line as a terminal of its width shows it."""
    text = Console(file=io.StringIO(), width=out.width, color_system=None)
    text.print(display._line(f"{display._phase} 12 s"))
    (line,) = text.file.getvalue().splitlines()
    return line.rstrip()


@pytest.mark.parametrize(
    ("width", "begins", "bar"),
    [(72, "random-169m", 0), (80, "random-169m | cpu", 0), (120, "random-169m | cpu", 13)],
)
def test_what_is_done_and_the_time_left_are_never_cut(width, begins, bar):
    out = Console(file=io.StringIO(), width=width, force_terminal=True)
    display = RunDisplay(out, 39, at_most=True, clock=lambda: 0.0, ends_at=150.0)
    cell = replace(CELL, model="random-169m", strategy="cpu fp32i8 *3 -> cpu fp32")
    trials = [Trial(cell=cell, trial=n, attempt=0) for n in (0, 1)]
    display.begin(trials[0])
    display.end(trials[0], ended("ok", took_s=20.0))
    display.begin(trials[1])
    display.message(Referred(done=38, total=100))
    line = drawn(out, display)
    assert line.startswith(f"[2/≤39] {begins}"[: width - 57])
    assert line.endswith("… computing the reference 38 % 12 s, ≤ 2 min 30 s left")
    assert len(line) == width - bar  # which, without colours, is blank where nothing is done


def test_a_long_trial_says_how_long_it_took_in_minutes(shown):
    display, out, _ = shown(terminal=False)
    trial = Trial(cell=CELL, trial=0, attempt=0)
    display.begin(trial)
    display.end(trial, ended("timeout", reason="why", took_s=4321.0))
    assert out.file.getvalue().splitlines()[-1].endswith("timeout: why (1 h 10 min)")


@pytest.mark.parametrize(
    ("workload", "why"), [("quality", ""), ("speed", " for the gate"), ("answers", " for the gate")]
)
def test_a_reference_outside_of_quality_is_for_the_gate(workload, why, shown):
    """Also of a model that the study leaves out of quality."""
    display, out, _ = shown(terminal=False)
    display.begin(Trial(cell=replace(CELL, workload=workload), trial=0, attempt=0))
    display.message(Referred(done=0, total=0))
    said = out.file.getvalue().splitlines()[-1]
    assert said.endswith(f": computing the exact reference{why}, once …")
