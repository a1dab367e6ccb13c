"""How long a run will take: every cell, what is done once, and what the references take."""

from dataclasses import replace

import pytest
from msgspec import structs

from harness.machine.speed_probe import MachineSpeed
from harness.plan.duration import Texts, answer_tokens, trial_seconds
from harness.plan.foresee_time import foresee_time
from harness.plan.known import ConvertedFile, Known
from harness.plan.left import Left
from harness.plan.look import look
from harness.plan.order import order
from harness.plan.pace import Pace, modelled_pace
from harness.plan.plan import plan
from harness.plan.time_document import time_document
from harness.records.past import PastAnswer, PastCell, PastCooling, PastOutcome, PastRecord
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import resolve

PROBED = MachineSpeed(python_s=1.41e-3, copy_bytes_per_s=34e9)
PACE = Pace(
    start_s=100.0,
    load_s=10.0,
    call_s=1.0,
    prefill_s=0.01,
    decode_s=0.1,
    draw_s=0.02,
    collect_s=0.7,
    head_s=0.001,
    score_s=0.05,
    answer_tokens=6.0,
)
TWO = Texts(questions=2)
TEXT = """\
name: timed
models:
  tiny: {weights: tiny.safetensors, tokenizer: tokenizer.json}
  made-up: {weights: 'random:169m'}
strategies: [cpu fp32, cpu bf16]
workloads:
  speed: {prompt_tokens: [100, 300], generate_tokens: 10, passes: 3, warmup_passes: 2, trials: 3}
  depth: {at: [0, 600], generate_tokens: 9, passes: 4, trials: 2}
  answers: {questions: questions.txt, max_tokens: 50}
  quality: {max_tokens: 200}
exclude:
  - {model: made-up, workload: answers}
  - {model: made-up, workload: quality}
"""


@pytest.fixture
def foresee(load, machine_with):
    """The time of a study as changed, from what is `known` beside the machine's speed.

    Without trials of which `is_done(cell, trial)` says that a run made them.
    """

    def found(*replacements, only=None, is_done=None, **known):
        loaded = load(*replacements, text=TEXT)
        seen = look(loaded)
        planned = plan(loaded, machine_with(), seen, only=only)
        turns = order(planned.cells, planned.seed)
        left = is_done and Left(
            turns=tuple(turn for turn in turns if not is_done(*turn)),
            tried=frozenset(cell.id for cell, trial in turns if is_done(cell, trial)),
        )
        return foresee_time(planned, loaded, seen, Known(**{"speed": PROBED, **known}), left)

    return found


def cell(found, workload, strategy="cpu fp32", model="tiny"):
    [one] = [
        one
        for one in found.cells
        if (one.cell.model, one.cell.strategy, one.cell.workload) == (model, strategy, workload)
    ]
    return one


def not_there(name="f"):
    return ConvertedFile(name=name, is_there=False)


def seconds(found, what, *, at_end=None):
    return [one.s for one in found.once if one.what == what and at_end in (None, one.at_end)]


def record(workload="speed", *, strategy="cpu fp32", kind="ok", asked=None, **fields):
    cell = PastCell(model="tiny", engine="torch", strategy=strategy, workload=workload, threads=1)
    return PastRecord(
        cell=cell, outcome=PastOutcome(kind=kind), asked=asked or {}, **{"took_s": 7.0, **fields}
    )


def asked_of(load):
    import msgspec

    return msgspec.json.decode(msgspec.json.encode(load(text=TEXT).study.workloads))


