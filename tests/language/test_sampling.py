from __future__ import annotations

import math
import warnings
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from harness.errors import BadInput, NotANumber
from harness.language import sampling
from harness.language.generate import generate
from harness.language.sampling import Sampler, SamplingSettings, probabilities

# Few distinct values, so that ties are frequent.
LOGITS = st.lists(st.integers(-6, 6).map(lambda n: n / 2), min_size=1, max_size=12)
DRAWING = st.builds(
    SamplingSettings,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_p=st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.77, 0.95, 1.0]),
    top_k=st.integers(0, 13),
    presence_penalty=st.sampled_from([0.0, 0.2, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.2, 1.5]),
    compat=st.sampled_from([None, "rwkv"]),
)


def normalised(weights):
    total = math.fsum(weights)
    return [w / total for w in weights]


def softmax_ref(logits, temperature):
    top = max(logits)
    return normalised([math.exp((x - top) / temperature) for x in logits])


def nucleus_ref(p, ranked, top_p):
    """Ids from the likeliest on until they reach top_p; None where rounding decides."""
    reached = 0.0
    for n, i in enumerate(ranked):
        reached += p[i]
        if abs(reached - top_p) < 1e-9:
            return None
        if reached >= top_p:
            return ranked[: n + 1]
    return ranked


def probabilities_ref(logits, settings, counts):
    """The contract read aloud, one token at a time."""
    logits = list(logits)
    for i in settings.ban:
        logits[i] = -math.inf
    for i, n in counts.items():
        logits[i] -= settings.presence_penalty + settings.frequency_penalty * n
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if settings.temperature == 0 or settings.top_p == 0:
        return [float(i == ranked[0]) for i in range(len(logits))]

    official = settings.compat == "rwkv"
    p = softmax_ref(logits, 1.0 if official else settings.temperature)
    kept = ranked if settings.top_p == 1 else nucleus_ref(p, ranked, settings.top_p)
    if kept is None:
        return None
    if official:
        kept = [i for i in ranked if logits[i] >= logits[kept[-1]]]
    kept = set(kept[: settings.top_k] if settings.top_k else kept)
    p = [x if i in kept else 0.0 for i, x in enumerate(p)]
    if official:
        p = [x ** (1 / settings.temperature) for x in p]
    return normalised(p)


@given(logits=LOGITS, settings=DRAWING, data=st.data())
def test_probabilities_are_those_of_the_slow_twin(logits, settings, data):
    ids = st.integers(0, len(logits) - 1)
    counts = data.draw(st.dictionaries(ids, st.integers(1, 4), max_size=3))
    expected = probabilities_ref(logits, settings, counts)
    assume(expected is not None)
    got = probabilities(np.array(logits, dtype=np.float32), settings, counts)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("compat", [None, "rwkv"])
@pytest.mark.parametrize("top_p", [0.2, 0.85, 0.999])
@pytest.mark.parametrize("top_k", [0, 7, 20_000])
def test_a_large_vocabulary_is_cut_where_the_slow_twin_cuts(compat, top_p, top_k):
    logits = np.random.default_rng(3).normal(0, 3, 65_536).astype(np.float32)
    settings = SamplingSettings(temperature=0.8, top_p=top_p, top_k=top_k, compat=compat)
    expected = probabilities_ref(logits.astype(np.float64).tolist(), settings, {})
    np.testing.assert_allclose(probabilities(logits, settings), expected, rtol=1e-9, atol=0)


GREEDY = [
    SamplingSettings(),
    SamplingSettings(temperature=1.0, top_p=0.0),
    SamplingSettings(temperature=0.0, top_p=0.9, top_k=3),
    SamplingSettings(compat="rwkv"),
    SamplingSettings(temperature=1.0, top_p=0.0, compat="rwkv"),
    SamplingSettings(temperature=1.0, top_k=1),
    SamplingSettings(temperature=1.0, top_k=1, compat="rwkv"),
]


@pytest.mark.parametrize("settings", GREEDY)
def test_greedy_takes_the_lowest_of_tied_ids(settings):
    logits = np.array([0.0, 2.0, 1.0, 2.0, 2.0], dtype=np.float32)
    assert probabilities(logits, settings).tolist() == [0, 1, 0, 0, 0]
    for seed in range(20):
        assert Sampler(SamplingSettings(**{**vars(settings), "seed": seed})).draw(logits) == 1


