"""What a trial is held against: of a real study and model, with a reference made up here."""

import json
import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import yaml
from msgspec import structs

from harness.config.load import load_study
from harness.engines.base import ModelSource
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError
from harness.language.template import fill_template
from harness.language.tokenizer import load_tokenizer
from harness.measure import trial
from harness.measure.conversion import Watch, Weights
from harness.measure.identity import ModelIdentity
from harness.measure.job import Failed, Gated, Job, Judged, Scored
from harness.measure.lambada_file import lambada_job, pad_ids
from harness.measure.last_words import measure_last_words
from harness.measure.passages import GATE_TOKENS
from harness.measure.quality_inputs import QualityInputs, Wanted, gate_of, quality_of
from harness.measure.reference_cache import ReferenceCache
from harness.measure.references import References
from harness.measure.referring import compute_reference
from harness.measure.trial_record import Ran, record_of
from harness.plan.look import look
from harness.plan.matrix import cells
from harness.quickstart import files
from harness.records.quality import NO_ANSWERS, Gate, Quality
from harness.records.record import Answer, Outcome
from harness.runtime import convert_model
from harness.runtime.model import load_model
from harness.sources import Found, Locked
from tests.measure.test_references import DONE, NONE, ended

SHA256 = "ab" * 32
QUESTIONS = [{"id": "sum", "text": "What is 47 + 38?"}, {"id": "two", "text": "And 1 + 1?"}]
STUDY = {
    "name": "held",
    "models": {"m": {"weights": "builtin:quickstart"}},
    "strategies": ["cpu fp32"],
    "workloads": {
        "speed": {"prompt_tokens": 4, "generate_tokens": 2},
        "answers": {"questions": "questions.yaml", "max_tokens": 4},
        "quality": {"text": "text.txt", "max_tokens": 12},
    },
}
TEXT = "The sum of 4 and 5 is 9. The sum of 1 and 2 is 3. And so on it goes."
WORDS = ["7+8=15, 1+4+3=8, so 85.", "What is the sum", "The sum of 4 and 5"]


class Engine:
    """All tokens are equally likely."""

    name = "stub"

    def __init__(self, n_vocab):
        self.n_vocab = n_vocab

    def reference(self, model, passages, *, threads, on_progress):
        del model, threads, on_progress
        for index, one in enumerate(passages):
            shape = (one.n_rows, self.n_vocab)
            yield index, np.full(shape, -np.log(self.n_vocab), dtype=np.float32)


class Worker:
    fails = False

    def __init__(self, n_vocab):
        self.jobs, self.engine = [], Engine(n_vocab)

    def __call__(self, job, **settings):
        self.jobs.append(job)
        if self.fails:
            return ended(Failed(kind="unsupported", reason="no", detail="", peak_rss=NONE))
        compute_reference(self.engine, None, job.reference, 1, settings["on_message"])
        return ended(DONE)


