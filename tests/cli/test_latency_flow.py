"""From YAML to records and the table, by scripted times: every figure of latency is exact."""

import pytest

from harness.cli.main import main
from harness.records.store import read_run
from harness.report.summary import summarise

LOAD, TOKEN, STEP = 2.0, 0.001, 0.05
SCRIPT = {
    "vocab": 5,
    "tokens": [[3], [1, 2]],  # Paris; yes no
    "load_s": LOAD,
    "prefill_s": TOKEN,
    "decode_s": [STEP],
}
WORKLOADS = {
    "speed": {
        "prompt_tokens": [4, 10],
        "generate_tokens": 20,
        "passes": 5,
        "trials": 2,
        "batch": [1, 4],
    },
    "depth": {"at": [0, 30, "1k"], "generate_tokens": 3, "passes": 2, "trials": 2},
    "answers": {"questions": "questions.yaml", "max_tokens": 5, "trials": 1},
}


@pytest.fixture
def run_of(fake_study, tmp_path, without_report):
    study = fake_study(SCRIPT, workloads=WORKLOADS)
    with pytest.raises(SystemExit) as stop:
        main(["run", str(study), "--results", str(tmp_path / "results"), "--machine", "here"])
    assert stop.value.code == 0
    (folder,) = (tmp_path / "results/here").glob("*")
    return read_run(folder)


def test_every_part_is_what_the_script_says(run_of):
    by_workload = {}
    for record in run_of.records:
        by_workload.setdefault((record.cell.workload, record.cell.batch), []).append(record)
    assert {key: len(found) for key, found in by_workload.items()} == {
        ("speed", 1): 2,
        ("speed", 4): 2,
        ("depth", 1): 2,
        ("answers", 1): 1,
    }
    for batch in (1, 4):
        for record in by_workload["speed", batch]:
            assert record.batch == batch
            assert record.load_s == pytest.approx(LOAD)
            first, whole = record.latency.first_pass, 10 * TOKEN + 20 * STEP
            assert first.end_to_end_s == pytest.approx(whole)
            assert not first.measured
            assert record.latency.end_to_end_s == pytest.approx([whole] * 5)
            # The end is measured by itself, and the parts add up to it.
            parts = record.prefill[-1].s + sum(record.decode_s[-1])
            assert record.latency.end_to_end_s[-1] == pytest.approx(parts, rel=0.01)
            assert record.decode_tok_per_s == pytest.approx(batch / STEP)
            assert set(record.latency.missing) == {"depth", "fed"}
            assert "depth" in record.latency.missing["depth"]
    for record in by_workload["depth", 1]:
        visits = record.latency.depth
        assert sorted(visit.tokens for visit in visits) == [0, 0, 30, 30, 1000, 1000]
        assert all(visit.decode_s == pytest.approx([STEP] * 3) for visit in visits)
        assert record.decode_s == []
        fed = record.latency.fed
        assert [(one.from_tokens, one.to_tokens) for one in fed] == [(0, 30), (30, 1000)]
        assert fed[1].s / fed[0].s == pytest.approx(970 / 30)
        assert set(record.latency.missing) == {"first_pass", "end_to_end_s"}
    (answers,) = by_workload["answers", 1]
    assert answers.latency is None
    for answer in answers.answers:
        latency = answer.latency
        whole = latency.tokenize_s + answer.prefill_s + sum(latency.sample_s) + latency.text_s
        whole += sum(answer.decode_s)
        assert latency.end_to_end_s == pytest.approx(whole, rel=0.01)
        assert latency.first_token_s == pytest.approx(answer.prefill_s, rel=0.01)


def test_the_summary_has_a_row_per_batch_and_says_what_it_cannot(run_of):
    one, four = summarise(run_of).models[0].rows
    assert (one.label, four.label) == ("cpu fp32, batch 1", "cpu fp32, batch 4")
    assert one.decode_tok_per_s.value == pytest.approx(1 / STEP)
    assert four.decode_tok_per_s.value == pytest.approx(4 / STEP)
    assert one.token_times.p99_s.value == pytest.approx(STEP)  # 5 x 20 steps carry it
    assert [speed.tokens for speed in one.latency.depth.speeds] == [0, 30, 1000]
    # Times that never differ: the slope is 0, and nothing says how sure that is.
    assert one.latency.depth.slope.value == pytest.approx(0, abs=1e-9)
    assert one.latency.depth.slope.verdict(0.02) == "cannot tell"
    assert four.latency.depth is None
    assert "timed once for all batch sizes" in four.missing["depth"]
    assert f"see “{four.elsewhere['depth']}”" in four.missing["depth"]
