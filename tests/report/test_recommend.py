"""The recommendation against the obvious way to find it: look at every option."""

import random

import pytest

from harness.report.recommend import (
    PREFERENCES,
    Option,
    Wishes,
    against,
    is_behind,
    recommend,
)

GIB = 2**30


def option(name, decode, prefill, ram, vram, agreement, **more):
    return Option(
        name=name,
        decode_tok_per_s=decode,
        prefill_tok_per_s=prefill,
        ram_bytes=None if ram is None else int(ram * GIB),
        vram_bytes=None if vram is None else int(vram * GIB),
        agreement=agreement,
        **more,
    )


# Twelve cells, with ties, with figures that are missing, and with some that failed. In memory two
# lie within a percent, the larger one being faster, and a third within one of the larger alone.
OPTIONS = [
    option("cpu fp32", 3.0, 20.0, 12.0, 0, 1.0),
    option("cpu bf16", 5.0, 18.0, 6.5, 0, 0.985),
    option("cpu fp32i8", 4.0, 9.0, 4.0, 0, 0.97),
    option("cuda fp16", 40.0, 900.0, 2.5, 6.0, 0.995),
    option("cuda fp16i8", 31.0, 400.0, 2.5, 3.5, 0.972),
    option("cuda fp16i8 *20 -> cuda fp16", 35.0, 600.0, 2.5, 4.1, 0.981),
    option("cuda fp16 *20 -> cpu fp32", 8.0, 60.0, 5.0, 3.0, 0.997),
    option("cuda fp16 *10+", 12.0, 500.0, 6.0, 2.2, 0.995),
    option("cuda bf16", 40.0, 880.0, 2.5, 6.0, None, why_missing=(("agreement", "no reference"),)),
    option("cuda fp32", None, None, 2.5, 11.5, 1.0, unfit="out_of_memory_device"),
    option("cpu fp16", 6.0, None, 6.55, 0, 0.99),
    option("cuda fp16i8 *32 -> cpu fp32", 31.0, 410.0, None, 3.4, 0.972),
]


def obvious(wishes):
    """Every option that keeps to the limits, best first, by its figures in GiB alone."""
    ram, vram = (n and n / GIB for n in (wishes.ram_bytes, wishes.vram_bytes))
    fit = []
    for one in OPTIONS:
        has_ram = None if one.ram_bytes is None else one.ram_bytes / GIB
        has_vram = one.vram_bytes / GIB
        keeps = [
            one.name != "cuda fp32",  # which failed
            ram is None or (has_ram is not None and has_ram <= ram),
            vram is None or has_vram <= vram,
            wishes.min_agreement is None
            or (one.agreement is not None and one.agreement >= wishes.min_agreement),
            wishes.prefer != "memory" or has_ram is not None,
            wishes.prefer != "decode" or one.decode_tok_per_s is not None,
            wishes.prefer != "prefill" or one.prefill_tok_per_s is not None,
        ]
        if all(keeps):
            total = 1e9 if has_ram is None else has_ram + has_vram
            fit.append((one.name, total, one.decode_tok_per_s, one.prefill_tok_per_s))
    order = []
    while fit:
        rest = fit
        if wishes.prefer == "memory":
            least = min(total for _, total, *_ in fit)
            rest = [one for one in fit if one[1] <= least * 1.01]
        speed = {"decode": 2, "prefill": 3, "memory": 2}[wishes.prefer]
        fastest = [one for one in rest if one[speed] == max(each[speed] for each in rest)]
        small = [one for one in fastest if one[1] == min(each[1] for each in fastest)]
        order.append(min(small))  # by its name
        fit.remove(order[-1])
    return [name for name, *_ in order]


