"""Random strategies plan as the official package plans them, apart from the listed repairs."""

import random
import re
from importlib.metadata import version

import pytest
import torch

from harness.errors import StrategyError, Unsupported
from harness.runtime import load_model
from harness.runtime.dtypes import NAMES
from harness.runtime.strategy import canonical, parse, rescale_layer, resolve
from tests.runtime.conftest import TOKENS, Case, official_logits
from tests.runtime.test_strategy import GOLDEN

SMALL = Case(3, 32, 80, torch.float32)
MATRICES = ("att.key.weight", "ffn.key.weight")  # whose sizes the official package asks for


@pytest.fixture(scope="module")
def official_plan():
    """What the official package makes of a strategy: its slots, its spelling, its rescaling.

    It plans right after it has counted the blocks of the file, so a few names do for a model. What
    it then lacks first is ln0.
    """
    rwkv_model = pytest.importorskip("rwkv.model")

    def plan(strategy, n_layer):
        counted = {"emb.weight": torch.zeros(2, 2)}
        for i in range(n_layer):
            counted |= {f"blocks.{i}.{name}": torch.zeros(2, 2) for name in MATRICES}
        model = rwkv_model.RWKV.__new__(rwkv_model.RWKV)
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("RWKV_RESCALE_LAYER", raising=False)
            patch.setattr(torch, "load", lambda *args, **kwargs: counted)
            patch.setattr(rwkv_model.gc, "collect", lambda: 0)
            with pytest.raises(KeyError, match="ln0"):
                model.__init__("no file", strategy, verbose=False)
        slots = [
            (slot.device, NAMES[slot.atype], NAMES[slot.wtype], bool(slot.stream))
            for slot in model.strategy
        ]
        return slots, model.args.strategy_string, model.RESCALE_LAYER

    return plan


def our_plan(strategy, n_layer):
    slots = [
        (plan.device, plan.dtype, plan.weight_dtype, plan.streamed)
        for plan in resolve(strategy, n_layer)
    ]
    return slots, canonical(strategy), rescale_layer(strategy)


def random_strategy(rng: random.Random) -> str:
    """One to five stages: free, counted, streamed (`*0+` too), in every device and format."""
    stages = []
    for _ in range(rng.choice([1, 2, 2, 3, 3, 4, 5])):
        device = rng.choice(["cpu", "mps", "cuda", "cuda:0", "cuda:1", "cuda:15"])
        stage = f"{device} {rng.choice(['fp32', 'fp16', 'bf16'])}{rng.choice(['', 'i8'])}"
        kind = rng.choice(["free", "free", "counted", "counted", "streamed"])
        most = rng.choice([3, 8, 30])
        if kind == "counted":
            stage += f" *{rng.randint(1, most)}"  # `*0` is a listed repair, and has its own test
        if kind == "streamed":
            stage += f" *{rng.randint(0, most)}+"
        stages.append(stage)
    arrow = rng.choice([" -> ", "->", "  ->", " ->   "])
    return rng.choice(["", " "]) + arrow.join(stages) + rng.choice(["", "  "])


@pytest.mark.parametrize(
    ("strategy", "n_layer"), [case[:2] for case in GOLDEN if not re.search(r"\*0(?!\+)", case[0])]
)
def test_golden_plans_are_the_official_ones(strategy, n_layer, official_plan):
    assert our_plan(strategy, n_layer) == official_plan(strategy, n_layer)


@pytest.mark.parametrize("seed", range(200))
def test_plans_are_the_official_ones(seed, official_plan):
    rng = random.Random(seed)
    strategy, n_layer = random_strategy(rng), rng.randint(1, 40)
    assert our_plan(strategy, n_layer) == official_plan(strategy, n_layer)


@pytest.mark.slow
def test_two_thousand_plans_are_the_official_ones(official_plan):
    for seed in range(2000):
        rng = random.Random(seed)
        strategy, n_layer = random_strategy(rng), rng.randint(1, 40)
        expected = official_plan(strategy, n_layer)
        assert our_plan(strategy, n_layer) == expected, (strategy, n_layer)


def test_random_strategies_reach_every_turn_of_the_planner():
    """Were the generator to lose a kind, the tests above would pass for nothing."""
    turns = dict.fromkeys(["several streams", "stream", "shared", "cut", "stretched", "dropped"], 0)
    for seed in range(200):
        rng = random.Random(seed)
        strategy, n_slots = random_strategy(rng), rng.randint(1, 40) + 1
        stages = parse(strategy)
        asked = sum(stage.count or 0 for stage in stages)
        free = sum(stage.count is None for stage in stages)
        streams = sum(stage.streamed for stage in stages)
        turns["several streams"] += streams > 1
        turns["stream"] += streams == 1 and asked < n_slots
        turns["shared"] += free > 1 and asked < n_slots and not streams
        turns["cut"] += asked > n_slots
        turns["dropped"] += asked > n_slots and stages[-1].count is None and not streams
        turns["stretched"] += asked < n_slots and not free and not streams
    assert min(turns.values()) >= 5, turns


