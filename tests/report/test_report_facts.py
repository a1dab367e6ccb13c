"""Facts in reports: where the software came from, whatever of it, in few rows."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from fabricate import FACTS, Fabricated

from harness.records.record import ConvertedFile, Record
from harness.report.fact_tables import difference_table, distribution_list, fact_tables
from harness.report.facts import all_facts, differences, distribution_changes, flatten
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.page import make_page

SHA = "0123456789abcdef" * 4
MANY = {f"package-{n:02}": f"1.{n}" for n in range(80)} | {"torch": "2.0.1", "numpy": "1.24.2"}
PROVENANCE = {
    "provenance": "venv",
    "nix_interpreter": {"unavailable": "not from the Nix store"},
    "constraints": "constraints.txt",
    "constraints_sha256": "c" * 64,
    "distributions": MANY,
    "distributions_sha256": SHA,
    "distributions_outside": [],
}
OLD_RECORDS = Path(__file__).parents[1] / "records/data"


def run_with(*facts):
    """A run with one record per set of facts, of one cell."""
    run = Fabricated(trials=len(facts))
    cell = run.planned(run.cell("cpu fp32"))
    for trial, one in enumerate(facts):
        run.add(cell, trial=trial, decode_tok_per_s=1.0, facts={**FACTS, **one})
    return run


def updated(**changes):
    """The facts after some distributions became others."""
    return {**PROVENANCE, "distributions": {**MANY, **changes}, "distributions_sha256": "f" * 64}


def texts(tables):
    return {row[0].text: row[1].text for table in tables for row in table.rows}


def test_facts_are_printed_as_they_are_declared(summary_of):
    facts = {
        "cpu_max_mhz": 3800.0,
        "cpu_smt": True,
        "ram_speed_mt_per_s": 3200,
        "gpus": [{"name": "H100", "memory_bytes": 80 * 2**30, "power_limit_w": 700.0, "ecc": True}],
        "torch_switches": {"cudnn_tf32": True, "matmul_precision": "highest"},
        "of_another_engine_bytes": 7,
    }
    tables = {table.caption: table for table in fact_tables(summary_of(run_with(facts)).facts)}
    assert texts([tables["GPU"]]) == {
        "gpus.0.name": "H100",
        "gpus.0.memory_bytes": "80.0 GiB",
        "gpus.0.power_limit_w": "700 W",
        "gpus.0.ecc": "yes",
    }
    processor = texts([tables["Processor"]])
    assert (processor["cpu_max_mhz"], processor["cpu_smt"]) == ("3,800 MHz", "yes")
    assert processor["cpu_caches_bytes.L2"] == "1.00 MiB"
    memory = texts([tables["Memory"]])
    assert (memory["ram_bytes"], memory["ram_speed_mt_per_s"]) == ("24.0 GiB", "3,200 MT/s")
    assert texts([tables["Engine"]])["torch_switches.cudnn_tf32"] == "yes"
    assert texts([tables["Study and engine"]]) == {"of_another_engine_bytes": "7"}
    (tag,) = [row[0].tag for row in tables["GPU"].rows if row[0].text == "gpus.0.ecc"]
    assert tag == "whether its memory corrects errors"


def test_differences_are_printed_too_unless_rounding_hides_them(summary_of):
    once = {"cpu_max_mhz": 3800.0, "ram_bytes": 24 * 2**30, "weights_sha256": "a"}
    then = {"cpu_max_mhz": 3500.0, "ram_bytes": 24 * 2**30 - 4096, "weights_sha256": "a"}
    found = {one.name: one for one in summary_of(run_with(once, then)).differences}
    assert found.keys() == {"cpu_max_mhz", "ram_bytes"}
    assert found["cpu_max_mhz"].values == {"3,800 MHz": 1, "3,500 MHz": 1}
    assert found["ram_bytes"].values == {str(24 * 2**30): 1, str(24 * 2**30 - 4096): 1}


@pytest.mark.parametrize(
    "name, one, other, matters",
    [
        ("cpu_governor", "powersave", "performance", "speed"),
        ("torch_switches", {"cudnn_tf32": True}, {"cudnn_tf32": False}, "speed and answers"),
        ("questions_sha256", "a", "b", "answers"),
        ("nix_package", "a", "b", "nothing by itself"),
        ("of_another_engine", 1, 2, "–"),
    ],
)
def test_what_a_difference_matters_for(name, one, other, matters, summary_of):
    table = difference_table(summary_of(run_with({name: one}, {name: other})))
    assert [column.title for column in table.columns] == [
        *("Fact", "Values", "Matters for", "Explained by")
    ]
    (row,) = table.rows
    assert row[2].text == matters


def test_all_distributions_are_one_fact():
    facts = {fact.name: fact for fact in flatten(PROVENANCE)}
    assert facts["distributions"].value == "82 distributions, sha256 0123456789ab…"
    assert facts["distributions"].listed == MANY
    assert "distributions_sha256" not in facts
    assert not [name for name in facts if name.startswith("distributions.")]


def test_distributions_that_are_unavailable_keep_their_reason():
    off = {"unavailable": "probes are switched off"}
    facts = flatten({"distributions": off, "distributions_sha256": off})
    assert [(fact.name, fact.value, fact.why_missing) for fact in facts] == [
        ("distributions", None, "probes are switched off"),
        ("distributions_sha256", None, "probes are switched off"),
    ]
    assert distribution_list(facts) == ()


def test_facts_stand_in_groups_and_provenance_before_the_versions(summary_of):
    tables = fact_tables(summary_of(run_with({**PROVENANCE, "threads": 1})).facts)
    assert [table.caption for table in tables] == [
        *("Processor", "Memory", "GPU", "Provenance", "Software", "Study and engine")
    ]
    provenance = tables[3]
    assert texts([provenance]) == {
        "provenance": "venv",
        "nix_interpreter": "–",
        "constraints": "constraints.txt",
        "constraints_sha256": "c" * 64,
        "distributions": "82 distributions, sha256 0123456789ab…",
        "distributions_outside": "none",
    }
    assert provenance.footnotes == ("not from the Nix store",)
    assert provenance.rows[0][0].tag.startswith("where Python and its packages come from")
    assert texts([tables[-1]]) == {"threads": "1"}


def test_both_forms_of_the_report_list_the_distributions_out_of_the_way(summary_of):
    page = make_page(summary_of(run_with(PROVENANCE)))
    html, markdown = render_html(page), render_markdown(page)
    assert html.count("82 distributions, sha256 0123456789ab…") == 1
    listed = html.split("<summary>The installed distributions</summary>")[1].split("</details>")[0]
    assert listed.count("<li>") == len(MANY)
    assert "<li>torch 2.0.1</li>" in listed
    listed = markdown.split("<details><summary>The installed distributions</summary>")[1]
    assert "package-00 1.0, package-01 1.1," in listed.split("</details>")[0]
    assert "| distributions (" in markdown


def test_without_distributions_there_is_no_list(summary_of):
    page = make_page(summary_of(run_with({})))
    assert "The installed distributions" not in render_html(page) + render_markdown(page)


def test_names_of_distributions_are_shown_and_not_obeyed(summary_of):
    hostile = {"<script>x": "1|2", "*a*": "</details>"}
    page = make_page(summary_of(run_with({**PROVENANCE, "distributions": hostile})))
    assert "<script>" not in render_html(page)
    markdown = render_markdown(page)
    assert r"&lt;script>x 1\|2, \*a\* &lt;/details>" in markdown


def test_distributions_that_changed_are_one_row_and_one_warning(summary_of):
    after = updated(torch="2.13.0", numpy="2.4.6", **{f"package-{n:02}": "2" for n in range(70)})
    summary = summary_of(run_with(PROVENANCE, PROVENANCE, after))
    (change,) = summary.differences
    assert (change.name, list(change.values.values())) == ("distributions", [2, 1])
    said = (
        "torch 2.0.1 / 2.13.0, numpy 1.24.2 / 2.4.6, package-00 1.0 / 2, package-01 1.1 / 2; "
        "68 more"
    )
    assert change.says == said
    (row,) = difference_table(summary).rows
    assert [cell.text for cell in row] == [
        "distributions",
        f"{said} (2 records / 1 record)",
        "nothing by itself",
        "nothing: it changed",
    ]
    (warning,) = [one for one in summary.warnings if "distributions" in one]
    assert warning.startswith("Facts that need not be the same for a comparison changed")
    assert distribution_list(summary.facts) == ()  # they have no one list


@pytest.mark.parametrize(
    "sets, said",
    [
        ([{"a": "1", "b": "1"}, {"a": "2", "b": "1"}], "a 1 / 2"),
        ([{"a": "1"}, {}], "a 1 / –"),
        ([{}, {"zlib": "1", "torch": "2"}], "torch – / 2, zlib – / 1"),
        ([{"a": "1"}, {"a": "2"}, {"a": "1", "b": "3"}], "a 1 / 2, b – / 3"),
    ],
)
def test_what_differs_is_named_with_its_versions(sets, said):
    assert distribution_changes(sets) == said


def changes_in(warnings):
    return [warning for warning in warnings if "changed during the run" in warning]


def test_changes_that_no_comparison_needs_are_one_sentence(summary_of):
    nix = {**PROVENANCE, "provenance": "nix", "nix_interpreter": "/nix/store/x"}
    more = dict.fromkeys(("os", "kernel_build", "aslr", "container", "safetensors"), "a")
    run = run_with({**PROVENANCE, **more}, {**nix, **dict.fromkeys(more, "b")})
    (warning,) = changes_in(summary_of(run).warnings)
    assert warning == (
        "Facts that need not be the same for a comparison changed during the run: aslr, container, "
        "kernel_build, os, provenance and 1 more. The report’s table of facts that differ has "
        "their values."
    )


def test_a_change_that_matters_says_for_what(summary_of):
    first, second = {"kernel": "5", "numpy": "1", "own": "a"}, {"kernel": "6", "numpy": "1"}
    run = run_with({**first, "tokenizers": "1"}, {**second, "own": "b", "tokenizers": "2"})

    def both(one, other):
        return f"{one} (1 record) and {other} (1 record)"

    differ = "trials before and after may differ by it."
    assert changes_in(summary_of(run).warnings) == [
        f"kernel changed during the run: {both('5', '6')}. It matters for speed: {differ}",
        f"own changed during the run: {both('a', 'b')}. For what it matters is not known.",
        f"tokenizers changed during the run: {both('1', '2')}. It matters for answers: {differ}",
    ]


def test_a_variable_that_was_set_later_is_a_change():
    first = {"env": {}, "gpus": [{"name": "a"}], "torch_switches": {"unavailable": "crashed"}}
    second = {"env": {"OMP_NUM_THREADS": "1"}, "gpus": [{"name": "a"}, {"name": "b"}]}
    run = run_with(first, {**second, "torch_switches": {"deterministic": True}}, {})
    found = {change.name: change.values for change in differences(run.records)}
    assert found == {
        "env.OMP_NUM_THREADS": {"not set": 1, "1": 1},
        "gpus.1.name": {"not set": 1, "b": 1},
    }
    assert "env.OMP_NUM_THREADS" not in {fact.name for fact in all_facts({}, run.records)}


def test_converted_weights_on_another_disk_are_no_surprise(summary_of):
    facts = [{"weights_disk": "hard disk", "kernel": "5"}, {"weights_disk": "SSD", "kernel": "6"}]
    run = run_with(*facts, *facts)
    kept = ConvertedFile(file="x", source_sha256="0", plan="p", bytes=1, made_now=False)
    found = {one.name: one for one in differences(run.records)}
    assert found["weights_disk"].follows is None
    run.records[1::2] = [msgspec.structs.replace(r, converted=kept) for r in run.records[1::2]]
    found = {one.name: one for one in differences(run.records)}
    assert found["weights_disk"].follows == "conversion of weights"
    assert found["kernel"].follows is None
    assert found["weights_disk"].must_match == ("loading",)


def test_on_another_machine_not_every_fact_has_a_sentence(summary_of):
    names = ["arch", "kernel", "libc", "numpy", "python", "torch", "torch_git", "vbios"]
    run = run_with(dict.fromkeys(names, "a"), dict.fromkeys(names, "b"))
    *single, last = changes_in(summary_of(run).warnings)
    assert [one.partition(" ")[0] for one in single] == names[:5]
    assert last == (
        "3 more facts that should have stayed the same changed during the run: torch, torch_git "
        "and vbios. The report’s table of facts that differ has all."
    )


@pytest.mark.parametrize(
    "names, shown",
    [
        (["numpy"], "numpy was found outside it"),
        (["numpy", "tqdm"], "numpy and tqdm were found outside it"),
        ([f"p{n}" for n in range(9)], "p0, p1, p2, p3, p4 and 4 more were found outside it"),
    ],
)
def test_what_no_environment_pins_is_warned_of(names, shown, summary_of):
    summary = summary_of(run_with({**PROVENANCE, "distributions_outside": names}))
    assert [shown in w for w in summary.warnings if "pins" in w] == [True]


def test_a_stranger_in_some_records_is_warned_of_too(summary_of):
    summary = summary_of(run_with(PROVENANCE, {**PROVENANCE, "distributions_outside": ["tqdm"]}))
    assert any("tqdm was found outside it" in warning for warning in summary.warnings)


@pytest.mark.parametrize("outside", [[], {"unavailable": "a system's Python"}, None])
def test_without_strangers_there_is_no_warning(outside, summary_of):
    summary = summary_of(run_with({**PROVENANCE, "distributions_outside": outside}))
    assert not [warning for warning in summary.warnings if "outside" in warning]


def test_what_all_records_say_goes_before_the_runs_own_facts():
    run = run_with(updated(torch="2.13.0"))
    known = {fact.name: fact for fact in all_facts({**FACTS, **PROVENANCE}, run.records)}
    assert known["distributions"].listed["torch"] == "2.13.0"
    run = run_with({"torch": {"unavailable": "crashed"}})
    known = {fact.name: fact for fact in all_facts(FACTS, run.records)}
    assert known["torch"].value == "2.0.1"


@pytest.mark.parametrize("changed", [False, True])
def test_a_trial_that_did_not_come_far_adds_no_missing_fact_to_its_parts(changed):
    short = {"torch_build": {"unavailable": "the trial did not come this far"}}
    builds = [{"torch_build": {"USE_MKL": "ON"}}, {"torch_build": {"USE_MKL": "OFF"}}]
    run = run_with(short, builds[0], builds[1 if changed else 0], short)
    named = {fact.name for fact in all_facts({}, run.records) if "torch_build" in fact.name}
    assert named == (set() if changed else {"torch_build.USE_MKL"})
    for value, part in (("on", "ON"), ({"unavailable": "why"}, {"unavailable": "why too"})):
        run = run_with({"torch_build": {"USE_MKL": part}})
        named = {fact.name for fact in all_facts({"torch_build": value}, run.records)}
        assert {"torch_build", "torch_build.USE_MKL"} <= named  # neither says what the other does
    (alone,) = all_facts({}, run_with(short).records)[-1:]
    assert (alone.name, alone.why_missing) == ("torch_build", "the trial did not come this far")


@pytest.mark.parametrize("models", [["tiny"], ["tiny", "random-1.5b"]])
def test_hashes_of_a_runs_models_have_the_names_of_facts(models):
    hashes = {
        name: {"weights_sha256": f"w {name}", "tokenizer_sha256": None if at else "t"}
        for at, name in enumerate(models)
    }
    identity = {"software": {"torch": "2"}, "study_sha256": "s", "models": hashes}
    facts = {**FACTS, "identity": identity}
    found = [{"weights_sha256": f"w {name}", "study_sha256": "s"} for name in models]
    (table,) = [
        table
        for table in fact_tables(all_facts(facts, run_with(*found).records))
        if table.caption == "Study and engine"
    ]
    several = {f"weights_sha256 of {name}": f"w {name}" for name in models}
    assert texts([table]) == {
        "study_sha256": "s",
        **(several if len(models) > 1 else {"weights_sha256": "w tiny"}),
        f"tokenizer_sha256{' of tiny' if len(models) > 1 else ''}": "t",
    }
    whats = {row[0].text.partition(" ")[0]: row[0].tag for row in table.rows}
    assert whats["weights_sha256"] == "hash of the model's weights"


@pytest.mark.parametrize("path", sorted(OLD_RECORDS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_facts_of_old_records_are_shown(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    records = [msgspec.json.decode(line, type=Record) for line in lines]
    known = json.loads(lines[0])["facts"]
    shown = texts(fact_tables(all_facts(known, records)))
    assert shown["cpu_model"] == known["cpu_model"]
    assert {name for name in known if not isinstance(known[name], (dict, list))} <= shown.keys()
    assert differences(records) == ()
