"""The same cell under two names on a machine that slows down by 20 % during the run.

In the sequential order it looks like a difference between the two; in the randomised it does not.
Nothing takes time: the fake engine's clock is scripted, and its trials run in this process.
"""

import json
import statistics

import pytest

from harness.config.study import Speed
from harness.engines.base import ModelSource
from harness.engines.fake import FakeEngine
from harness.measure.job import Passed
from harness.measure.rates import decode_speed, prefill_speed
from harness.measure.speed import measure_speed
from harness.stats import drift
from tests.measure.scheduling import carry_out, make_plan, make_store, record_of

N_TRIALS = 10
SPEED = Speed(prompt_tokens=4, generate_tokens=2, passes=1, warmup_passes=0)


@pytest.fixture
def difference(tmp_path, monkeypatch):
    """Measure `one` and `two`, which are the same, and say by which share their medians differ."""
    monkeypatch.setattr("gc.collect", lambda: 0)  # before every pass, and all that takes time here

    def run(order, seed, *, trials=N_TRIALS, slow_down=1.2, scatter=0.0):
        folder = tmp_path / f"{order}-{seed}"
        store = make_store(folder)
        script = folder / "script.yaml"
        said = {
            "log": "opened.log",
            "slow_down": {"to": slow_down, "over": 2 * trials},
            "scatter": scatter,
        }
        script.write_text(json.dumps(said), encoding="utf-8")

        def measure(trial):
            engine = FakeEngine()
            session = engine.open(ModelSource(weights=script, seed=0), "cpu fp32", threads=1)
            sent = []
            measure_speed(session, SPEED, 0, engine.clock, sent.append)
            (passed,) = [one for one in sent if isinstance(one, Passed)]
            return record_of(
                trial,
                decode=decode_speed([passed.decode_s], 1),
                prefill=prefill_speed(passed.prefill, 1),
            )

        carry_out(make_plan(["one", "two"], trials, seed=seed, order=order), store, measure)
        speeds = {
            name: [r.decode_tok_per_s for r in store.records if r.cell.model == name]
            for name in ("one", "two")
        }
        assert {len(one) for one in speeds.values()} == {trials}
        medians = [statistics.median(one) for one in speeds.values()]
        return abs(medians[0] / medians[1] - 1), store.records

    return run


def test_a_slow_down_looks_like_a_difference_in_the_sequential_order(difference):
    share, records = difference("sequential", 0)
    assert share > 0.08
    speeds = [record.decode_tok_per_s for record in records]
    assert speeds[0] / speeds[-1] == pytest.approx(1.2)  # as scripted
    assert speeds == sorted(speeds, reverse=True)


def test_and_does_not_in_the_randomised_order(difference):
    share, records = difference("randomised", 0)
    assert share < 0.02
    speeds = [record.decode_tok_per_s for record in records]
    assert speeds[0] / speeds[-1] == pytest.approx(1.2)


def test_whatever_the_seed(difference):
    shares = [difference("randomised", seed)[0] for seed in range(1, 21)]
    assert max(shares) < 0.02
    assert statistics.fmean(shares) < 0.01


def test_also_where_trials_scatter(difference):
    # 1 % of scatter adds about 0.4 % to the difference of two medians of ten.
    near = [difference("randomised", seed, scatter=0.01)[0] for seed in range(20)]
    far = [difference("sequential", seed, scatter=0.01)[0] for seed in range(3)]
    assert statistics.median(near) < 0.02
    assert sum(share < 0.02 for share in near) >= 18
    assert min(far) > 0.08


def test_the_drift_itself_is_found_in_the_records(difference):
    _, records = difference("randomised", 0, scatter=0.01)
    groups = [
        [(r.place.sequence, r.decode_tok_per_s) for r in records if r.cell.model == name]
        for name in ("one", "two")
    ]
    found = drift(groups)
    assert found.is_real
    assert found.value == pytest.approx(1 / 1.2, rel=0.03)