def random_wishes(rng):
    def maybe(value):
        return None if rng.random() < 0.4 else value

    return Wishes(
        ram_bytes=maybe(int(rng.uniform(1, 14) * GIB)),
        vram_bytes=maybe(int(rng.uniform(0, 13) * GIB)),
        min_agreement=maybe(rng.choice([0.9, 0.97, 0.972, 0.98, 0.99, 0.995, 0.999, 1.0])),
        prefer=rng.choice(PREFERENCES),
    )


@pytest.mark.parametrize("seed", range(200))
def test_it_is_what_looking_at_every_option_finds(seed):
    wishes = random_wishes(random.Random(seed))
    found = recommend(OPTIONS, wishes)
    ranked = [one.name for one in (found.best, found.runner_up, *found.others) if one is not None]
    assert ranked == obvious(wishes)
    rest = [one.name for one, _ in (*found.refused, *found.unknown)]
    assert sorted(ranked + rest) == sorted(one.name for one in OPTIONS)


def test_the_random_limits_are_worth_trying():
    tried = [random_wishes(random.Random(seed)) for seed in range(200)]
    bests = [recommend(OPTIONS, wishes).best for wishes in tried]
    assert len({None if best is None else best.name for best in bests}) >= 8
    assert None in bests
    for prefer in PREFERENCES:
        mine = {str(best) for best, one in zip(bests, tried, strict=True) if one.prefer == prefer}
        assert len(mine) >= 5
    chains = [obvious(one) for one in tried if one.prefer == "memory"]
    chain = ["cpu fp16", "cpu bf16", "cuda fp16i8 *20 -> cuda fp16"]
    assert any([name for name in one if name in chain] == chain for one in chains)


def test_where_nothing_qualifies_each_option_says_why():
    found = recommend(OPTIONS, Wishes(ram_bytes=GIB))
    assert (found.best, found.runner_up, found.others) == (None, None, ())
    assert {one.name: why for one, why in found.refused}["cpu fp32"] == (
        "takes 12.0 GiB of RAM, more than 1.00 GiB"
    )
    assert [one.name for one, _ in found.unknown] == ["cuda fp16i8 *32 -> cpu fp32"]


def test_what_was_not_measured_is_never_taken_to_be_good():
    found = recommend(OPTIONS, Wishes(min_agreement=0.5))
    assert [(one.name, why) for one, why in found.unknown] == [
        ("cuda bf16", "agreement not measured: no reference")
    ]
    assert [one.name for one, why in found.refused] == ["cuda fp32"]


def test_sizes_that_differ_by_chance_are_one_size_and_the_faster_wins():
    options = [
        option("least", 10.0, 1.0, 1.0, 0, 1.0),
        option("as small", 20.0, 1.0, 1.009, 0, 1.0),
        option("larger", 90.0, 1.0, 1.02, 0, 1.0),
    ]
    found = recommend(options, Wishes(prefer="memory"))
    assert [found.best.name, found.runner_up.name, found.others[0].name] == [
        "as small",
        "least",
        "larger",
    ]
    assert not is_behind(options[0], found.best, "memory")
    assert not is_behind(options[1], options[0], "memory")
    assert is_behind(options[2], found.best, "memory")


def test_the_least_memory_is_told_of_all_of_it():
    options = [option("a", 9.0, 1.0, 1.0, None, 1.0), option("b", 1.0, 1.0, 5.0, 0, 1.0)]
    found = recommend(options, Wishes(prefer="memory"))
    assert found.best is options[1]
    assert found.unknown == ((options[0], "VRAM not measured"),)


def test_only_what_noise_cannot_explain_is_behind():
    best = option("best", 10.0, 7.0, 1, 0, 1.0, decode_trials=(9.9, 10.0, 10.1))
    clear = option("clear", 9.0, 9.0, 1, 0, 1.0, decode_trials=(8.9, 9.0, 9.1))
    noisy = option("noisy", 9.0, 9.0, 1, 0, 1.0, decode_trials=(7.0, 9.0, 11.0))
    once = option("once", 1.0, 1.0, 1, 0, 1.0, decode_trials=(1.0,))
    assert [is_behind(one, best, "decode") for one in (clear, noisy, once)] == [True, False, False]
    assert not is_behind(clear, best, "prefill")  # whose trials are not known
    assert against(clear, best, "decode").value == pytest.approx(0.9)
    assert against(clear, best, "prefill") is None


