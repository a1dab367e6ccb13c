"""Records of every past schema stay readable: one file per version, never edited again."""

from pathlib import Path

import pytest

from harness.records.record import SCHEMA
from harness.records.store import RecordStore, create_run_folder
from tests.records.test_store import STUDY

DATA = Path(__file__).parent / "data"


def test_there_is_a_file_per_version():
    expected = [f"schema-{version}.jsonl" for version in range(1, SCHEMA + 1)]
    assert sorted(path.name for path in DATA.glob("*.jsonl")) == expected


@pytest.mark.parametrize("path", sorted(DATA.glob("*.jsonl")), ids=lambda path: path.stem)
def test_it_is_read(path, tmp_path):
    create_run_folder(tmp_path / "run", study_text="", study=STUDY, facts={}, plan=[])
    (tmp_path / "run" / "records.jsonl").write_bytes(path.read_bytes())
    speed, answers, skipped = RecordStore(tmp_path / "run").records
    assert speed.outcome.kind == answers.outcome.kind == "ok"
    assert speed.decode_tok_per_s == pytest.approx(756.224, abs=0.001)
    assert [len(one) for one in speed.decode_s] == [32, 32]
    assert speed.plan[0].kernels
    assert speed.memory.peak_rss_bytes > speed.memory.import_rss_bytes > 0
    assert [answer.right for answer in answers.answers] == [True, True]
    assert skipped.outcome.kind == "skipped"
    assert "no device cuda" in skipped.outcome.reason
