"""Records with figures that no trial can have found are damaged, as lines that are none."""

import msgspec
import pytest

from harness.config.study import Model, Speed, Study, Workloads
from harness.errors import RecordsError
from harness.records.latency import Prefill
from harness.records.quality import (
    AnswerQuality,
    Difference,
    Gate,
    Lambada,
    Quality,
    QualityReference,
    ScoredTokens,
)
from harness.records.record import CellRef, Key, Outcome, Record
from harness.records.store import RecordStore, create_run_folder, read_run

STUDY = Study(
    name="damaged",
    models={"m": Model(weights="random:169m")},
    strategies=["cpu fp32"],
    workloads=Workloads(speed=Speed()),
)
CELL = CellRef(
    id="m/torch/cpu fp32/1t/quality",
    model="m",
    engine="torch",
    strategy="cpu fp32",
    workload="quality",
    threads=1,
)
SCORED = ScoredTokens(
    kl=[0.0, 2.5, None],
    kl_most=[0.1, None, None],
    agree=[1, 0, 0],
    log_p=[-1e-9, 0.0, None],
    reference_log_p=[-3.0, 1e-3, -700.0],  # as far off as a small form may be
    not_finite=50277,
    not_a_number=1,
)
DIFFERENCE = Difference(
    index=2,
    token=7,
    reference_token=8,
    p=None,
    reference_p=0.0,
    p_of_reference_token=1.0000000000000002,
    reference_p_of_reference_token=1.0010005,
    same_characters=0,
)
WHOLE = Record(
    key=Key(computation="c"),
    cell=CELL,
    trial=0,
    attempt=0,
    outcome=Outcome(kind="not_a_number"),
    started_at="2026-01-01T00:00:00+00:00",
    took_s=0.0,
    load_s=1.0,
    prefill=[Prefill(tokens=4, s=0.0)],
    decode_s=[[0.1, 0.0]],
    prefill_tok_per_s=0.0,
    decode_tok_per_s=3.0,
    gate=Gate(tokens=32, figures={"lost": 0.0}),
    quality=Quality(
        reference=QualityReference(form="small", weights_sha256=None, method="m", s=0.0),
        text=SCORED,
        answers=[AnswerQuality(id="q", scored=SCORED, difference=DIFFERENCE)],
        lambada=Lambada(sha256="s", log_p=[-9000.0, None], right=[1, 0], not_a_number=1),
    ),
)


@pytest.fixture
def folder(tmp_path):
    create_run_folder(tmp_path / "run", study_text="", study=STUDY, facts={}, plan=[])
    return tmp_path / "run"


def write(folder, *records):
    (folder / "records.jsonl").write_bytes(
        b"".join(msgspec.json.encode(r) + b"\n" for r in records)
    )


def changed(path, value):
    """The record as JSON has it, with one value put in place of another."""
    record = place = msgspec.to_builtins(WHOLE)
    *outer, last = path.split(".")
    for name in outer:
        place = place[int(name) if name.isdigit() else name]
    place[int(last) if last.isdigit() else last] = value
    return record


def test_every_value_that_a_trial_can_find_is_read(folder):
    write(folder, WHOLE)
    assert read_run(folder).records == (WHOLE,)


@pytest.mark.parametrize(
    "path, value",
    [
        ("quality.text.agree.1", 2),
        ("quality.text.agree.1", -1),
        ("quality.text.kl.0", -0.5),
        ("quality.text.kl_most.0", 1e300),
        ("quality.text.log_p.0", 5.0),
        ("quality.text.reference_log_p.0", None),
        ("quality.text.reference_log_p.0", -1e300),
        ("quality.text.not_finite", -1),
        ("quality.text.not_a_number", -1),
        ("quality.text.not_a_number", 4),
        ("quality.text.agree", [1, 0]),
        ("quality.text.kl", [0.0, 2.5, None, None]),
        ("quality.text.kl_most", [0.0]),
        ("quality.text.log_p", []),
        ("quality.text.reference_log_p", [-1.0]),
        ("quality.answers.0.scored.agree", [1, 0]),
        ("quality.answers.0.scored.agree.2", 7),
        ("quality.answers.0.difference.index", -1),
        ("quality.answers.0.difference.index", 3),
        ("quality.answers.0.difference.p", 1.5),
        ("quality.answers.0.difference.reference_p", -0.1),
        ("quality.answers.0.difference.same_characters", -1),
        ("quality.lambada.right.0", 3),
        ("quality.lambada.right", [1]),
        ("quality.lambada.log_p.0", 1.0),
        ("quality.reference.s", -1.0),
        ("gate.tokens", -1),
        ("gate.figures.lost", -1.0),
        ("decode_tok_per_s", -3.0),
        ("prefill_tok_per_s", -3.0),
        ("decode_s.0.1", -0.1),
        ("prefill.0.s", -0.1),
        ("load_s", -1.0),
        ("took_s", -1.0),
    ],
)
def test_what_no_trial_can_find_is_a_damaged_line_and_takes_nothing_with_it(folder, path, value):
    other = msgspec.structs.replace(WHOLE, trial=1)
    write(folder, other, changed(path, value))
    for read in (read_run, RecordStore):
        with pytest.raises(RecordsError, match=r"records\.jsonl:2: not a record: .* goes on"):
            read(folder)
    write(folder, other)  # without that line, as the message has it
    store = RecordStore(folder)
    assert store.is_finished(CELL.id, 1)
    assert not store.is_finished(CELL.id, 0)  # it is measured again