@pytest.mark.parametrize(
    ("workload", "work"),
    [
        # 5 passes over 1 + 2 chunks and 10 steps, each behind a collection of rubbish; then the
        # longest prompt and 4 steps.
        ("speed", 5 * (0.7 + 3 + 4 + 1) + (2 + 3 + 0.4)),
        # 600 tokens in 3 chunks, then 1 + 4 × 2 visits of 1 + 9 steps.
        ("depth", 3 + 6 + 9 * (0.7 + 10 * 0.1)),
        # 2 questions: a prompt of 24, and 6 tokens drawn.
        ("answers", 2 * (1 + 0.24 + 6 * 0.12)),
        # 200 tokens in chunks of 64, each scored; 2 answers with their prompts, 6 tokens scored.
        ("quality", 4 + 2 + 200 * 0.051 + 2 * (1 + 0.3 + 0.03 + 6 * 0.05)),
    ],
)
def test_a_trial_is_the_sum_of_its_parts(workload, work, load, foresee):
    study = load(text=TEXT).study
    one = cell(foresee(), workload).cell
    assert trial_seconds(one, study, PACE, TWO) == pytest.approx(110 + work)


def test_lambada_is_as_long_as_it_is_published_or_asked_for(load, foresee):
    def more(asked, there=None):
        study = load(
            ("max_tokens: 200", f"max_tokens: 200, lambada: l.jsonl{asked}"), text=TEXT
        ).study
        return trial_seconds(one, study, PACE, Texts(questions=2, documents=there)) - without

    one = cell(foresee(), "quality").cell
    without = trial_seconds(one, load(text=TEXT).study, PACE, TWO)
    # 90 tokens in 2 chunks, the last of which is looked at.
    assert more(", lambada_documents: 10") == pytest.approx(10 * (2 + 0.9 + 0.09 + 0.05))
    assert more("") == pytest.approx(5153 * 3.04)
    # And no longer than the file that is there; one that cannot be read takes no time.
    assert more("", 7) == more(", lambada_documents: 10", 7) == pytest.approx(7 * 3.04)
    assert more(", lambada_documents: 3", 7) == pytest.approx(3 * 3.04)
    assert more("", 0) == more(", lambada_documents: 3", 0) == 0


def test_a_batch_reads_the_weights_once_and_multiplies_for_each_row(load, foresee):
    study = load(text=TEXT).study
    one = cell(foresee(("speed: {", "speed: {batch: 4, ")), "speed").cell
    # 400 tokens of 4 rows; each of 3 rows more takes a step as long as a token of a prompt.
    passes = 5 * (0.7 + 3 + 16 + 10 * 0.13)
    assert trial_seconds(one, study, PACE, TWO) == pytest.approx(110 + passes + 2 + 12 + 4 * 0.13)


def test_answers_of_unknown_length_are_a_share_of_the_longest(load):
    study = load(text=TEXT).study
    assert answer_tokens(study, None) == answer_tokens(study, PACE.__class__(**_unknown())) == 15
    assert answer_tokens(study, PACE) == 6


def _unknown():
    names = ("start_s", "load_s", "call_s", "prefill_s", "decode_s")
    return dict.fromkeys(names, 1.0)


def test_the_total_is_all_trials_and_what_is_done_once(foresee):
    found = foresee()
    trials = {("tiny", "speed"): 3, ("tiny", "depth"): 2, ("tiny", "answers"): 2}
    assert cell(found, "quality").trials == 1
    for (model, workload), n in trials.items():
        one = cell(found, workload, model=model)
        assert (one.trials, one.total_s) == (n, n * one.trial_s)
    assert found.total_s == pytest.approx(
        sum(one.trials * one.trial_s for one in found.cells) + sum(one.s for one in found.once)
    )
    assert found.total_at_least_s == found.total_s
    assert (found.n_from("model"), found.n_from("records"), found.n_unknown) == (12, 0, 0)


def test_with_until_there_is_a_least(foresee):
    until = ("trials: 3}", "until: {relative_ci: 0.05, min_trials: 2, max_trials: 9}}")
    found = foresee(until)
    one = cell(found, "speed")
    assert (one.trials, one.trials_at_least) == (9, 2)
    assert cell(found, "depth").trials_at_least == 2
    speeds = sum(each.trial_s for each in found.cells if each.cell.workload == "speed")
    assert found.total_s - found.total_at_least_s == pytest.approx(7 * speeds)