@pytest.mark.parametrize("compat", [None, "rwkv"])
@pytest.mark.parametrize("seed", range(5))
def test_top_p_1_keeps_every_token(compat, seed):
    # Added up in float32, these never reach 1.
    logits = np.random.default_rng(seed).normal(0, 3, 50_277).astype(np.float32)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    if seed == 0:
        assert np.cumsum(np.sort(p)[::-1])[-1] < 1
    got = probabilities(logits, SamplingSettings(temperature=1.0, top_p=1.0, compat=compat))
    assert (got > 0).all()
    np.testing.assert_allclose(got, p, rtol=1e-3)


@pytest.mark.parametrize("compat", [None, "rwkv"])
def test_top_p_1_keeps_tokens_too_unlikely_to_change_a_sum(compat):
    logits = np.array([0.0, -100.0])
    assert probabilities(logits, SamplingSettings(temperature=1.0, compat=compat))[1] > 0


def test_temperature_comes_before_truncation_unless_compatible():
    logits = np.log(np.array([0.6, 0.3, 0.1]))
    hot = {"temperature": 10.0, "top_p": 0.55}
    ours = probabilities(logits, SamplingSettings(**hot))
    official = probabilities(logits, SamplingSettings(**hot, compat="rwkv"))
    assert np.count_nonzero(ours) == 2  # 0.36 + 0.33 once flattened
    assert np.count_nonzero(official) == 1  # 0.6 as it was


def test_ties_with_the_cutoff_survive_only_where_compatible():
    logits = np.zeros(4)
    half = {"temperature": 1.0, "top_p": 0.4}
    assert probabilities(logits, SamplingSettings(**half)).tolist() == [0.5, 0.5, 0, 0]
    official = probabilities(logits, SamplingSettings(**half, compat="rwkv"))
    assert official.tolist() == [0.25] * 4


def test_reaching_top_p_exactly_is_enough():
    for compat in (None, "rwkv"):
        settings = SamplingSettings(temperature=1.0, top_p=0.5, compat=compat)
        logits = np.array([1e3, 1e3, -1e3])
        assert probabilities(logits, settings)[2] == 0
    assert probabilities(np.zeros(4), SamplingSettings(temperature=1.0, top_p=0.5))[2] == 0


@pytest.mark.parametrize("temperature", [1e-300, 5e-324, 1e-9, 1e9, 1e308])
@pytest.mark.parametrize("compat", [None, "rwkv"])
def test_extreme_temperatures_neither_overflow_nor_warn(temperature, compat):
    logits = np.array([3.0, 1.0, 3.0, -2.0], dtype=np.float32)
    settings = SamplingSettings(temperature=temperature, top_p=0.99, compat=compat)
    got = probabilities(logits, settings)
    assert got.sum() == pytest.approx(1)
    assert got[0] == got[2] >= got[1]
    if temperature < 1:
        assert got[0] == 0.5


def test_penalties_lower_only_what_was_generated():
    logits = np.zeros(3, dtype=np.float32)
    settings = SamplingSettings(temperature=1.0, presence_penalty=0.2, frequency_penalty=0.3)
    got = probabilities(logits, settings, {1: 1, 2: 4})
    np.testing.assert_allclose(np.log(got) - np.log(got[0]), [0, -0.5, -1.4], atol=1e-12)


def test_the_sampler_counts_what_it_drew():
    # The gap of 1 is closed by 0.4 + 0.25 n at n = 3: three times the first, then the second.
    settings = SamplingSettings(presence_penalty=0.4, frequency_penalty=0.25)
    sampler = Sampler(settings)
    drawn = [sampler.draw(np.array([1.0, 0.0, -9.0], dtype=np.float32)) for _ in range(4)]
    assert drawn == [0, 0, 0, 1]


def test_logits_are_not_written_to():
    logits = np.array([1.0, 2.0, 3.0])
    logits.flags.writeable = False
    settings = SamplingSettings(temperature=0.5, top_p=0.9, presence_penalty=1.0)
    probabilities(logits, settings, {2: 1})
    sampler = Sampler(settings)
    sampler.draw(logits)
    sampler.draw(logits)


SMALL = np.array([0.3, -1.0, 2.0, 1.1, 0.0, -0.4, 1.0, 0.6], dtype=np.float32)
DRAWS = 100_000


