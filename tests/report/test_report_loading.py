"""Which file was loaded, and how long that took."""

from __future__ import annotations

from fabricate import MIB, Fabricated

from harness.records.record import ConvertedFile
from harness.report.evidence import loading_table

ORIGINAL = "read from the original: converted it would take more room"
FILE = ConvertedFile(
    file="a-b.safetensors",
    source_sha256="0" * 64,
    plan="1 fp32i8*13",
    bytes=274 * MIB,
    made_now=True,
)


def loading(summary_of, *trials):
    run = Fabricated(["cpu fp32i8"])
    cell = run.planned(run.cell("cpu fp32i8"), trials=len(trials))
    for trial, fields in enumerate(trials):
        run.add(cell, trial=trial, decode_tok_per_s=9.0, **fields)
    return loading_table(summary_of(run).models[0])


def test_the_table_says_what_was_read_and_for_how_long(summary_of):
    table = loading(
        summary_of, {"load_s": 0.2, "converted": FILE}, {"load_s": 0.4, "converted": FILE}
    )
    (row,) = table.rows
    assert [cell.text for cell in row] == ["cpu fp32i8", "300 ms", "converted once, 274 MiB"]


def test_trials_that_read_different_files_show_both(summary_of):
    table = loading(
        summary_of,
        {"load_s": 0.2, "converted": FILE},
        {"load_s": 2.0, "converted_missing": ORIGINAL},
    )
    assert table.rows[0][2].text == f"converted once, 274 MiB; {ORIGINAL}"


def test_records_that_do_not_say_make_no_table(summary_of):
    assert loading(summary_of, {"load_s": 0.2}) is None