def test_a_record_of_the_same_trial_is_the_best_that_can_be_known(foresee, load):
    asked = asked_of(load)
    past = [
        record(workload, took_s=t, asked=asked)
        for workload in ("speed", "depth", "quality")
        for t in (6.0, 7.0, 20.0)
    ]
    found = foresee(past=past)
    for workload in ("speed", "depth", "quality"):
        one = cell(found, workload)
        assert (one.trial_s, one.source) == (7.0, "records")
        assert cell(found, workload, "cpu bf16").source == "model"
    assert found.n_from("records") == 3


def test_what_noise_prolonged_counts_only_where_there_is_nothing_better(foresee, load):
    noisy = [record(took_s=30.0, kind="noisy", asked=asked_of(load))]
    assert cell(foresee(past=noisy), "speed").trial_s == 30.0
    both = [*noisy, record(took_s=8.0, asked=asked_of(load))]
    assert cell(foresee(past=both), "speed").trial_s == 8.0


@pytest.mark.parametrize(
    "change",
    [
        ("generate_tokens: 10", "generate_tokens: 11"),
        ("passes: 3", "passes: 4"),
        ("[100, 300]", "[100, 301]"),
    ],
)
def test_a_trial_that_did_other_work_is_another(change, foresee, load):
    past = [record(asked=asked_of(load), load_s=1.0, decode_s=[[0.5] * 10] * 3, took_s=500.0)]
    one = cell(foresee(change, past=past), "speed")
    assert one.trial_s != 500.0
    assert one.source == "records"  # its tokens took so long
    assert one.trial_s > 20


def test_more_trials_are_the_same_trial(foresee, load):
    past = [record(asked=asked_of(load))]
    assert cell(foresee(("trials: 3", "trials: 8"), past=past), "speed").trial_s == 7.0


def test_answers_to_other_questions_are_other_work(foresee, load):
    asked = asked_of(load)
    answer = PastAnswer(token_ids=[1] * 5, prefill_s=0.1, decode_s=[0.01] * 5)
    same = record("answers", asked=asked, answers=[answer], load_s=1.0)
    assert cell(foresee(past=[same]), "answers").trial_s == 7.0
    more = record("answers", asked=asked, answers=[answer] * 2, load_s=1.0)
    found = cell(foresee(past=[more]), "answers")
    assert found.trial_s == pytest.approx(7.0, rel=0.1)  # one answer less
    assert (found.trial_s != 7.0, found.source) == (True, "records")


def test_scores_of_answers_that_were_drawn_otherwise_are_other_work(foresee, load):
    past = [record("quality", asked=asked_of(load))]
    assert cell(foresee(past=past), "quality").trial_s == 7.0
    found = foresee(("max_tokens: 50}", "max_tokens: 51}"), past=past)
    assert cell(found, "quality").source == "model"


def test_records_of_other_weights_say_nothing(foresee, load):
    def source(now, then):
        facts = {"weights_sha256": then}
        past = [record(asked=asked_of(load), facts=facts)]
        return cell(foresee(past=past, weights={"tiny": now}), "speed").source

    assert source("a", "b") == "model"
    assert source("a", "a") == "records"
    assert source(None, "b") == source("a", {"unavailable": "why"}) == "records"


def test_limits_are_measured_before_the_first_speed_and_at_the_end(foresee):
    found = foresee(("strategies:", "threads: [1, 2]\nstrategies:"))
    before = [one for one in found.once if one.what == "limits of the machine" and not one.at_end]
    assert len(before) == len(seconds(found, "limits of the machine", at_end=True)) == 2
    assert {one for each in before for one in each.before} == {
        one.cell.id for one in found.cells if one.cell.workload == "speed"
    }
    assert not before[0].before & before[1].before
    assert seconds(foresee(only="answers"), "limits of the machine") == []
    without = foresee(("strategies:", "roofline: false\nstrategies:"))
    assert seconds(without, "limits of the machine") == []


