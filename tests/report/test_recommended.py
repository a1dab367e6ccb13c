"""What a recommendation says."""

from __future__ import annotations

from dataclasses import replace

from test_recommend import GIB, option

from harness.report.costs import costs
from harness.report.ranking import Ranking
from harness.report.recommend import Wishes, recommend
from harness.report.recommended import misses, ranking_sentence, table, unmeasured
from harness.report.retyped import wish_options

REFERENCE = option(
    "cpu fp32",
    3.0,
    20.0,
    12,
    0,
    1.0,
    is_reference=True,
    decode_trials=(2.99, 3.0, 3.01),
    prefill_trials=(19.9, 20.0, 20.1),
    kl_mean=0.0,
    kl_most=0.0,
    right=(20, 24),
)
BEST = option(
    "cuda fp16",
    40.0,
    900.0,
    2.5,
    6,
    0.995,
    decode_trials=(39.9, 40.0, 40.1),
    prefill_trials=(899.0, 900.0, 901.0),
    kl_mean=0.002,
    kl_most=0.002,
    right=(19, 24),
)
SECOND = replace(
    BEST,
    name="cuda fp16i8",
    decode_tok_per_s=30.0,
    decode_trials=(29.9, 30.0, 30.1),
    prefill_tok_per_s=450.0,
    prefill_trials=(449.0, 450.0, 451.0),
    vram_bytes=int(3.5 * GIB),
    agreement=0.972,
    right=(19, 24),
)
FAILED = option("cuda fp32", None, None, None, None, None, unfit="out of memory (device): full")
UNKNOWN = option(
    "cuda bf16", None, 1.0, 1, 1, None, why_missing=(("decode_tok_per_s", "skipped: no GPU."),)
)
ALL = (REFERENCE, BEST, SECOND, FAILED, UNKNOWN)


def ranking(options=ALL, **wishes):
    asked = Wishes(**wishes)
    reference = next((one.name for one in options if one.is_reference), None)
    options = [replace(one, reference=reference) for one in options]
    return Ranking(
        model="raven",
        machine="here",
        runs=("r",),
        wishes=asked,
        options=tuple(options),
        found=recommend(options, asked),
    )


def test_the_sentence_says_what_to_run_and_what_is_behind():
    assert ranking_sentence(ranking()) == (
        "run “cuda fp16”: 40.0 tok/s, 2.50 GiB of RAM, 6.00 GiB of VRAM, 99.50 % of tokens as "
        "under the exact model, 19 of 24 answers right; behind it “cuda fp16i8” "
        "(0.750 × the speed)."
    )
    assert ranking_sentence(ranking(vram_bytes=0)) == (
        "run “cpu fp32”: 3.00 tok/s, 12.0 GiB, 100 % of tokens as under the exact model, "
        "20 of 24 answers right; no other qualifies."
    )
    assert ranking_sentence(ranking(prefer="prefill")).startswith(
        "run “cuda fp16”: 900 tok/s of prefill, "
    )
    assert "(1.42 × the memory)" in ranking_sentence(ranking([BEST, SECOND], prefer="memory"))


def test_what_cannot_be_told_apart_is_said_and_named():
    noisy = [replace(SECOND, name=name, decode_trials=(10.0, 30.0, 50.0)) for name in "abcd"]
    text = ranking_sentence(ranking([BEST, *noisy[:1]]))
    assert text.endswith("; not told apart from it: “a” (0.750 × the speed).")
    assert ranking_sentence(ranking([BEST, *noisy])).endswith(
        "; not told apart from it: “a” (0.750 × the speed), “b” (0.750 × the speed) and 2 others."
    )
    # Also where another one, which can be told apart, comes before it.
    assert "not told apart from it: “a”" in ranking_sentence(ranking([BEST, SECOND, noisy[0]]))


def test_where_nothing_qualifies_the_sentence_says_what_would():
    assert ranking_sentence(ranking(vram_bytes=2 * GIB, ram_bytes=3 * GIB)) == (
        "nothing qualifies; nearest is “cuda fp16i8”, with --vram 3584MiB."
    )
    assert ranking_sentence(ranking([UNKNOWN])) == (
        "nothing to recommend: decode speed not measured: skipped: no GPU."
    )
    assert ranking_sentence(ranking([FAILED])) == (
        "nothing to recommend, as no strategy was measured: out of memory (device): full."
    )
    nothing = option("cuda fp16", 1.0, 1.0, 1, 1, 1.0, unfit="crashed")
    assert ranking_sentence(ranking([nothing])) == "nothing to recommend: crashed."