# -- what is valid -------------------------------------------------------------------------------

LETTERS = " *+->:.018cpufxmidba_"


def slightly_wrong(strategy: str, rng: random.Random) -> str:
    """The strategy with one or two letters dropped, doubled, replaced or put in."""
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(strategy))
        new = rng.choice(["", rng.choice(LETTERS), strategy[at] * 2, rng.choice(LETTERS)])
        strategy = strategy[:at] + new + strategy[at + rng.randint(0, 1) :]
    return strategy


def is_valid(strategy: str) -> bool:
    try:
        parse(strategy)
    except StrategyError:
        return False
    return True


def test_the_same_texts_are_strategies(official_plan):
    taken = 0
    for seed in range(1500):
        rng = random.Random(seed)
        strategy = slightly_wrong(random_strategy(rng), rng)
        if re.search(r":[0-9]{4}", strategy):  # ours has an end to the devices, not to be noticed
            continue
        try:
            official_plan(strategy, 3)
        except ValueError:
            assert not is_valid(strategy), strategy
        except ZeroDivisionError:  # `*0`
            assert is_valid(strategy), strategy
        else:
            assert is_valid(strategy), strategy
            taken += 1
    assert 100 < taken < 1400


# -- the listed repairs --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_a_stage_of_no_slots_is_as_if_it_were_not_there(seed, official_plan):
    """The official package shares slots out to it, or divides by zero."""
    rng = random.Random(seed)
    stages, n_layer = random_strategy(rng).split("->"), rng.randint(1, 40)
    without = " -> ".join(stage.strip() for stage in stages)
    for _ in range(rng.randint(1, 2)):
        stages.insert(rng.randint(0, len(stages)), " cpu fp32 *0 ")
    assert our_plan("->".join(stages), n_layer)[0] == official_plan(without, n_layer)[0]


@pytest.mark.parametrize(
    ("strategy", "slots"),
    [
        ("cuda fp16 *0 -> cpu fp32", "divides by zero"),
        ("cpu fp32 -> cpu bf16 *0", "divides by zero"),
        ("mps fp32 *2 -> cpu bf16 *0", ["mps", "mps", "cpu", "cpu"]),
        ("cpu fp32 *0", ["cpu"] * 4),
    ],
)
def test_a_stage_of_no_slots_goes_wrong_in_the_official_package(strategy, slots, official_plan):
    try:
        found = [slot[0] for slot in official_plan(strategy, 3)[0]]
    except ZeroDivisionError:
        found = "divides by zero"
    assert found == slots


def test_a_strategy_of_nothing_but_stages_of_no_slots_is_refused():
    with pytest.raises(StrategyError, match="leaves all 4 slots without a stage"):
        resolve("cpu fp32 *0 -> cpu bf16 *0", 3)


@pytest.mark.parametrize("bits", ["i4", "i3"])
def test_bits_that_the_official_package_takes_and_ignores_are_refused(bits, checkpoint, official):
    plain = official_logits(official(checkpoint(SMALL), "cpu fp32"), TOKENS)
    ignored = official_logits(official(checkpoint(SMALL), f"cpu fp32{bits}"), TOKENS)
    assert torch.equal(plain, ignored)
    with pytest.raises(StrategyError, match="does not quantise"):
        load_model(checkpoint(SMALL), f"cpu fp32{bits}")


def test_a_device_that_is_not_here_is_named_with_those_that_are(checkpoint, official_plan):
    slots, _, _ = official_plan("cuda:63 fp16 *1 -> cpu fp32", 3)
    assert slots[0][0] == "cuda:63"  # where it fails only when the weights are read
    with pytest.raises(Unsupported, match=r"no device 'cuda:63' here; .* cpu"):
        load_model(checkpoint(SMALL), "cuda:63 fp16 *1 -> cpu fp32")


@pytest.mark.parametrize("device", ["dml", "tpu", "cpu:0", "gpu"])
def test_unknown_devices_are_refused(device, official_plan):
    with pytest.raises(StrategyError, match=device):
        resolve(f"{device} fp32", 3)
    # Newer releases take dml, and then need a library for it.
    if device != "dml" or version("rwkv").startswith("0.7."):
        with pytest.raises(ValueError, match="Invalid strategy"):
            official_plan(f"{device} fp32", 3)