def test_weights_are_converted_once_where_they_are_not_there(foresee):
    int8 = ("[cpu fp32, cpu bf16]", "[cpu fp32, cpu fp32i8]")
    reads = ("made-up", "cpu fp32i8")
    found = foresee(int8, converted={reads: not_there()})
    [one] = [one for one in found.once if one.what == "converting weights"]
    assert one.before == {
        each.cell.id for each in found.cells if (each.cell.model, each.cell.strategy) == reads
    }
    assert len(one.before) == 2
    assert 2.0 + 1 < one.s < 2.0 + 5
    assert (
        seconds(
            foresee(int8, converted={reads: ConvertedFile(name="f", is_there=True)}),
            "converting weights",
        )
        == []
    )
    # What is read is then smaller.
    plain = cell(foresee(int8), "speed", "cpu fp32i8", "made-up")
    assert cell(found, "speed", "cpu fp32i8", "made-up").trial_s < plain.trial_s - 1


def test_references_are_sized_and_made_once(foresee):
    found = foresee()
    tiny, made_up = found.references
    # The gate, a text of 200 tokens, and of 2 strategies an answer of 15 and its end.
    assert (tiny.model, tiny.rows, tiny.n_vocab) == ("tiny", 32 + 200 + 2 * 16, 64)
    assert tiny.nbytes == 264 * 64 * 4
    assert (made_up.rows, made_up.nbytes) == (32, 32 * 50277 * 4)
    made = [one for one in found.once if one.what == "references"]
    cells = {"tiny": set(), "made-up": set(), "quality": set()}
    for each in found.cells:
        cells[each.cell.model].add(each.cell.id)
        if each.cell.workload == "quality":
            cells["quality"].add(each.cell.id)
    assert [one.before for one in made] == [cells["tiny"], cells["quality"], cells["made-up"]]
    assert not any(one.is_kept for one in found.references)


@pytest.mark.parametrize(
    ("rows", "made", "kept"),
    [(0, 2, False), (32, 2, False), (231, 2, False), (232, 1, False), (264, 0, True)],
)
def test_references_that_are_kept_are_not_made(rows, made, kept, foresee):
    found = foresee(reference_rows={"tiny": rows, "made-up": 32})
    assert len(seconds(found, "references")) == made
    assert [one.is_kept for one in found.references] == [kept, True]


def test_without_a_gate_only_what_is_scored_needs_a_reference(foresee):
    found = foresee(("strategies:", "gate: false\nstrategies:"))
    assert [one.model for one in found.references] == ["tiny"]
    assert foresee(("strategies:", "gate: false\nstrategies:"), only="speed").references == ()
    without = foresee(("max_tokens: 200}", "max_tokens: 200, answers: false}"))
    assert without.references[0].rows == 32 + 200


def test_a_machine_that_is_half_as_fast_takes_twice_as_long(foresee):
    slow = MachineSpeed(python_s=4 * 1.41e-3, copy_bytes_per_s=17e9)  # the root of the first counts
    assert foresee(speed=slow).total_s == pytest.approx(2 * foresee().total_s)


@pytest.mark.parametrize(
    ("took_s", "times"), [(3.0, 1.0), (1.0 + 2 * 2.0, 2.0), (1.0 + 1.0, 1.0), (900.0, 4.0)]
)
def test_what_is_done_once_is_as_slow_as_records_say_that_processes_start(took_s, times, foresee):
    converted = {("made-up", "cpu bf16"): not_there()}
    past = [record("answers", took_s=took_s, load_s=1.0, answers=[_instant()] * 3)]
    found, usual = foresee(past=past, converted=converted), foresee(converted=converted)
    assert [one.what for one in found.once] == [one.what for one in usual.once]
    for what in ("starting", "limits of the machine", "converting weights", "report"):
        assert seconds(found, what) == pytest.approx([times * s for s in seconds(usual, what)])