class Bench:
    """The inputs of a study, and what its trials want of them."""

    def __init__(self, folder, study=None, run=None):
        document = STUDY if study is None else study
        (folder / "study.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        (folder / "questions.yaml").write_text(yaml.safe_dump({"questions": QUESTIONS}))
        (folder / "text.txt").write_text(TEXT, encoding="utf-8")
        self.loaded = load_study(folder / "study.yaml")
        self.shapes = look(self.loaded).shapes
        self.run = run or Worker(self.shapes["m"].n_vocab)
        self.references = References([ReferenceCache(folder / "rows", budget=2**30)], run=self.run)
        self.inputs = QualityInputs(
            loaded=self.loaded, shapes=self.shapes, references=self.references
        )

    def wanted(self, workload="quality", engine="torch"):
        cell = next(
            one
            for one in cells(self.loaded.study)
            if one.workload == workload and one.engine == engine
        )
        model = self.loaded.files["m"]
        return Wanted(
            cell=cell,
            job=Job(
                engine=cell.engine,
                strategy=cell.strategy,
                weights=str(model.weights),
                weights_seed=0,
                threads=cell.threads,
                tokenizer=str(model.tokenizer),
                prompt=model.prompt,
            ),
            weights=Weights(path=model.weights, seed=0, sha256=lambda: SHA256),
            log=Path(os.devnull),
            watch=Watch(),
        )

    def prepare(self, *, workload="quality", gated=False, answers=(), beside=(), **which):
        return self.inputs.prepare(
            self.wanted(workload, **which),
            is_gated=gated,
            answers=answers if workload == "quality" else None,
            beside=beside,
        )


def answer(*token_ids, of="sum", stop_token=None):
    return Answer(
        id=of,
        text="",
        token_ids=list(token_ids),
        right=None,
        stop="length",
        stop_token=stop_token,
        prompt_tokens=0,
        prefill_s=0.0,
        decode_s=[],
    )


def changed(**workloads):
    return {**STUDY, "workloads": {**STUDY["workloads"], **workloads}}


@pytest.fixture
def new_bench(tmp_path):
    opened = []

    def new(study=None, run=None):
        opened.append(Bench(tmp_path, study, run))
        return opened[-1]

    yield new
    for one in opened:
        one.references.close()


@pytest.fixture
def bench(new_bench):
    return new_bench()


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(files.TOKENIZER)


def test_text_answers_and_those_beside_are_one_sweep(bench, tokenizer):
    mine = [answer(5, 6, 7), answer(8, of="two", stop_token=0)]
    beside = [*mine, answer(5, 9, 7)]
    prepared = bench.prepare(gated=True, answers=mine, beside=beside)
    (job,) = bench.run.jobs
    assert prepared.missing == {}
    placed = prepared.job.scoring.passages
    assert [one.answer for one in placed] == [None, "sum", "two"]
    ids = tokenizer.encode(TEXT)[:13]
    assert (placed[0].passage.ids, placed[0].passage.targets) == (ids[:-1], ids[1:])
    prompt = tokenizer.encode(fill_template(bench.loaded.files["m"].prompt, QUESTIONS[0]["text"]))
    assert placed[1].passage.ids == [*prompt, 5, 6]
    assert placed[1].passage.targets == [5, 6, 7]
    assert placed[2].passage.targets == [8, 0]
    assert len(job.reference.passages) == 5  # with the gate, and what is beside
    assert len(prepared.job.gate.passage.ids) == GATE_TOKENS
    assert prepared.job.answers.max_tokens == 4
    assert prepared.job.scoring.reference.form == "full"
    assert prepared.job.scoring.reference.s > 0
    assert prepared.job.phases == ("load", "scoring")
    # The next strategy's answers are there by now.
    again = bench.prepare(answers=[answer(5, 9, 7)], beside=beside)
    assert len(bench.run.jobs) == 1
    assert again.job.scoring.passages[1].passage.targets == [5, 9, 7]


def test_the_reference_is_computed_by_our_own_runtime_for_every_engine(new_bench):
    bench = new_bench({**STUDY, "engines": ["torch", "rwkv"]})
    first = bench.prepare(workload="speed", gated=True, engine="rwkv")
    assert (bench.run.jobs[0].engine, bench.run.jobs[0].strategy) == ("torch", "cpu fp32")
    assert bench.run.jobs[0].gate is None
    second = bench.prepare(workload="speed", gated=True, engine="torch")
    assert first.job.gate == second.job.gate
    assert first.job.engine == "rwkv"
    assert len(bench.run.jobs) == 1


def test_a_trial_that_is_not_gated_and_scores_nothing_asks_for_nothing(bench):
    prepared = bench.prepare(workload="speed")
    assert (prepared.job.gate, prepared.job.scoring, prepared.gate) == (None, None, None)
    assert bench.run.jobs == []


def test_with_the_gate_the_text_is_computed_too(bench):
    """The weights of a large model are read once for both."""
    bench.prepare(workload="speed", gated=True)
    assert len(bench.run.jobs[0].reference.passages) == 2
    prepared = bench.prepare()
    assert len(bench.run.jobs) == 1
    assert prepared.missing == {"answers": "there are none of this cell"}
    assert [one.answer for one in prepared.job.scoring.passages] == [None]


def test_without_answers_to_score_none_are_missed(new_bench):
    for quality in ({"text": "text.txt", "answers": False}, {"text": "text.txt"}):
        study = changed(quality=quality)
        if quality.get("answers", True):
            del study["workloads"]["answers"]
        prepared = new_bench(study).prepare(answers=[answer(5)])
        assert prepared.missing == {}
        assert [one.answer for one in prepared.job.scoring.passages] == [None]
        assert prepared.job.phases == ("load", "scoring")


def test_an_answer_to_a_question_that_is_gone_is_left_out(bench):
    prepared = bench.prepare(answers=[answer(5, of="gone"), answer(6)])
    assert [one.answer for one in prepared.job.scoring.passages] == [None, "sum"]


@pytest.mark.parametrize("what", ["text", "prompt"])
def test_another_text_or_prompt_is_another_reference(what, bench, new_bench):
    before = bench.prepare(answers=[answer(5)])
    study = json.loads(json.dumps(STUDY))
    if what == "prompt":
        study["models"]["m"]["prompt"] = "Q: {question}\n\nA:"
    else:
        study["workloads"]["quality"]["text"] = "builtin:prose"
    after = new_bench(study, bench.run).prepare(answers=[answer(5)])
    keys = [[one.passage.key for one in p.job.scoring.passages] for p in (before, after)]
    differs = [one != other for one, other in zip(*keys, strict=True)]
    assert differs == ([True, False] if what == "text" else [False, True])
    assert len(bench.run.jobs) == 2


def test_a_model_without_tokenizer_has_a_gate_of_seeded_tokens_and_no_text(new_bench):
    study = {
        "name": "random",
        "models": {"m": {"weights": "random:169m"}},
        "strategies": ["cpu fp32"],
        "workloads": {"speed": {"prompt_tokens": 4, "generate_tokens": 2}},
    }
    bench = new_bench(study)
    prepared = bench.prepare(workload="speed", gated=True)
    gate = prepared.job.gate.passage
    assert len(gate.ids) == GATE_TOKENS
    assert max(gate.ids) > 1000
    (job,) = bench.run.jobs
    assert (job.weights, job.weights_seed) == ("random:169m", 0)
    assert [one.key for one in job.reference.passages] == [gate.key]


def test_without_a_reference_nothing_fails_and_all_is_explained(bench):
    bench.run.fails = True
    prepared = bench.prepare(gated=True, answers=[answer(5)])
    assert prepared.job.scoring is None
    assert set(prepared.missing) == {"text", "answers"}
    assert prepared.gate.tokens == 0
    assert "could not be computed: no" in prepared.gate.missing
    assert prepared.job.gate is None


@pytest.mark.parametrize(("cores", "threads"), [(None, 2), (6, 6), (1, 1)])
def test_a_reference_keeps_all_cores_busy_whatever_is_measured(tmp_path, cores, threads):
    """It is not timed; where the cores are not known, the study says how many threads run here."""
    held = Bench(tmp_path, {**STUDY, "threads": [1, 2]})
    held.inputs = replace(held.inputs, cores=cores)
    held.prepare(gated=True)
    held.references.close()
    assert [job.threads for job in held.run.jobs] == [threads]


@pytest.mark.parametrize("small", [False, True])
def test_a_record_names_no_folder_of_what_it_was_held_against(bench, tmp_path, small):
    """The worker names the file that it could not read; small forms lie with the results."""
    prepared = bench.prepare(gated=True, answers=[answer(5)])
    if small:
        (one, *_) = prepared.job.scoring.passages
        travelled = structs.replace(one, file=str(tmp_path / "r/references/s.npz"), small=True)
        scoring = structs.replace(prepared.job.scoring, passages=[travelled])
        prepared = replace(prepared, job=structs.replace(prepared.job, scoring=scoring))
    file = prepared.job.scoring.passages[0].file
    known = record_of(
        trial.Trial(cell=bench.wanted().cell, trial=0, attempt=0),
        trial.Bench(
            loaded=bench.loaded,
            machine_facts={},
            models={"m": ModelIdentity(weights_sha256=SHA256, tokenizer_sha256=None)},
            plans={bench.wanted().cell: None},
            logs=tmp_path / "run" / "logs",
        ),
        datetime.now(timezone.utc),
        Ran(
            outcome=Outcome(kind="ok"),
            messages=(
                Gated(gate=Gate(tokens=0, missing=f"{prepared.job.gate.file}: cut short")),
                Judged(quality=Quality(missing={"text": f"{file}: cannot be read"})),
            ),
            prepared=prepared,
        ),
    )
    assert known.quality.missing == {"text": f"{Path(file).name}: cannot be read"}
    assert known.gate.missing == f"{Path(prepared.job.gate.file).name}: cut short"


def test_an_interrupted_trial_keeps_why_a_part_has_no_reference(bench, tmp_path, monkeypatch):
    def stopped(*_args, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "run_job", stopped)
    (tmp_path / "logs").mkdir()
    cell = bench.wanted().cell
    with pytest.raises(trial.InterruptedTrial) as stop:
        trial.measure(
            trial.Trial(cell=cell, trial=0, attempt=0),
            trial.Bench(
                loaded=bench.loaded,
                machine_facts={},
                models={"m": ModelIdentity(weights_sha256=SHA256, tokenizer_sha256=None)},
                plans={cell: None},
                logs=tmp_path / "logs",
                quality=bench.inputs,
            ),
        )
    assert stop.value.record.quality.missing == {"answers": NO_ANSWERS}


def test_half_of_a_part_is_not_scored(bench):
    """The answers that the reference has may be those that are alike everywhere."""
    bench.prepare(answers=[answer(5)])
    bench.run.fails = True
    prepared = bench.prepare(answers=[answer(5), answer(6, of="two")])
    assert [one.answer for one in prepared.job.scoring.passages] == [None]
    assert "could not be computed: no" in prepared.missing["answers"]
    assert list(prepared.missing) == ["answers"]


def test_weights_whose_shape_is_not_known_are_explained(bench):
    bench.inputs = QualityInputs(loaded=bench.loaded, references=bench.inputs.references)
    prepared = bench.prepare(gated=True)
    assert prepared.missing == dict.fromkeys(("text", "answers"), "the model's shape is not known")
    assert prepared.gate.missing == "the model's shape is not known"


def test_weights_that_do_not_say_what_they_were_made_from_are_explained(bench, tmp_path):
    path = tmp_path / "own.pth"
    convert_model(bench.loaded.files["m"].weights, path, "cpu fp32", form="pth")
    weights = Weights(path=path, seed=0, sha256=lambda: SHA256)
    wanted = replace(bench.wanted(), weights=weights)
    prepared = bench.inputs.prepare(wanted, is_gated=True, answers=[], beside=[])
    (why,) = {prepared.gate.missing, *prepared.missing.values()}
    assert "does not say which weights it was made from" in why


# -- what a record says ------------------------------------------------------------------------


def test_no_folder_of_this_machine_is_in_a_reason():
    here = {"/home/me": "~/"}
    gate = Gate(tokens=0, missing="/home/me/rows.safetensors: cannot be read")
    assert gate_of([Gated(gate=gate)], None, here).missing.startswith("~/rows")
    passed = Gate(tokens=32)
    assert gate_of([Gated(gate=passed)], None, here) == passed
    quality = Quality(missing={"text": "/home/me/rows.safetensors: cannot be read"})
    assert quality_of([Judged(quality=quality)], None, here).missing["text"].startswith("~/rows")
    assert gate_of([], None, here) is None
    assert quality_of([], None, here) == Quality()


# -- LAMBADA -----------------------------------------------------------------------------------


def lambada(tmp_path, content=None, **more):
    """A study whose quality has LAMBADA of three documents."""
    if content is None:
        content = "".join(json.dumps({"text": text}) + "\n" for text in WORDS)
    (tmp_path / "words.jsonl").write_text(content, encoding="utf-8")
    return changed(quality={"text": "text.txt", "lambada": "words.jsonl", **more})


def test_documents_begin_with_a_line_break_and_end_with_a_word_of_their_own(
    tmp_path, tokenizer, new_bench
):
    job = new_bench(lambada(tmp_path)).prepare().job.scoring.lambada
    assert len(job.documents) == len(WORDS)
    for one, text in zip(job.documents, WORDS, strict=True):
        before, _, word = text.rpartition(" ")
        last = tokenizer.encode(f" {word}")
        assert one.ids == [*tokenizer.encode("\n"), *tokenizer.encode(before), *last]
        assert one.n_word == len(last)


def test_only_the_first_documents_may_be_asked_for(tmp_path, new_bench):
    whole = new_bench(lambada(tmp_path)).prepare().job.scoring.lambada
    some = new_bench(lambada(tmp_path, lambada_documents=2)).prepare().job.scoring.lambada
    assert some.documents == whole.documents[:2]
    assert some.sha256 == whole.sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "words.jsonl is not here"), ("rubbish", "words.jsonl:1: not a line of LAMBADA")],
)
def test_without_its_file_all_else_is_scored(content, words, tmp_path, new_bench):
    study = lambada(tmp_path)
    if content is None:
        (tmp_path / "words.jsonl").unlink()
    bench = new_bench(study)
    if content is not None:  # since the study was loaded
        (tmp_path / "words.jsonl").write_text(content, encoding="utf-8")
    prepared = bench.prepare(answers=[answer(5)])
    assert list(prepared.missing) == ["lambada"]
    assert words in prepared.missing["lambada"]
    assert prepared.job.scoring.lambada is None
    assert len(prepared.job.scoring.passages) == 2