def assert_follows(observed, expected):
    """That counts follow a distribution: none where it has nothing, the rest by chi-square."""
    kept = expected > 0
    assert observed[~kept].sum() == 0
    assert chisquare(observed[kept], observed.sum() * expected[kept]).pvalue > 0.001


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=1.7, ban=(3,)),
        SamplingSettings(temperature=1.4, top_p=0.8),
        SamplingSettings(temperature=0.7, top_p=0.9, top_k=4, compat="rwkv"),
    ],
)
def test_draws_follow_the_contract(settings, monkeypatch):
    # The slow twin says what to expect, so that a slip in either function shows.
    expected = np.array(probabilities_ref(SMALL.tolist(), settings, {}))
    # Without penalties every draw is from the same distribution: no need to find it again.
    found = sampling._distribution(SMALL, settings, {})
    monkeypatch.setattr(sampling, "_distribution", lambda *_: found)
    monkeypatch.setattr(sampling, "_check_finite", lambda *_: None)
    sampler = Sampler(settings)
    drawn = [sampler.draw(SMALL) for _ in range(DRAWS)]
    assert_follows(np.bincount(drawn, minlength=8), expected)


def test_pairs_of_draws_follow_the_penalties():
    settings = {"temperature": 1.2, "presence_penalty": 0.7, "frequency_penalty": 0.5}
    settings |= {"top_p": 0.9}
    logits = SMALL[:4]
    expected = np.zeros((4, 4))
    for i, p in enumerate(probabilities_ref(logits.tolist(), SamplingSettings(**settings), {})):
        second = probabilities_ref(logits.tolist(), SamplingSettings(**settings), {i: 1})
        expected[i] = p * np.array(second)
    observed = np.zeros((4, 4))
    for seed in range(DRAWS // 20):
        sampler = Sampler(SamplingSettings(**settings, seed=seed))
        observed[sampler.draw(logits), sampler.draw(logits)] += 1
    assert_follows(observed.ravel(), expected.ravel())


class Uniforms:
    """A generator that gives what it is told to."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)


def draws_of(logits, *uniforms, **settings):
    sampler = Sampler(SamplingSettings(temperature=1.0, **settings))
    sampler._random = Uniforms(*uniforms)
    return [sampler.draw(np.array(logits, dtype=np.float64)) for _ in uniforms]


def test_each_token_has_its_share_from_its_first_point_to_before_its_last():
    below = np.nextafter(0.5, 0)
    assert draws_of([0.0] * 4, 0.0, 0.25, below, 0.5, 0.75, 1 - 2**-53) == [0, 1, 1, 2, 3, 3]


def test_a_token_of_no_weight_is_never_drawn():
    logits = [-1e4, 0.1, -1e4, 0.2, -1e4]
    assert draws_of(logits, 0.0, 1 - 2**-53) == [1, 3]


def test_the_only_token_that_is_kept_takes_no_uniform():
    sampler = Sampler(SamplingSettings(temperature=1.0, top_k=1))
    sampler._random = Uniforms()
    assert sampler.draw(SMALL) == 2


def test_two_samplers_of_one_seed_draw_the_same_whatever_others_draw():
    settings = SamplingSettings(temperature=1.3, top_p=0.95, frequency_penalty=0.1, seed=11)
    one, other, third = Sampler(settings), Sampler(settings), Sampler(settings)
    alone = [third.draw(SMALL) for _ in range(50)]
    np.random.seed(0)  # noqa: NPY002 - the global generator has no say
    assert [(one.draw(SMALL), other.draw(SMALL)) for _ in range(50)] == [(i, i) for i in alone]


def test_a_banned_token_is_as_good_as_absent():
    settings = {"temperature": 0.8, "top_p": 0.9}
    got = probabilities(SMALL, SamplingSettings(**settings, ban=(2, 5, 2)))
    assert got[[2, 5]].tolist() == [0, 0]
    without = probabilities(np.delete(SMALL, [2, 5]), SamplingSettings(**settings))
    np.testing.assert_allclose(np.delete(got, [2, 5]), without)
    assert Sampler(SamplingSettings(ban=(2,))).draw(SMALL) == 3
    assert probabilities(SMALL, SamplingSettings(temperature=1.0, top_k=7, ban=(2, 3)))[2] == 0


def test_a_ban_that_names_too_much_is_refused():
    with pytest.raises(BadInput, match="ban has token 8, and the model only 8 logits"):
        probabilities(SMALL, SamplingSettings(ban=(1, 8)))
    with pytest.raises(BadInput, match="ban has all 8 tokens"):
        probabilities(SMALL, SamplingSettings(ban=tuple(range(8))))


def test_penalties_fade_as_more_is_generated():
    # 1.0 for the first token's one time, faded by half per token: 1, 0.5, 0.25, 0.125.
    settings = SamplingSettings(frequency_penalty=1.0, penalty_decay=0.5)
    sampler = Sampler(settings)
    logits = np.array([0.3, 0.0, -0.6, -9.0])
    assert [sampler.draw(logits) for _ in range(5)] == [0, 1, 0, 1, 0]
    # Counted out by hand: [1, 0], [.5, 1], [1.25, .5], [.625, 1.25], [1.3125, .625].
    assert [round(sampler._counts[i], 4) for i in (0, 1)] == [1.3125, 0.625]


def test_an_uncounted_token_is_present_and_no_more():
    settings = {"presence_penalty": 0.5, "frequency_penalty": 5.0, "uncounted": frozenset({0})}
    sampler = Sampler(SamplingSettings(**settings))
    assert [sampler.draw(np.array([1.0, 0.0])) for _ in range(4)] == [0, 0, 0, 0]
    settings["uncounted"] = frozenset()
    sampler = Sampler(SamplingSettings(**settings))
    assert [sampler.draw(np.array([1.0, 0.0])) for _ in range(2)] == [0, 1]


def draws(seed, n=40):
    sampler = Sampler(SamplingSettings(temperature=1.0, seed=seed))
    return [sampler.draw(np.zeros(1000, dtype=np.float32)) for _ in range(n)]


def test_the_seed_decides():
    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_a_seed_means_the_same_in_every_release():
    # The uniforms of PCG64(7), which no numpy may change, over ten equal shares.
    sampler = Sampler(SamplingSettings(temperature=1.0, seed=7))
    uniform = np.random.Generator(np.random.PCG64(7)).random(6)
    assert uniform[0] == 0.625095466604667
    drawn = [sampler.draw(np.zeros(10, dtype=np.float32)) for _ in range(6)]
    assert drawn == (uniform * 10).astype(int).tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error(bad, temperature):
    sampler = Sampler(SamplingSettings(temperature=temperature))
    sampler.draw(np.zeros(4))
    kind = "1 NaN and 0 infinite" if math.isnan(bad) else "0 NaN and 1 infinite"
    with pytest.raises(NotANumber, match=f"{kind} logits of 4, after 1 generated"):
        sampler.draw(np.array([0.0, bad, 1.0, 2.0]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 1.1},
        {"top_p": -0.1},
        {"top_p": math.nan},
        {"top_k": -1},
        {"seed": -1},
        {"presence_penalty": math.inf},
        {"frequency_penalty": math.nan},
        {"penalty_decay": 1.01},
        {"penalty_decay": -0.1},
        {"penalty_decay": math.nan},
        {"ban": (3, -1)},
        {"compat": "transformers"},
    ],
)
def test_settings_outside_their_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(BadInput, match=f"{name} is .*; it must be"):
        SamplingSettings(**wrong)


@pytest.fixture(scope="module")
def official_probabilities():
    """What the official package draws from, caught where it draws."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        utils = pytest.importorskip("rwkv.utils")

    def catch(logits, **settings):
        caught = []

        def choice(a, p):
            caught.append(p)
            return 0

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(utils.np.random, "choice", choice)
            utils.PIPELINE.sample_logits(None, torch.from_numpy(logits.copy()), **settings)
        return caught[0].astype(np.float64)

    return catch


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.85])
@pytest.mark.parametrize("top_k", [0, 1, 5])
@pytest.mark.parametrize("n_vocab", [40, 50_277])
def test_compat_is_the_official_distribution(
    official_probabilities, temperature, top_p, top_k, n_vocab
):
    if temperature == 0 and version("rwkv").startswith("0.7."):
        pytest.skip("this release of the official package divides by the temperature")
    logits = np.random.default_rng(n_vocab).normal(0, 4, n_vocab).astype(np.float32)
    theirs = official_probabilities(logits, temperature=temperature, top_p=top_p, top_k=top_k)
    settings = SamplingSettings(temperature=temperature, top_p=top_p, top_k=top_k, compat="rwkv")
    ours = probabilities(logits, settings)
    if n_vocab == 40:
        assert np.flatnonzero(ours).tolist() == np.flatnonzero(theirs).tolist()
    # Theirs is float32: of 50,277 tokens a few beside the cutoff may fall on its other side.
    assert np.abs(ours - theirs).sum() < (1e-5 if n_vocab == 40 else 1e-3)