def test_each_miss_says_by_how_much_and_what_to_type():
    assert list(misses(ranking(vram_bytes=5 * GIB, ram_bytes=3 * GIB, min_agreement=0.98))) == [
        "“cuda fp16” takes 6.00 GiB of VRAM, 1.00 GiB too much. It qualifies with --vram 6GiB.",
        (
            "“cuda fp16i8” agrees on 97.20 % of tokens, 0.800 points less than is asked. It "
            "qualifies with --min-agreement 97.20%."
        ),
        "“cpu fp32” takes 12.0 GiB of RAM, 9.00 GiB too much. It qualifies with --ram 12GiB.",
    ]
    assert list(misses(ranking())) == []


def test_costs_stand_beside_the_best_and_beside_the_reference():
    behind, best, second = costs(ranking())
    assert behind == (
        "“cuda fp16i8” beside the best, “cuda fp16”: 0.750 × the decode speed (0.745 to 0.755), "
        "0.500 × the prefill speed (0.498 to 0.502), the same RAM, 2.50 GiB less VRAM, 2.30 points "
        "less agreement, the same KL of 2.0e−3, as many right answers."
    )
    assert best.startswith("“cuda fp16” beside the reference, “cpu fp32”: 13.3 × the decode speed")
    assert best.endswith(
        "9.50 GiB less RAM, 6.00 GiB more VRAM, 0.500 points less agreement, a KL of 2.0e−3 "
        "instead of < 1e−9, 1 right answer fewer."
    )
    assert second.startswith("“cuda fp16i8” beside the reference, “cpu fp32”: 10.0 × the decode")
    [beside] = costs(ranking([REFERENCE, BEST]))  # it is the runner-up: that says it all
    assert beside.startswith("“cpu fp32” beside the best, “cuda fp16”: 0.0750 × the decode")
    assert beside.endswith("1 right answer more.")


def test_right_answers_to_other_questions_are_not_compared():
    [text] = costs(ranking([BEST, replace(SECOND, right=(19, 20))]))
    assert "answer" not in text


def test_the_table_has_all_that_qualify_and_the_reference():
    shown = table(ranking(ram_bytes=4 * GIB))
    titles = [column.title for column in shown.columns]
    assert titles == [
        "Strategy",
        "Decode\ntok/s",
        "Prefill\ntok/s",
        "RAM",
        "VRAM",
        "Agrees",
        "KL",
        "Right",
    ]
    assert ["|".join(cell.text for cell in row) for row in shown.rows] == [
        "cuda fp16 (best)|40.0|900|2.50 GiB|6.00 GiB|99.50 %|2.0e−3|19 of 24",
        "cuda fp16i8 (next)|30.0|450|2.50 GiB|3.50 GiB|97.20 %|2.0e−3|19 of 24",
        "cpu fp32 (no choice, reference)|3.00|20.0|12.0 GiB|0 B|100 %|< 1e−9|20 of 24",
    ]
    assert shown.caption == "raven: at most 4.00 GiB of RAM; fastest decoding first"
    assert "VRAM" not in [column.title for column in table(ranking([REFERENCE])).columns]
    assert table(ranking([FAILED])) is None
    assert table(ranking([replace(FAILED, is_reference=True)])) is None  # it has no figures


def test_a_bound_of_the_divergence_is_not_shown_as_the_figure():
    bounded = replace(BEST, kl_mean=0.1, kl_most=0.2)
    unbounded = replace(BEST, name="b", kl_most=None)
    missing = replace(BEST, name="c", kl_mean=None, kl_most=None)
    tiny = [
        replace(BEST, name=f"d{most}", kl_mean=0.0, kl_most=most) for most in (None, 2e-5, 1e-10)
    ]
    options = [bounded, unbounded, missing, *tiny]
    rows = {row[0].text: row[6] for row in table(ranking(options)).rows}
    assert {name: cell.text for name, cell in rows.items()} == {
        "b (best)": "≥ 2.0e−3",
        "c (next)": "–",
        "cuda fp16": "0.100 to\n0.200",
        "d1e-10": "< 1e−9",
        "d2e-05": "≤ 2.0e−5",
        "dNone": "no bound",
    }
    assert rows["c (next)"].why