def test_it_needs_no_reference(tmp_path, new_bench):
    bench = new_bench(lambada(tmp_path))
    bench.run.fails = True
    scoring = bench.prepare(answers=[answer(5)]).job.scoring
    assert scoring.reference is None
    assert scoring.passages == []
    assert len(scoring.lambada.documents) == 3


def test_last_words_are_those_of_the_model_itself(tmp_path, new_bench):
    """The obvious twin: one whole pass over each document, and its softmax in float64."""
    job = new_bench(lambada(tmp_path)).prepare().job.scoring.lambada
    model, said = load_model(files.WEIGHTS, "cpu fp32"), []
    session = TorchEngine().open(ModelSource(weights=files.WEIGHTS), "cpu fp32", threads=1)
    found = measure_last_words(session, job, said.append)
    session.close()
    for n, one in enumerate(job.documents):
        logits, _ = model.forward(one.ids, full_output=True)
        wide = logits.double()
        log_p = (wide - wide.logsumexp(-1, keepdim=True)).numpy().reshape(len(one.ids), -1)
        total, right = 0.0, True
        for at in range(len(one.ids) - one.n_word, len(one.ids)):
            total += log_p[at - 1, one.ids[at]]
            right &= int(log_p[at - 1].argmax()) == one.ids[at]
        assert found.log_p[n] == pytest.approx(total, abs=1e-5)
        assert found.right[n] == right
    assert 0 < sum(found.right) < 3
    assert [one.done for one in said] == [1, 2, 3]
    assert {type(one) for one in said} == {Scored}


def test_a_tokenizer_without_a_line_break_begins_with_the_text():
    class Letters:
        def encode(self, text):
            return [ord(letter) for letter in text if letter.isalpha()] or [0]

        def decode(self, ids):
            return "".join(map(chr, ids))

    assert list(pad_ids(Letters())) == []


def test_another_content_than_the_lock_says_is_not_scored(tmp_path, tokenizer):
    path = tmp_path / "words.jsonl"
    path.write_text('{"text": "a b"}', encoding="utf-8")
    locked = Locked(sha256="ab" * 32, size=1)
    found = Found(text="words.jsonl", kind="lambada", path=path, locked=locked)
    with pytest.raises(HarnessError, match=r"words\.jsonl has sha256 .* it has changed"):
        lambada_job(found, None, tokenizer)