@given(
    logits=st.lists(st.integers(-6, 6).map(lambda n: n / 2), min_size=2, max_size=30),
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.9]),
    top_p=st.sampled_from([0.0, 0.05, 0.31, 0.5, 0.77, 0.95]),
    top_k=st.integers(0, 31),
)
def test_compat_is_the_official_distribution_also_among_ties(
    official_probabilities, logits, temperature, top_p, top_k
):
    ranked = sorted(softmax_ref(logits, 1.0), reverse=True)
    sums = np.cumsum(ranked)
    assume(np.abs(sums - top_p).min() > 1e-5)  # else float32 decides
    logits = np.array(logits, dtype=np.float32)
    given_settings = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    theirs = official_probabilities(logits, **given_settings)
    ours = probabilities(logits, SamplingSettings(**given_settings, compat="rwkv"))
    if top_p == 0:  # theirs still draws among the largest, ours takes the first of them
        assert set(np.flatnonzero(theirs)) <= set(np.flatnonzero(logits == logits.max()))
        assert np.flatnonzero(ours).tolist() == [np.argmax(logits)]
    elif 0 < top_k < len(logits):  # of equals theirs keeps any, ours the lowest
        np.testing.assert_allclose(np.sort(ours), np.sort(theirs), atol=1e-6)
    else:
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_top_p_1_is_where_compat_repairs_the_official_package(official_probabilities):
    # Theirs adds up in float32, never reaches 1, and then keeps nothing but the largest.
    logits = np.random.default_rng(0).normal(0, 3, 50_277).astype(np.float32)
    theirs = official_probabilities(logits, temperature=1.0, top_p=1.0)
    ours = probabilities(logits, SamplingSettings(temperature=1.0, top_p=1.0, compat="rwkv"))
    assert np.count_nonzero(theirs) == 1
    assert np.count_nonzero(ours) == 50_277