def test_the_first_tokens_of_each_strategy_are_looked_at_once(foresee):
    gates = [one for one in foresee().once if one.what == "gates"]
    assert len(gates) == 4  # two models, two strategies
    by_strategy = {frozenset(one.before) for one in gates}
    cells = foresee().cells
    assert by_strategy == {
        frozenset(c.cell.id for c in cells if (c.cell.model, c.cell.strategy) == (model, strategy))
        for model in ("tiny", "made-up")
        for strategy in ("cpu fp32", "cpu bf16")
    }
    assert all(one.is_kept for one in gates)
    slots = resolve("cpu fp32", RANDOM_SHAPES["169m"].n_layer)
    pace = modelled_pace(RANDOM_SHAPES["169m"], slots, PROBED, threads=1, loaded="random")
    [one] = [one for one in gates if any("made-up/torch/cpu fp32/" in id_ for id_ in one.before)]
    tokens = pace.call_s + 32 * (pace.prefill_s + pace.head_s + pace.score_s)
    assert one.s == pytest.approx(tokens)
    assert seconds(foresee(("strategies:", "gate: false\nstrategies:")), "gates") == []


def test_the_idle_machine_is_watched_by_each_command_before_its_first_speed(foresee):
    [one] = [one for one in foresee(idle_s=3.0).once if one.what == "idle machine"]
    assert (one.s, one.is_kept, one.at_end) == (3.0, False, False)
    speeds = {each.cell.id for each in foresee().cells if each.cell.workload == "speed"}
    assert one.before == speeds
    assert seconds(foresee(), "idle machine") == []
    assert seconds(foresee(idle_s=3.0, only="answers"), "idle machine") == []


def test_where_limits_are_not_told_they_take_no_time(foresee):
    assert seconds(foresee(tells_limits=False), "limits of the machine") == []


def test_weights_that_nobody_hashed_are_read(foresee):
    assert seconds(foresee(unhashed_bytes=int(2.8e10)), "hashing weights") == [pytest.approx(35)]
    assert seconds(foresee(), "hashing weights") == []


def test_strategies_that_read_one_file_convert_it_once(foresee):
    int8 = ("[cpu fp32, cpu bf16]", "[cpu fp32i8, cpu fp32i8 *2 -> cpu bf16, cpu bf16]")

    def converting():
        reads = dict(
            zip(("cpu fp32i8", "cpu fp32i8 *2 -> cpu bf16", "cpu bf16"), "aab", strict=True)
        )
        converted = {("made-up", one): not_there(name) for one, name in reads.items()}
        converted |= {("tiny", one): not_there(name) for one, name in reads.items()}
        found = foresee(int8, converted=converted)
        return [one for one in found.once if one.what == "converting weights"]

    once = converting()
    assert len(once) == 4  # of two models, which never share a file
    [shared] = [one for one in once if any("made-up/torch/cpu fp32i8/" in i for i in one.before)]
    assert {id_.split("/")[2] for id_ in shared.before} == {
        "cpu fp32i8",
        "cpu fp32i8 *2 -> cpu bf16",
    }


def test_references_without_room_are_computed_by_each_command(foresee):
    small = foresee(reference_room=264 * 64 * 4)
    assert [one.will_stay for one in small.references] == [True, False]
    kept = [one.is_kept for one in small.once if one.what == "references"]
    assert kept == [True, True, False]
    assert [one.will_stay for one in foresee(reference_room=0).references] == [False, False]


def test_each_reference_has_its_time(foresee):
    found = foresee()
    assert sum(one.s for one in found.references) == pytest.approx(
        sum(seconds(found, "references"))
    )
    assert all(one.s > 0 and one.is_made for one in found.references)


def test_no_reference_is_computed_from_converted_weights(load, machine_with):
    loaded = load(text=TEXT)
    seen = look(loaded)
    planned = plan(loaded, machine_with(), seen)
    seen = replace(seen, converted={"tiny": None})
    found = foresee_time(planned, loaded, seen, Known(speed=PROBED))
    assert [(one.model, one.is_made, one.s > 0) for one in found.references] == [
        ("tiny", False, False),
        ("made-up", True, True),
    ]
    assert len(seconds(found, "references")) == 1


