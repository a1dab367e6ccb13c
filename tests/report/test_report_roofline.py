"""Limits, shares of them and energy in reports: figures, definitions, reasons."""

from __future__ import annotations

import io

import fabricate
import msgspec
import pytest
from rich.console import Console

from harness.records.energy import Energy
from harness.records.limits_file import append_limits
from harness.records.roofline import Limit, LimitSet, Roofline
from harness.records.store import read_run
from harness.records.validity import Disturbance
from harness.report.format import MISSING
from harness.report.limit_tables import limits_table
from harness.report.page import make_page
from harness.report.roofline_tables import (
    remarks,
    roofline_table,
    short_table,
)
from harness.report.summary import summarise
from harness.report.terminal import result_table
from harness.report.write import write_report

GIB = 2**30
WORK = Roofline(
    limits_at="2024-05-01T00:00:00+00:00",
    step_bytes={"cpu": 2 * GIB},
    prefill_tokens=128,
    prefill_flop={"cpu": {"fp32": 10**12}},
    read_bytes_per_s={"cpu": 4.0 * GIB},
    flop_per_s={"cpu": {"fp32": 5e10}},
    decode_bound_s=0.5,
    decode_share=0.5,
    prefill_bound_s=20.0,
    prefill_share=0.25,
)
COUNTED = Energy(
    counters={"package-0": "RAPL"},
    decode_j_per_token=1.5,
    decode_net_j_per_token=0.5,
    prefill_j_per_token=0.02,
    idle_w={"package-0": 10.0, "cuda:1": 50.0},  # the second one no strategy uses
    missing={
        "prefill_net_j_per_token": "what the idle machine takes is not known",
        "not counted: cuda:0": "it has no counter",
    },
)


def run_with(**fields):
    """Two strategies of three trials each, with these fields in every record."""
    run = fabricate.Fabricated(["cpu fp32", "cpu bf16"])
    run.speed("cpu fp32", 100)
    run.speed("cpu bf16", 150)
    run.records = [msgspec.structs.replace(record, **fields) for record in run.records]
    return run


def limits(when="begin", read=8e9, **changes):
    return LimitSet(
        measured_at="2024-05-01T00:00:00+00:00",
        when=when,
        threads=1,
        facts_sha256="",
        limits=[
            Limit(kind="read", device="cpu", bytes_per_s=read, method="by reading", **changes),
            Limit(kind="multiply", device="cuda:0", dtype="fp16", missing="no room"),
        ],
    )


@pytest.fixture
def table_of(summary_of):
    def made(run):
        summary = summary_of(run)
        return roofline_table(summary.models[0], summary.facts)

    return made


def column(table, title):
    at = [one.title for one in table.columns].index(title)
    return [row[at] for row in table.rows]


def test_shares_stand_with_what_they_are_of(table_of):
    table = table_of(run_with(roofline=WORK))
    decode, _ = column(table, "Decode, % of bandwidth limit")
    assert decode.text == "50.0 %"
    assert decode.tag.endswith("2.15 of 4.29 GB/s")  # two GiB in a second
    prefill, _ = column(table, "Prefill, % of compute limit")
    assert (prefill.text, prefill.tag.splitlines()[-1]) == ("25.0 %", "12.5 of 50.0 GFLOP/s")
    assert column(table, "Bytes per step")[0].text == "2.00 GiB"
    said = " ".join(table.remarks)
    assert "Bandwidth limit: the least time" in said
    assert "two operations for each number" in said
    assert "J per token" not in " ".join(one.title for one in table.columns)


def test_a_share_is_the_median_over_trials_with_its_interval(table_of):
    run = run_with()
    shares = [0.4, 0.5, 0.6] * 2
    run.records = [
        msgspec.structs.replace(record, roofline=msgspec.structs.replace(WORK, decode_share=share))
        for record, share in zip(run.records, shares, strict=True)
    ]
    decode, _ = column(table_of(run), "Decode, % of bandwidth limit")
    assert decode.text == "50.0 %"
    low, high = decode.tag.splitlines()[0].split(" to ")
    assert 20 < float(low) < 50 < float(high) < 90  # in percent, as the share