def test_what_is_no_choice_or_not_known_has_its_reason():
    unscored = replace(BEST, name="b", agreement=None, why_missing=(("agreement", "not scored"),))
    careful = replace(SECOND, cautions=("1 of 3 trials of 'speed' failed: crashed",))
    all_of_it = list(unmeasured(ranking([*ALL[:1], BEST, careful, unscored, FAILED, UNKNOWN],
                                        ram_bytes=4 * GIB)))  # fmt: skip
    assert all_of_it == [
        ("Not under the limits", "“cpu fp32”: takes 12.0 GiB of RAM, more than 4.00 GiB."),
        ("No choice", "“cuda fp32”: out of memory (device): full."),
        ("Not known", "“cuda bf16”: decode speed not measured: skipped: no GPU."),
        ("Without quality", "“b”: not scored."),
        ("Careful", "“cuda fp16i8”: 1 of 3 trials of 'speed' failed: crashed."),
    ]


def test_a_limit_within_the_interval_of_the_agreement_is_said():
    unsure = replace(BEST, agreement_low=0.985, agreement_high=0.999)
    [(heading, text)] = unmeasured(ranking([unsure], min_agreement=0.99))
    assert heading == "Careful"
    assert "98.50 % to 99.90 %, and 99 % lies between" in text
    assert list(unmeasured(ranking([unsure], min_agreement=0.98))) == []
    assert list(unmeasured(ranking([unsure], min_agreement=0.985))) == []
    assert list(unmeasured(ranking([unsure]))) == []


def test_the_wishes_can_be_typed_again():
    wishes = Wishes(vram_bytes=5, ram_bytes=7, min_agreement=0.99, prefer="memory")
    assert wish_options(wishes, without=["ram_bytes"]) == [
        *("--vram", "5B", "--min-agreement", "99%", "--prefer", "memory")
    ]
    assert wish_options(Wishes(vram_bytes=0)) == ["--vram", "0"]


def reasons(options, **wishes):
    """What the sentence says where there is nothing to recommend."""
    return ranking_sentence(ranking(options, **wishes)).removeprefix("nothing to recommend")


def missing(*fields, why="skipped: no GPU", **more):
    """An option that lacks these figures, and has all others."""
    whole = replace(BEST, agreement_low=None, agreement_high=None, **more)
    return replace(
        whole,
        **dict.fromkeys(fields),
        why_missing=tuple((field, why) for field in fields),
    )


FIGURES = ("decode_tok_per_s", "prefill_tok_per_s", "ram_bytes", "vram_bytes", "agreement")


def test_why_there_is_nothing_to_recommend_is_the_reason_that_counts():
    skipped = missing(*FIGURES, name="cuda fp16")
    crashed = missing(*FIGURES, name="cpu fp32", why="crashed: x", unfit="crashed: x")
    broken = missing(*FIGURES, name="b", why="wrong answers: y.", unfit="wrong answers: y.")
    unsteady = replace(BEST, name="d", unfit="nondeterministic: 1 answer changed")
    # All skipped, all failed, the gate failed: one reason, without names.
    assert reasons([skipped, skipped]) == ", as no strategy was measured: skipped: no GPU."
    assert reasons([crashed]) == ", as no strategy was measured: crashed: x."
    assert reasons([broken], prefer="memory") == ", as no strategy was measured: wrong answers: y."
    scored = missing(*FIGURES[:-1], name="cpu fp32")  # as with --only quality
    assert reasons([scored]) == ", as no speed was measured: skipped: no GPU."
    # Several reasons have names, and failures come before what was not tried.
    assert reasons([skipped, crashed]) == (
        ", as no strategy was measured: “cpu fp32”: crashed: x; “cuda fp16”: skipped: no GPU."
    )
    others = [
        replace(skipped, name=name, why_missing=(("decode_tok_per_s", name),)) for name in "xyz"
    ]
    assert reasons([crashed, *others]) == (
        ", as no strategy was measured: “cpu fp32”: crashed: x; “x”: x; 2 others for other reasons."
    )
    # What was measured and is no choice counts for more than what was skipped.
    assert reasons([skipped, unsteady]) == (
        ": “d”: nondeterministic: 1 answer changed; “cuda fp16”: decode speed not measured: "
        "skipped: no GPU."
    )