def test_what_is_not_run_takes_no_time(foresee):
    gone = ("{weights: 'random:169m'}", "{weights: gone.safetensors}")
    found, usual = foresee(gone), foresee()
    assert {one.cell.model for one in found.cells} == {"tiny"}
    assert found.n_idle == len(usual.cells) - len(found.cells) + usual.n_idle == 4
    assert not any("made-up" in id_ for one in found.once for id_ in one.before)
    assert [one.model for one in found.references] == ["tiny"]
    twice = foresee(("[cpu fp32, cpu bf16]", "[cpu fp32, cpu bf16, cpu fp32 *9 -> cpu bf16]"))
    assert twice.n_idle == 4  # tiny has 3 layers
    assert time_document(twice)["idle_cells"] == 4


def test_no_trial_passes_its_deadline(foresee):
    limits = ("strategies:", "limits: {trial_s: 4}\nstrategies:")
    found = foresee(limits)
    for one, usual in zip(found.cells, foresee().cells, strict=True):
        assert one.trial_s == min(usual.trial_s, 4.0)
        assert (one.is_late, usual.is_late) == (usual.trial_s > 4, False)
    assert any(one.is_late for one in found.cells)
    assert {one["passes_deadline"] for one in time_document(found)["cells"]} == {True, False}


COOLED = ("strategies:", "cooldown: {below_c: 60, max_wait_s: 90}\nstrategies:")


def test_trials_wait_to_cool_down_as_long_as_others_of_the_rule_did(foresee):
    asked = {"below_c": 60.0, "back_to_start_k": None, "max_wait_s": 90.0}
    past = [record(cooling=PastCooling(waited_s=s), cooldown=asked) for s in (10.0, 20.0, 60.0)]
    found, without = foresee(COOLED, past=past), foresee(past=past)
    assert (found.cooling.most_s, found.cooling.each_s) == (90.0, 30.0)
    n_trials = sum(one.trials for one in found.cells)
    assert found.cooling_s == 30.0 * n_trials
    assert found.total_s == pytest.approx(without.total_s + 30.0 * n_trials)
    assert found.total_at_least_s == pytest.approx(found.total_s)
    assert time_document(found)["cooling"] == {"total_s": 30.0 * n_trials, "trial_at_most_s": 90.0}
    assert without.cooling is None
    assert time_document(without)["cooling"] is None


@pytest.mark.parametrize("cooldown", [None, {"below_c": 50.0, "max_wait_s": 90.0}])
def test_what_trials_of_another_rule_waited_says_nothing(cooldown, foresee):
    past = [record(cooling=PastCooling(waited_s=10.0), cooldown=cooldown)]
    found = foresee(COOLED, past=past)
    assert (found.cooling.each_s, found.cooling_s) == (None, 0.0)
    assert time_document(found)["cooling"] == {"total_s": None, "trial_at_most_s": 90.0}


def test_answers_that_were_drawn_otherwise_are_other_trials(foresee, load):
    past = [record("quality", asked=asked_of(load)), record("quality", asked=asked_of(load))]
    cells = [
        structs.replace(past[0].cell, sampling="hot"),
        structs.replace(past[0].cell, prompt="b"),
    ]
    for other in cells:
        found = foresee(past=[structs.replace(past[0], cell=other)])
        assert cell(found, "quality").source == "model"


def _instant():
    return PastAnswer(token_ids=[], prefill_s=0.0, decode_s=[0.0])


def test_threads_beyond_the_cores_make_no_trial_faster(foresee):
    def of(threads, **known):
        found = foresee(("strategies:", f"threads: {threads}\nstrategies:"), **known)
        return sum(one.trial_s for one in found.cells)

    assert of(2, cores=2) == of(2, cores=8) == of(2)
    assert of(8, cores=2) == of(2)
    assert of(8, cores=8) < of(2)


def test_references_take_all_cores_where_these_are_known(foresee):
    def of(threads, **known):
        found = foresee(("strategies:", f"threads: {threads}\nstrategies:"), **known)
        return sum(seconds(found, "references"))

    assert of(1, cores=8) == of(8, cores=8) == of(8)
    assert of(1) == of(8, cores=1) > of(2) > of(8)