def test_several_devices_have_their_bytes_named_and_no_single_rate(table_of):
    work = msgspec.structs.replace(
        WORK, step_bytes={"cpu": GIB, "cuda:0": GIB}, bus_bytes={"cuda:0": GIB // 2}
    )
    table = table_of(run_with(roofline=work))
    assert column(table, "Bytes per step")[0].tag.splitlines() == [
        "1.00 GiB on cpu",
        "1.00 GiB on cuda:0",
        "512 MiB copied to cuda:0",
    ]
    assert "GB/s" not in (column(table, "Decode, % of bandwidth limit")[0].tag or "")


def test_more_than_the_memory_can_give_is_said_in_words(table_of):
    above = table_of(run_with(roofline=msgspec.structs.replace(WORK, decode_share=1.4)))
    assert column(above, "Decode, % of bandwidth limit")[0].text == "140 %"
    [said] = [remark for remark in above.remarks if "More than 100 %" in remark]
    assert "of the bandwidth limit" in said
    prefill = table_of(run_with(roofline=msgspec.structs.replace(WORK, prefill_share=1.1)))
    [said] = [remark for remark in prefill.remarks if "More than 100 %" in remark]
    assert "of the compute limit (“cpu fp32” and “cpu bf16”)" in said
    below = table_of(run_with(roofline=WORK))
    assert not any("More than 100 %" in remark for remark in below.remarks)


def test_what_fits_a_cache_is_said_in_words(summary_of):
    small = msgspec.structs.replace(WORK, step_bytes={"cpu": 2**19})
    summary = summary_of(run_with(roofline=small))
    (said,) = remarks(summary.models[0].rows, summary.facts)  # L2 of 1 MiB in the facts
    assert "fits the processor’s largest cache of 1.00 MiB" in said
    large = summary_of(run_with(roofline=WORK))
    assert list(remarks(large.models[0].rows, large.facts)) == []


def test_a_missing_share_has_its_reason(table_of):
    off = Roofline(missing=dict.fromkeys(("decode_share", "prefill_share"), "the study says so"))
    table = table_of(run_with(roofline=off))
    assert {cell.text for cell in column(table, "Decode, % of bandwidth limit")} == {MISSING}
    assert table.footnotes == ("the study says so",)


def test_one_share_may_be_missing_without_the_other(table_of):
    half = msgspec.structs.replace(
        WORK, prefill_share=None, missing={"prefill_share": "no prompt was fed"}
    )
    table = table_of(run_with(roofline=half))
    assert column(table, "Decode, % of bandwidth limit")[0].text == "50.0 %"
    assert column(table, "Prefill, % of compute limit")[0].why == "no prompt was fed"


def test_older_records_have_no_such_table(table_of):
    assert table_of(run_with()) is None


def test_energy_stands_raw_and_above_idle_with_what_was_counted(table_of):
    table = table_of(run_with(roofline=WORK, energy=COUNTED))
    decode = column(table, "Decode, J per token")[0]
    assert (decode.text, decode.tag) == ("1.50", "0.500 above idle")
    prefill = column(table, "Prefill, J per token")[0]
    assert (prefill.text, prefill.tag) == ("0.0200", None)
    assert all(one.what for one in table.columns[1:])  # behind the strategy
    said = " ".join(table.remarks)
    assert "Counted: package-0 (RAPL)." in said
    assert "Idle, watched before the first trial, the machine took 10.0 W (package-0)." in said
    assert "No figure above idle: what the idle machine takes is not known." in said
    assert "not counted: cuda:0: it has no counter." in said


def test_energy_that_could_not_be_measured_has_one_line(table_of):
    nothing = Energy(missing={"decode_j_per_token": "processor: only root may read it"})
    table = table_of(run_with(roofline=WORK, energy=nothing))
    assert table.remarks[-1] == (
        "Joules per token could not be measured: processor: only root may read it."
    )


def test_limits_stand_with_their_drift(summary_of):
    summary = msgspec.structs.replace(
        summary_of(run_with()), limits=(limits(), limits("end", read=6e9))
    )
    table = limits_table(summary)
    assert [cell.text for cell in column(table, "At the beginning")] == ["8.00 GB/s", MISSING]
    assert [cell.text for cell in column(table, "At the end")] == ["6.00 GB/s", MISSING]
    assert [cell.text for cell in column(table, "Change")] == ["−25 %", MISSING]
    assert column(table, "Measured by")[0].text == "by reading"
    assert "no room" in table.footnotes


def test_of_several_ends_the_last_one_is_shown(summary_of):
    measured = (limits(), limits("end", read=6e9), limits("begin", read=7e9), limits("end"))
    table = limits_table(msgspec.structs.replace(summary_of(run_with()), limits=measured))
    assert column(table, "At the end")[0].text == "8.00 GB/s"
    assert column(table, "Change")[0].text == "+0 %"


def test_a_share_of_nothing_is_none(table_of):
    nothing = msgspec.structs.replace(WORK, decode_share=0.0)
    decode, _ = column(table_of(run_with(roofline=nothing)), "Decode, % of bandwidth limit")
    assert (decode.text, decode.why) == (MISSING, "not recorded")


def test_a_run_that_was_stopped_has_no_end(summary_of):
    table = limits_table(msgspec.structs.replace(summary_of(run_with()), limits=(limits(),)))
    assert column(table, "At the end")[0].why == "not measured again at the end"
    assert limits_table(summary_of(run_with())) is None


def test_what_disturbed_the_measuring_of_limits_is_said(summary_of):
    busy = Disturbance(cause="other_cpu_cores", figure=1.5, limit=0.25, spoils=True)
    disturbed = msgspec.structs.replace(limits("end"), disturbances=[busy])
    summary = msgspec.structs.replace(summary_of(run_with()), limits=(limits(), disturbed))
    [_, said] = limits_table(summary).remarks
    assert "at the end, on 1 CPU thread: other CPU 1.50 CPUs (limit 0.25 CPUs)." in said
    quiet = msgspec.structs.replace(summary, limits=(limits(),))
    assert len(limits_table(quiet).remarks) == 1


def test_the_terminal_has_a_small_table_of_shares(summary_of):
    summary = summary_of(run_with(roofline=WORK, energy=COUNTED))
    out = Console(width=80, file=io.StringIO())
    out.print(result_table(summary), crop=False)
    said = out.file.getvalue()
    assert "share of what this machine can do at best" in said
    assert "50.0 %" in said
    assert "1.50" in said
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 80
    assert short_table(summary_of(run_with()).models[0]) is None


def test_the_report_shows_all_of_it(tmp_path):
    folder = run_with(roofline=WORK, energy=COUNTED).write(tmp_path / "run")
    append_limits(folder, limits())
    page = make_page(summarise(read_run(folder)))
    assert page.models[0].roofline is not None
    assert page.facts[0].caption == "Limits of this machine, measured in this run"
    paths = write_report(folder)
    for text in (paths.html.read_text("utf-8"), paths.markdown.read_text("utf-8")):
        assert "How near tiny came to the limits of this machine" in text
        assert "Limits of this machine, measured in this run" in text


def test_a_damaged_file_of_limits_is_a_note(tmp_path):
    folder = run_with(roofline=WORK).write(tmp_path / "run")
    (folder / "roofline.json").write_text("[", encoding="utf-8")
    run = read_run(folder)
    assert run.limits == ()
    assert "roofline.json is left out" in run.notes[-1]
