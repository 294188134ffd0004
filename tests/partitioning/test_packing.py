"""Packing keys into batches."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manymodels.exceptions import UsageError
from manymodels.partitioning.packing import pack

seconds = st.one_of(st.just(0.0), st.floats(1e-6, 50.0), st.floats(1e-4, 0.01))


@settings(deadline=None, max_examples=200)
@given(
    costs=st.lists(seconds, max_size=400),
    workers=st.integers(1, 64),
    limit=st.integers(1, 50),
)
def test_every_key_is_in_exactly_one_batch_and_limits_hold(costs, workers, limit):
    batches = pack(np.array(costs), workers=workers, limit=limit)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(costs)))
    array = np.array(costs)
    for batch in batches:
        assert 1 <= len(batch) <= limit
        assert (np.diff(batch) > 0).all()
        if (array[batch] > 1.0).any():
            assert len(batch) == 1
        elif len(batch) > 1:
            assert array[batch].sum() <= 12.0


@settings(deadline=None, max_examples=200)
@given(
    keys=st.lists(st.tuples(seconds, st.floats(0.0, 200.0)), max_size=300),
    room=st.floats(1.0, 1000.0),
)
def test_a_batch_has_room_for_the_rows_of_its_keys(keys, room):
    costs, sizes = np.array([key[0] for key in keys]), np.array([key[1] for key in keys])
    batches = pack(costs, workers=4, sizes=sizes, room=room)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(keys)))
    for batch in batches:
        assert len(batch) == 1 or sizes[batch].sum() <= room * (1 + 1e-9)
        assert (np.diff(batch) > 0).all()


@settings(deadline=None, max_examples=100)
@given(costs=st.lists(st.floats(1e-4, 20.0), min_size=1, max_size=300), workers=st.integers(1, 8))
def test_batches_come_longest_first(costs, workers):
    array = np.array(costs)
    sums = [array[batch].sum() for batch in pack(array, workers=workers)]
    assert sums == sorted(sums, reverse=True)


@pytest.mark.parametrize("workers", [1, 2, 7, 16])
@pytest.mark.parametrize("each", [0.001, 0.01, 0.3])
def test_every_worker_gets_a_batch_when_there_is_work_enough(workers, each):
    costs = np.full(2000, each)
    assert len(pack(costs, workers=workers)) >= workers


def test_batches_take_between_one_and_ten_seconds_when_there_is_much_work():
    costs = np.random.default_rng(0).gamma(2.0, 0.01, 200_000)
    sums = np.array([costs[batch].sum() for batch in pack(costs, workers=4)])
    assert sums.min() > 0.9
    assert sums.max() < 11


@pytest.mark.parametrize("workers", [2, 7, 16])
@pytest.mark.parametrize("kind", ["alike", "zipf", "half in one key"])
def test_workers_of_unequal_speed_end_nearly_together(workers, kind):
    rng = np.random.default_rng(0)
    costs = rng.gamma(2.0, 0.02, 20_000)
    if kind == "zipf":
        costs = rng.permutation(costs.sum() / np.arange(1, 20_001)) / 10
    elif kind == "half in one key":
        costs[7_000] = costs.sum()
    speed = rng.uniform(0.7, 1.3, workers)
    ends = [(0.0, worker) for worker in range(workers)]
    for batch in pack(costs, workers=workers):
        free, worker = heapq.heappop(ends)
        heapq.heappush(ends, (free + costs[batch].sum() / speed[worker], worker))
    longest = costs.max() / (speed.min() if kind != "alike" else 1.0)
    assert max(ends)[0] <= 1.05 * max(longest, costs.sum() / speed.sum())


def test_what_batches_cost_by_themselves_is_little():
    """50 ms each, with costs that were guessed wrong by a third and workers that are not quite alike."""
    over = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        costs = rng.uniform(0.04, 0.05, 300)
        ends, speed = [(0.0, 0), (0.0, 1)], rng.uniform(1.0, 1.1, 2)
        for batch in pack(costs * rng.lognormal(0, 0.3, 300), workers=2):
            free, worker = heapq.heappop(ends)
            heapq.heappush(ends, (free + 0.05 + costs[batch].sum() / speed[worker], worker))
        over.append(max(ends)[0] * speed.sum() / costs.sum() - 1)
    assert np.mean(over) < 0.06


def test_small_keys_stay_in_store_order_around_a_large_one():
    costs = np.full(1001, 0.01)
    costs[500] = 30.0
    batches = pack(costs, workers=1)
    assert batches[0].tolist() == [500]
    rest = sorted((batch for batch in batches[1:]), key=lambda batch: batch[0])
    assert np.concatenate(rest).tolist() == [i for i in range(1001) if i != 500]


def test_a_key_with_nine_tenths_of_the_work_is_alone_even_when_the_work_is_little():
    costs = np.array([0.01] * 10 + [0.9] + [0.01] * 10)
    assert [10] in [batch.tolist() for batch in pack(costs, workers=4)]


def test_few_milliseconds_of_work_are_one_batch():
    assert len(pack(np.full(10, 0.0005), workers=16)) == 1


def test_no_key_is_no_batch():
    assert pack(np.array([]), workers=2) == []


def test_a_million_keys_are_packed_within_the_limits():
    costs = np.random.default_rng(1).gamma(1.0, 0.002, 1_000_000)
    batches = pack(costs, workers=8)
    assert sum(map(len, batches)) == 1_000_000
    assert max(map(len, batches)) <= 5000


@pytest.mark.parametrize(("costs", "workers"), [([np.nan], 1), ([-1.0], 1), ([np.inf], 1), ([1.0], 0)])
def test_costs_that_are_no_durations_are_refused(costs, workers):
    with pytest.raises(UsageError, match="finite costs"):
        pack(np.array(costs), workers=workers)