def test_compat_keeps_ties_with_the_cutoff_as_the_official_package_does(official_probabilities):
    logits = np.log(np.array([0.4, 0.2, 0.2, 0.1, 0.1], dtype=np.float32))
    theirs = official_probabilities(logits, temperature=1.0, top_p=0.5)
    ours = probabilities(logits, SamplingSettings(temperature=1.0, top_p=0.5, compat="rwkv"))
    assert np.count_nonzero(ours) == np.count_nonzero(theirs) == 3
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


class Rambling:
    """A model for the official `generate`: logits are a function of the last token alone."""

    def __init__(self, n_vocab, seed):
        self.table = np.random.default_rng(seed).normal(0, 1, (n_vocab, n_vocab))
        self.table = self.table.astype(np.float32)

    def forward(self, tokens, state):
        import torch

        return torch.from_numpy(self.table[tokens[-1]].copy()), state

    def prefill(self, ids, state):
        return self.table[ids[:, -1]], state

    def step(self, ids, state):
        return self.table[ids], state


class Letters:
    """Token i is the i-th character."""

    characters = "abcdefgh 0123456789"

    def encode(self, text):
        return [self.characters.index(c) for c in text]

    def decode(self, ids):
        return "".join(self.characters[i] for i in ids)


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_is_the_official_one(official_probabilities, seed):
    from rwkv.utils import PIPELINE, PIPELINE_ARGS

    text, model = Letters(), Rambling(len(Letters.characters), seed)
    arguments = {"alpha_presence": 0.4, "alpha_frequency": 0.6, "token_ban": [2, 9], "top_p": 0.0}
    settings = {"presence_penalty": 0.4, "frequency_penalty": 0.6, "ban": (2, 9)}
    if hasattr(PIPELINE_ARGS(), "alpha_decay"):  # since 0.8; it also does not count digits
        arguments["alpha_decay"] = 0.9
        settings |= {"penalty_decay": 0.9, "uncounted": frozenset(text.encode(" 0123456789"))}
    pipeline = PIPELINE.__new__(PIPELINE)
    pipeline.model, pipeline.tokenizer = model, text
    theirs = pipeline.generate("ab", token_count=80, args=PIPELINE_ARGS(**arguments))
    ours = generate(
        model, text.encode("ab"), text, SamplingSettings(**settings, compat="rwkv"), max_tokens=80
    )
    assert ours.text == theirs
    assert len(set(theirs)) > 5
    assert "c" not in theirs
