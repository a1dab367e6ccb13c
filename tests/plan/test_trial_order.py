"""The order of trials: randomised blocks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.plan.cell import Cell, PlannedCell
from harness.plan.order import order

PLANNED = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda one: one[0],
).map(lambda cells: tuple(make(number, trials, skipped) for number, trials, skipped in cells))
SEEDS = st.integers(0, 2**32 - 1)


def make(number, trials=3, skipped=False):
    cell = Cell(
        model="m", engine="torch", strategy="cpu fp32", workload="speed", threads=number + 1
    )
    return PlannedCell(cell=cell, trials=trials, skip_reasons=("no",) if skipped else ())


@settings(deadline=None)
@given(PLANNED, SEEDS)
def test_every_trial_that_runs_comes_once_block_by_block(planned, seed):
    got = order(planned, seed)

    wanted = {
        (one.cell, trial)
        for one in planned
        if one.skip_reason is None
        for trial in range(one.trials)
    }
    assert set(got) == wanted
    assert len(got) == len(wanted)
    assert [trial for _, trial in got] == sorted(trial for _, trial in got)


@settings(deadline=None)
@given(PLANNED, SEEDS, st.randoms())
def test_neither_the_listing_nor_other_cells_matter(planned, seed, rng):
    shuffled = list(planned)
    rng.shuffle(shuffled)
    kept = planned[1:]

    whole = order(planned, seed)

    assert order(shuffled, seed) == whole
    cells = {one.cell for one in kept}
    assert order(kept, seed) == tuple(one for one in whole if one[0] in cells)


def test_blocks_and_seeds_are_shuffled_differently():
    planned = [make(number) for number in range(8)]

    orders = set()
    for seed in range(5):
        got = [cell for cell, _ in order(planned, seed)]
        orders.update(tuple(got[start : start + 8]) for start in (0, 8, 16))

    assert len(orders) == 15


def test_no_place_in_a_block_is_favoured():
    planned = [make(number, trials=1) for number in range(4)]

    first = [order(planned, seed)[0][0].threads for seed in range(400)]

    # 100 each on average; beyond 60 off has a chance below 1e-10 for a fair shuffle.
    assert all(40 < first.count(threads) < 160 for threads in (1, 2, 3, 4))
