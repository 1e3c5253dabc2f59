from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler

from surform.data.order import BatchOrder

windows = st.integers(4, 60)
sizes = st.integers(1, 9)
ranks = st.integers(1, 4)


def all_ranks(count: int, size: int, number: int, **options: object) -> list[list[list[int]]]:
    orders = [BatchOrder(count, size, rank=r, ranks=number, **options) for r in range(number)]
    assert len({len(o) for o in orders}) == 1
    assert all(len(list(o)) == len(o) for o in orders)
    return [list(o) for o in orders]


@given(windows, sizes, ranks)
def test_evaluation_sees_every_window_once_over_all_ranks(n: int, b: int, r: int) -> None:
    batches = all_ranks(n, b, r, training=False)
    assert sorted(chain(*chain(*batches))) == list(range(n))
    assert all(len(batch) >= 1 for batch in chain(*batches))
    assert max(len(batch) for batch in chain(*batches)) <= max(b, 2)


@given(windows, sizes, ranks, st.integers(0, 5))
def test_joint_batches_of_all_ranks_are_those_of_one_process(
    n: int, b: int, r: int, e: int
) -> None:
    b = min(b, n // r)
    one = BatchOrder(n, b * r, seed=1)
    parts = [BatchOrder(n, b, seed=1, rank=k, ranks=r) for k in range(r)]
    joint = [list(chain(*step)) for step in zip(*(p.batches(e) for p in parts), strict=True)]
    assert joint == list(one.batches(e))


@given(windows, sizes, st.integers(0, 3))
def test_training_repeats_no_window_and_makes_equal_batches(n: int, b: int, epoch: int) -> None:
    batches = list(BatchOrder(n, b).batches(epoch))
    seen = list(chain(*batches))
    assert len(seen) == len(set(seen))
    assert {len(batch) for batch in batches} == {min(b, n)}
    assert n - len(seen) < min(b, n)


@given(windows, sizes, st.integers(0, 3), st.data())
def test_it_can_start_at_any_batch(n: int, b: int, epoch: int, data: st.DataObject) -> None:
    whole = list(BatchOrder(n, b, seed=7).batches(epoch))
    first = data.draw(st.integers(0, len(whole)))
    resumed = BatchOrder(n, b, seed=7)
    resumed.start(epoch, first)
    assert list(resumed) == whole[first:]
    assert len(resumed) == len(whole)
    resumed.set_epoch(epoch + 1)
    assert list(resumed) == list(BatchOrder(n, b, seed=7).batches(epoch + 1))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    batches = {tuple(chain(*BatchOrder(50, 5, seed).batches(e))) for seed in (0, 1) for e in (0, 1)}
    assert len(batches) == 4


def test_lightning_leaves_it_alone() -> None:
    assert isinstance(BatchOrder(4, 2), DistributedSampler)


def test_impossible_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="1 window cannot be shared by 2 processes: take fewer"):
        BatchOrder(1, 1, ranks=2)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        BatchOrder(4, 0)
    with pytest.raises(ValueError, match="batch 9 of 2 in epoch 0"):
        BatchOrder(4, 2).start(0, 9)


@pytest.mark.parametrize(
    ("windows", "size", "ranks"), [(25, 4, 1), (25, 4, 2), (26, 4, 3), (3, 4, 2)]
)
def test_without_dropping_ranks_share_every_window_of_an_epoch(windows, size, ranks):
    orders = [
        BatchOrder(windows, size, seed=3, drop_last=False, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    assert len({len(one) for one in orders}) == 1
    parts = [list(one.batches(5)) for one in orders]
    assert all(len(batches) == len(orders[0]) for batches in parts)
    seen = [number for batches in parts for batch in batches for number in batch]
    assert sorted(seen) == list(range(windows))
    assert seen != list(range(windows)) or windows < 4
    joint = [sorted(chain.from_iterable(step)) for step in zip(*parts, strict=True)]
    alone = BatchOrder(windows, size * ranks, seed=3, drop_last=False)
    if windows % (size * ranks) >= ranks:  # else the last batches are evened out
        assert joint == [sorted(batch) for batch in alone.batches(5)]