def test_a_figure_that_nothing_has_is_why_there_is_nothing_to_recommend():
    late = {"why": "not run"}
    assert reasons([missing("decode_tok_per_s", **late)]) == ": decode speed not measured: not run."
    assert reasons([missing("ram_bytes", **late)], ram_bytes=GIB) == ": RAM not measured: not run."
    assert reasons([missing("vram_bytes", **late)], vram_bytes=0) == ": VRAM not measured: not run."
    assert reasons([missing("ram_bytes", **late)], prefer="memory") == (
        ": RAM not measured: not run."
    )
    assert reasons([missing("agreement", **late)], min_agreement=0.9) == (
        ": agreement not measured: not run."
    )
    # No limit on memory that gives would help, and so none is named.
    assert reasons([missing("agreement", **late)], min_agreement=0.9, ram_bytes=GIB) == (
        ": takes 2.50 GiB of RAM, more than 1.00 GiB; agreement not measured: not run."
    )


def test_where_only_one_is_left_it_is_said_why():
    assert ranking_sentence(ranking([REFERENCE])).endswith("answers right.")
    assert ranking_sentence(ranking([REFERENCE, UNKNOWN])).endswith("; no other qualifies.")
    lost = missing(*FIGURES, name="cuda fp16")
    assert ranking_sentence(ranking([REFERENCE, FAILED, lost])).endswith("; no other was measured.")


def test_memory_that_was_not_measured_of_an_accelerator_is_not_said_to_be_none():
    one = missing("vram_bytes", name="cuda fp16")
    assert "2.50 GiB of RAM, 99.50 %" in ranking_sentence(ranking([one]))


def kl_beside(mine, its, **more):
    """What stands in a cost of two divergences, each (least, most)."""
    best = replace(BEST, kl_mean=its[0], kl_most=its[1])
    second = replace(SECOND, kl_mean=mine[0], kl_most=mine[1], **more)
    [text] = costs(ranking([best, second]))
    return next((part for part in text[:-1].split(", ") if "KL" in part), None)


def test_bounds_of_a_divergence_are_compared_as_bounds():
    assert kl_beside((2e-5, 2e-5), (0.0, 0.0)) == "a KL of 2.0e−5 instead of < 1e−9"
    assert kl_beside((5e-10, 5e-10), (0.0, 0.0)) == "the same KL of < 1e−9"
    assert kl_beside((2e-5, 3e-5), (1e-5, 1e-5)) == "a KL of 2.0e−5 to 3.0e−5 instead of 1.0e−5"
    assert kl_beside((1e-5, 1e-5), (2e-5, 3e-5)) == "a KL of 1.0e−5 instead of 2.0e−5 to 3.0e−5"
    unsure = "(the bounds do not tell which is less)"
    assert kl_beside((2e-5, 3e-5), (2.5e-5, 2.5e-5)) == (
        f"a KL of 2.0e−5 to 3.0e−5 beside 2.5e−5 {unsure}"
    )
    assert kl_beside((0.0, 3e-5), (2e-5, 2e-5)) == f"a KL of ≤ 3.0e−5 beside 2.0e−5 {unsure}"
    assert kl_beside((2e-5, None), (3e-5, 3e-5)) == f"a KL of ≥ 2.0e−5 beside 3.0e−5 {unsure}"
    assert kl_beside((4e-5, None), (3e-5, 3e-5)) == "a KL of ≥ 4.0e−5 instead of 3.0e−5"
    for sides in ((0.0, None), (3e-5, 3e-5)), ((3e-5, 3e-5), (0.0, None)):
        assert kl_beside(*sides) == "no KL to compare"  # and behind the comma why
    # Bounds that read alike are one number.
    assert kl_beside((2.01e-5, 2.02e-5), (9e-5, 9e-5)) == "a KL of 2.0e−5 instead of 9.0e−5"
    assert kl_beside((0.0, 1e-10), (0.0, 0.0)) == "the same KL of < 1e−9"
    assert kl_beside((2e-5, 2.01e-5), (2e-5, 2.01e-5)).endswith(unsure)