def test_prefill_is_compared_by_its_own_trials():
    best = option("best", 1.0, 9.0, 1, 0, 1.0, prefill_trials=(8.9, 9.0, 9.1))
    other = option("other", 9.0, 3.0, 1, 0, 1.0, prefill_trials=(2.9, 3.0, 3.1))
    assert recommend([other, best], Wishes(prefer="prefill")).best is best
    assert is_behind(other, best, "prefill")
    assert against(other, best, "prefill").value == pytest.approx(1 / 3)


def test_a_limit_that_is_missed_by_little_does_not_read_as_if_it_were_kept():
    one = option("close", 1.0, 1.0, 1, 8, 0.98999)
    [(_, why)] = recommend([one], Wishes(vram_bytes=8 * GIB - 1024)).refused
    assert why == "takes 8.00 GiB of VRAM, 1.00 KiB more than 8.00 GiB"
    [(_, why)] = recommend([one], Wishes(min_agreement=0.99)).refused
    assert why == "agrees on 98.99 % of tokens, less than 99 %"


def test_every_limit_that_is_broken_is_named():
    one = option("much", 1.0, 1.0, 2, 4, 0.9)
    wishes = Wishes(vram_bytes=3 * GIB, ram_bytes=GIB, min_agreement=0.95)
    [(_, why)] = recommend([one], wishes).refused
    assert why == (
        "takes 4.00 GiB of VRAM, more than 3.00 GiB; takes 2.00 GiB of RAM, more than 1.00 GiB; "
        "agrees on 90.00 % of tokens, less than 95 %"
    )


def test_what_so_few_tokens_cannot_refuse_is_said_to_be_unsure():
    one = option("near", 1.0, 1.0, 1, 0, 0.985, agreement_low=0.97, agreement_high=0.99)
    [(_, why)] = recommend([one], Wishes(min_agreement=0.99)).refused
    assert why.endswith("less than 99 %, as far as so few tokens can tell")
    [(_, why)] = recommend([one], Wishes(min_agreement=0.991)).refused
    assert why.endswith("less than 99.1 %")


def test_what_is_not_known_is_said_beside_a_limit_that_is_broken():
    one = option("both", None, 1.0, 2, 0, None, why_missing=(("agreement", "no reference"),))
    found = recommend([one], Wishes(ram_bytes=GIB, min_agreement=0.9))
    assert found.unknown == ()
    assert found.refused[0][1] == (
        "takes 2.00 GiB of RAM, more than 1.00 GiB; decode speed not measured; agreement not "
        "measured: no reference"
    )


def test_what_failed_failed_whatever_the_limits_are():
    one = option("both", 1.0, 1.0, 2, 0, 1.0, unfit="crashed")
    assert recommend([one], Wishes(ram_bytes=GIB)).refused == ((one, "crashed"),)


def test_all_that_is_not_known_is_said_each_reason_once():
    gone = [(name, "skipped: no GPU") for name in ("vram_bytes", "ram_bytes")]
    one = option("lost", None, None, None, None, None, why_missing=(*gone, ("agreement", "late")))
    wishes = Wishes(vram_bytes=GIB, ram_bytes=GIB, min_agreement=0.5, prefer="memory")
    assert recommend([one], wishes).unknown[0][1] == (
        "VRAM and RAM not measured: skipped: no GPU; agreement not measured: late"
    )


def test_what_is_just_at_the_limit_keeps_to_it():
    one = option("at", 1.0, 1.0, 2, 3, 0.99)
    wishes = Wishes(ram_bytes=2 * GIB, vram_bytes=3 * GIB, min_agreement=0.99)
    assert recommend([one], wishes).best is one
