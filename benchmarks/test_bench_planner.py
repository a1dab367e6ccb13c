"""Planning a strategy. The official package plans inside its constructor, so that ours is alone."""

from __future__ import annotations

import pytest

from harness.runtime.strategy import resolve


@pytest.mark.parametrize("strategy", ["cpu fp32", "cuda fp16i8 *20 -> cuda fp16 *3+ -> cpu fp32"])
def test_plan(race, strategy):
    stages = strategy.count("->") + 1
    race(
        f"plan 40 layers, stages: {stages}",
        "ours",
        detail=strategy,
        ours=lambda: resolve(strategy, 40),
        loops=100,
    )