def test_quality_on_other_tokens_and_answers_to_other_questions_are_not_compared():
    assert kl_beside((1e-5, 1e-5), (2e-5, 2e-5), scored_on="its own answers") is None
    apart = replace(SECOND, scored_on="its own answers", questions="abc")
    [text] = costs(ranking([BEST, apart]))
    assert "agreement" not in text
    assert "answer" not in text


def test_agreements_whose_intervals_overlap_are_not_told_apart():
    best = replace(BEST, agreement_low=0.98, agreement_high=0.999)
    near = replace(SECOND, agreement_low=0.95, agreement_high=0.98)
    [text] = costs(ranking([best, near]))
    assert "2.30 points less agreement (not told apart)" in text
    [text] = costs(ranking([best, replace(near, agreement_high=0.979)]))
    assert "2.30 points less agreement, " in text
    [text] = costs(ranking([near, best], prefer="prefill"))  # told from the other side
    assert "2.30 points less agreement (not told apart)" in text


def test_a_reason_that_is_everyones_stands_without_all_their_names():
    unscored = [missing("agreement", name=name, why="not asked for") for name in "ab"]
    [(heading, text)] = unmeasured(ranking(unscored))
    assert (heading, text) == ("Without quality", "every one of these: not asked for.")
    [(_, text)] = unmeasured(ranking(unscored[:1]))
    assert text == "“a”: not asked for."
    [(_, text)] = unmeasured(ranking([BEST, *unscored]))
    assert text == "“a” and “b”: not asked for."


def test_a_caution_of_several_is_said_once_and_with_one_full_stop():
    both = [replace(BEST, name=name, cautions=("'quality' failed: late.",)) for name in "ab"]
    assert list(unmeasured(ranking(both))) == [("Careful", "“a” and “b”: 'quality' failed: late.")]


def test_each_is_compared_with_the_reference_of_its_own_threads():
    one, two = (
        [
            replace(each, name=f"{each.name}, {n}", reference=f"cpu fp32, {n}")
            for each in (REFERENCE, BEST)
        ]
        for n in (1, 2)
    )
    options = [*one, *two]
    asked = Wishes(min_agreement=0.9)
    shown = Ranking(
        model="m",
        machine="here",
        runs=("r",),
        wishes=asked,
        options=tuple(options),
        found=recommend(options, asked),
    )
    assert shown.found.best.name == "cuda fp16, 1"
    _, best, second = costs(shown)
    assert best.startswith("“cuda fp16, 1” beside the reference, “cpu fp32, 1”: ")
    assert second.startswith("“cuda fp16, 2” beside the reference, “cpu fp32, 2”: ")
    assert shown.reference.name == "cpu fp32, 1"


def test_no_accelerator_at_all_reads_as_a_limit():
    assert table(ranking(vram_bytes=0)).caption == "raven: no VRAM; fastest decoding first"
    caption = table(ranking(min_agreement=0.99999)).caption
    assert caption == "raven: at least 99.999 % agreement; fastest decoding first"


def test_an_interval_that_says_nothing_is_called_too_noisy():
    wild = replace(SECOND, decode_trials=(1.0, 30.0, 90.0))
    [text] = costs(ranking([BEST, wild]))
    assert "0.750 × the decode speed (too noisy to tell), " in text
    once = replace(SECOND, decode_trials=(30.0,))
    assert "0.750 × the decode speed, " in next(costs(ranking([BEST, once])))


def test_memory_within_a_percent_is_the_same():
    for more, said in ((1.009, "the same RAM"), (1.011, "28.2 MiB more RAM")):
        second = replace(SECOND, ram_bytes=int(BEST.ram_bytes * more))
        [text] = costs(ranking([BEST, second]))
        assert f", {said}, " in text


def test_the_reference_is_never_the_exact_model():
    other = replace(REFERENCE, name="cpu fp32i8", agreement=0.99)
    said = ranking([other], min_agreement=0.9)
    assert "99.00 % of tokens as under the exact model" in ranking_sentence(said)
    assert table(said).rows[0][0].text == "cpu fp32i8 (best, reference)"
