"""`cpu fp32` answers the quickstart study with the same tokens everywhere: tests/data has them.

Shown by our runtime in this process, and by a run from the study to its records. The other tests
show that the comparison fails when it should, and says what differs.
"""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace

from harness.records.store import read_run
from tests.quickstart import answering, same_answers
from tests.quickstart.same_answers import check_margins, compare, compare_run

EXPECTED = same_answers.read()

STUDY = """\
name: same-answers
extends: builtin:quickstart
models: {random-169m: null}
strategies: [cpu fp32]
workloads: {speed: null, depth: null, answers: {trials: 1}, quality: null}
"""


@pytest.fixture(scope="module", autouse=True)
def _threads_stay():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def answered():
    """What is compared, and the logits behind it."""
    with answering.opened() as session:
        return answering.answer_all(session)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """The folder that `harness run` leaves behind."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    command = [sys.executable, "-m", "harness", "run", str(folder / "study.yaml")]
    done = subprocess.run(
        [*command, "--results", str(folder / "results")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = folder.glob("results/*/same-answers-*")  # beside the reference of its gate
    return run


def test_our_runtime_gives_the_same_tokens(answered):
    given, rows = answered
    line = compare(given)
    furthest = check_margins(answering.margins(rows), EXPECTED)
    print(f"{line}, recomputed within {furthest:.5f}")


def test_a_run_records_the_same_tokens(run_folder, answered):
    print(f"harness run: {compare_run(run_folder)}")
    (record,) = read_run(run_folder).records
    recorded = same_answers.of_record(record).versions
    for name, version in answered[0].versions.items():
        assert recorded[name] in (version, "unknown")  # without probes


def test_every_token_stands_apart_and_every_answer_is_whole(answered):
    given, rows = answered
    assert len(EXPECTED.answers) == 53
    assert min(answer.margin for answer in EXPECTED.answers) > same_answers.LEAST_MARGIN
    # Each token was drawn from logits that were looked at, the one that ends the answer too.
    assert {name: len(kept) for name, kept in rows.items()} == {
        answer.id: len(answer.token_ids) for answer in EXPECTED.answers
    }
    assert {answer.stop for answer in given.answers} == {"stop_string"}


def test_writing_the_file_again_changes_only_under_what_it_was_written(answered):
    given, rows = answered
    assert same_answers.render(EXPECTED) == same_answers.PATH.read_text(encoding="utf-8")
    written = answering.expected_from(given, answering.margins(rows))
    assert written.versions == given.versions
    near = [
        replace(new, margin=pytest.approx(new.margin, abs=same_answers.TOLERANCE))
        for new in written.answers
    ]
    assert (written.cell, written.sha256, near) == (
        EXPECTED.cell,
        EXPECTED.sha256,
        EXPECTED.answers,
    )


class Nudged:
    """A session that in one answer, at one token, takes the second-best logit for the best."""

    def __init__(self, session, answer, at):
        self._session, self._answer, self._at = session, answer, at
        self._asked, self._fed = -1, 0
        self.capabilities, self.effective_plan = session.capabilities, session.effective_plan

    def prefill(self, ids, state):
        self._asked, self._fed = self._asked + 1, 0
        return self._nudge(*self._session.prefill(ids, state))

    def step(self, ids, state):
        self._fed += 1
        return self._nudge(*self._session.step(ids, state))

    def _nudge(self, logits, state):
        if (self._asked, self._fed) == (self._answer, self._at):
            logits = logits.copy()
            second, best = np.argsort(logits[0])[-2:]
            logits[0, second] = logits[0, best] + 0.25
        return logits, state


@pytest.mark.parametrize("at", [0, -1])
def test_a_token_that_flips_is_named_with_its_logits_and_the_versions(at, answered):
    wanted = EXPECTED.answers[20]
    at %= len(wanted.token_ids)
    with answering.opened() as session:
        given, rows = answering.answer_all(Nudged(session, 20, at))
    second, best = np.argsort(answered[1][wanted.id][at])[-2:]
    message = failure(compare, given)
    decode = answering.load_tokenizer(answering.files.TOKENIZER).decode
    row = rows[wanted.id][at]
    assert wanted.token_ids[at] == best
    for said in (
        f"question {wanted.id}: ",
        f"after    {decode(wanted.token_ids[:at])!r}",
        f"token_ids[{at}] is {second} {decode([second])!r}, logit {row[best] + 0.25:.4f}",
        f"expected        {best} {decode([best])!r}, logit {row[best]:.4f}",
        f"margin   {wanted.margin:.4f} was the question's smallest, at token_ids[",
        "logits   of this run",
        f"expected by {EXPECTED.versions['python']}, torch {EXPECTED.versions['torch']}",
        f"computed by CPython {sys.version.split()[0]}, torch {torch.__version__}",
        f"numpy {np.__version__}, the same kernels",
        f"1 of 53 answers differ: {wanted.id}.\nWhat was asked is the same: ",
    ):
        assert said in message


def flip_a_matrix(model):
    model.weights.blocks[1].att.output.weight.neg_()


def fade_faster(model):
    model.weights.blocks[0].att.decay.mul_(2)


@pytest.mark.parametrize("change", [flip_a_matrix, fade_faster])
def test_other_weights_in_memory_give_other_tokens(change):
    with answering.opened() as session:
        with torch.no_grad():
            change(session._model)
        message = failure(compare, answering.answer_all(session)[0])
    said = re.search(r"token_ids\[\d+\] is .*, logit (\S+)\n +expected .*, logit (\S+)\n", message)
    assert float(said[1]) > float(said[2])


def test_of_a_record_the_logits_are_computed_again(run_folder, answered):
    wanted = EXPECTED.answers[7]
    other = [*wanted.token_ids[:2], 5, *wanted.token_ids[3:]]
    message = failure(compare_run, run_folder, with_answer(7, token_ids=other))
    row = answered[1][wanted.id][2]
    assert f"computed again here by torch {torch.__version__}" in message
    assert f"question {wanted.id}: " in message
    logit = float(
        re.search(rf"token_ids\[2\] is {wanted.token_ids[2]} .*, logit (\S+)", message)[1]
    )
    assert logit == pytest.approx(row[wanted.token_ids[2]], abs=1e-3)
    logit = float(re.search(r"expected +5 .*, logit (\S+)", message)[1])
    assert logit == pytest.approx(row[5], abs=1e-3)


def test_an_answer_that_ends_sooner_or_later_differs(answered):
    given, _ = answered
    ids = EXPECTED.answers[0].token_ids
    longer = with_answer(0, token_ids=[*ids, 7])
    assert f"token_ids[{len(ids)}] is the end of the answer\n" in failure(compare, given, longer)
    shorter = with_answer(0, token_ids=ids[:-1])
    message = failure(compare, given, shorter)
    assert "expected        the end of the answer\n" in message
    assert f"token_ids[{len(ids) - 1}] is {ids[-1]} " in message


def test_a_stop_token_is_named_though_no_answer_holds_it(answered):
    given, _ = answered
    stopped = replace(given.answers[0], token_ids=given.answers[0].token_ids[:2], stop="stop_token")
    row = np.eye(1, 768, 0, dtype=np.float32)[0]
    other = replace_given(given, answers=[stopped, *given.answers[1:]], logits=lambda *_: row)
    assert "token_ids[2] is 0 '<|endoftext|>', logit 1.0000\n" in failure(compare, other)


@pytest.mark.parametrize("name", ["weights", "tokenizer", "questions", "settings"])
def test_a_file_that_was_written_for_something_else_says_how_to_write_it_again(name, answered):
    given, _ = answered
    other = replace(given.sha256, **{name: "0" * 64})
    message = failure(compare, replace_given(given, sha256=other))
    assert f"\n  {name}: sha256 {'0' * 64}, expected " in message
    assert message.count("sha256") == 1
    assert ".venv/bin/python -m tests.quickstart.answering" in message


def test_missing_answers_and_other_texts_are_no_match(answered):
    given, _ = answered
    first, *rest = given.answers
    assert f"Not answered: ['{first.id}']" in failure(compare, replace_given(given, answers=rest))
    other = replace_given(given, answers=[replace(first, text="Rome."), *rest])
    assert f"{first.id}: the token ids are those" in failure(compare, other)


def test_margins_that_are_small_or_moved_are_refused(answered):
    found = answering.margins(answered[1])
    wanted = EXPECTED.answers[4]
    moved = with_answer(4, margin=wanted.margin + 0.002)
    assert f"says {wanted.margin + 0.002:.4f}" in failure(check_margins, found, moved)
    near = {**found, wanted.id: [*found[wanted.id][:-1], 0.01]}
    assert "only 0.0100 apart" in failure(check_margins, near, EXPECTED)
    assert "only 0.0100 apart" in failure(check_margins, found, with_answer(4, margin=0.01))
    assert wanted.id in failure(answering.expected_from, answered[0], near)


def test_a_record_of_another_cell_or_of_a_failure_is_no_answer(run_folder, tmp_path):
    (record,) = read_run(run_folder).records
    tmp_path = copied(run_folder, tmp_path, replace(record, cell=replace(record.cell, threads=2)))
    assert record.cell.strategy in failure(compare_run, tmp_path)
    failed = replace(record, outcome=replace(record.outcome, kind="timeout", reason="too slow"))
    assert "ended as timeout: too slow" in failure(same_answers.of_record, failed)


def test_other_kernels_are_named(answered):
    given, _ = answered
    kernels = {**given.kernels, "wkv": "C++ float32"}
    message = failure(compare, replace_given(given, kernels=kernels), with_answer(0, token_ids=[1]))
    assert "other kernels: wkv by 'C++ float32' and not 'torch float32'" in message


def test_comparing_needs_no_torch_until_something_differs():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tests.quickstart import answering, same_answers; same_answers.read()"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def failure(check, *args):
    """The message that it fails with."""
    with pytest.raises(AssertionError) as raised:
        check(*args)
    return str(raised.value)


def with_answer(index, **changes):
    """The file, with one answer changed."""
    answers = list(EXPECTED.answers)
    answers[index] = replace(answers[index], **changes)
    return replace(EXPECTED, answers=answers)


def replace_given(given, **changes):
    return same_answers.Given(**{**vars(given), **changes})


def copied(folder, to, record):
    """A run's folder that holds this record alone."""
    for path in folder.iterdir():
        if path.is_file():
            (to / path.name).write_bytes(path.read_bytes())
    (to / "records.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    return to