def test_a_script_rests_on_no_records_where_there_are_none(foresee, study_folder):
    (study_folder / "script.yaml").write_text("tokens: [[1]]\n", encoding="utf-8")
    change = (
        "  tiny: {weights: tiny.safetensors, tokenizer: tokenizer.json}\n",
        "  tiny: {weights: script.yaml, tokenizer: tokenizer.json}\n",
    )
    found = foresee(change, ("strategies:", "engines: [fake]\nstrategies:"), only="speed")
    assert cell(found, "speed").trial_s > 0
    assert (found.n_from("records"), found.n_from("model")) == (0, 2)


def test_int8_takes_longer_to_make_than_a_cast(foresee):
    def took(strategy):
        change = ("[cpu fp32, cpu bf16]", f"[cpu fp32, {strategy}]")
        [one] = seconds(
            foresee(change, converted={("made-up", strategy): not_there()}), "converting weights"
        )
        return one

    assert took("cpu fp32i8") > took("cpu fp32i8 *6 -> cpu bf16") > took("cpu bf16") + 0.1


def test_as_json(foresee, load):
    found = foresee(past=[record(asked=asked_of(load))])
    document = time_document(found)
    assert document["total_s"] == found.total_s
    assert document["rests_on"] == {"records": 1, "model": 11, "unknown": 0}
    assert document["retries_foreseen"] is False
    [speed] = [one for one in document["cells"] if one["cell"] == "tiny/torch/cpu fp32/1t/speed"]
    assert speed["trial_s"] == 7.0
    assert (speed["trials"], speed["total_s"], speed["rests_on"]) == (3, 21.0, "records")
    assert sum(one["s"] for one in document["once"]) + document["trials_s"] == pytest.approx(
        found.total_s
    )
    assert document["references"][0] == {
        "model": "tiny",
        "rows": 264,
        "vocabulary": 64,
        "bytes": 67584,
        "kept": False,
        "s": found.references[0].s,
        "stays": True,
    }


def test_of_what_is_left_the_trials_are_counted_and_the_cells_that_are_done_are_not(foresee):
    whole = foresee()
    found = foresee(is_done=lambda cell, trial: cell.workload == "answers" or trial == 0)
    done = [one for one in whole.cells if one.cell.workload in ("answers", "quality")]
    assert found.n_done == len(done) > 0
    assert [(one.cell, one.trials) for one in found.cells] == [
        (one.cell, one.trials - 1) for one in whole.cells if one not in done
    ]
    assert found.trials_s == pytest.approx(
        whole.trials_s
        - sum(one.trial_s for one in whole.cells if one not in done)
        - sum(one.total_s for one in done)
    )
    assert found.n_idle == whole.n_idle


def test_what_a_run_did_once_is_not_foreseen_again(foresee):
    converted = {("tiny", "cpu bf16"): not_there(), ("made-up", "cpu bf16"): not_there("g")}
    given = {"idle_s": 5.0, "converted": converted}
    found = foresee(**given, is_done=lambda cell, trial: trial == 0)
    assert [one.what for one in found.once if not one.at_end] == ["starting", "idle machine"]
    assert [one.what for one in found.once if one.at_end] == ["limits of the machine", "report"]
    assert not any(one.is_made for one in found.references)
    of_tiny = foresee(**given, is_done=lambda cell, _: cell.model == "tiny")
    assert [one.model for one in of_tiny.references] == ["made-up"]
    assert len(seconds(of_tiny, "gates")) == len(seconds(of_tiny, "converting weights")) * 2 == 2
    no_speeds = foresee(**given, is_done=lambda cell, _: cell.workload == "speed")
    assert seconds(no_speeds, "limits of the machine") == seconds(no_speeds, "idle machine") == []


def test_what_is_not_kept_is_done_again_by_a_command_that_goes_on(foresee):
    found = foresee(reference_room=0, is_done=lambda cell, trial: trial == 0)
    assert [one.is_made for one in found.references] == [True, True]
    nothing = foresee(reference_room=0, is_done=lambda *_: True)
    assert [one.what for one in nothing.once] == ["starting", "report"]
    assert nothing.cells == nothing.references == ()
