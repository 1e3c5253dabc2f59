"""Rows that stay in Parquet: every row once over ranks and workers, resumable, as if in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surform.data import InteractionsData
from surform.data.interactions_ranges import RangeReader
from surform.data.interactions_stream import PHASES, Span, StreamOrder, StreamSamples
from surform.data.loaders import whole_batches
from tests.data.interaction_files import log, write

# what torch says where a machine has fewer cores than workers
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

COLUMNS: dict[str, Any] = {
    "categorical": ["user_id", "city"], "multivalued": ["tags"], "dense": ["price"],
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("logs")
    for number, rows in enumerate((700, 1, 500)):
        write(folder / f"day{number}.parquet", log(rows, number, first=1000 * number), group=90)
    return str(folder / "day*.parquet")


def streaming(files: str, **options: Any) -> InteractionsData:
    return InteractionsData(
        files, **COLUMNS, **{"cache": "files", "batch_size": 16, "shuffle_buffer": 256} | options
    )


def loaded(data: InteractionsData, rank: int, ranks: int, workers: int, **options: Any) -> Any:
    """A loader as one process of several has it."""
    rows = data.streamed("train")
    given = {"training": True, "drop_last": False} | options
    order = StreamOrder(len(rows), 16, 3, rank=rank, ranks=ranks, **given)
    samples: Any = StreamSamples(rows, given["training"], order.lanes, 3, 256)
    return whole_batches(samples, order, workers)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 3), (2, 2), (3, 0)])
@pytest.mark.parametrize("training", [True, False])
def test_an_epoch_has_every_row_once(files: str, ranks: int, workers: int, training: bool) -> None:
    data = streaming(files)
    loaders = [loaded(data, rank, ranks, workers, training=training) for rank in range(ranks)]
    batches = [list(loader) for loader in loaders]
    index = torch.cat([batch.index for own in batches for batch in own])
    assert sorted(index.tolist()) == list(range(960))
    assert len({len(own) for own in batches}) == 1
    assert [len(loader) for loader in loaders] == [len(batches[0])] * ranks


@pytest.mark.parametrize("split", ["train", "validation"])
def test_streamed_rows_are_those_in_memory(files: str, split: str) -> None:
    streamed, held = streaming(files), streaming(files, cache="memory")
    rows = streamed.streamed(split)
    order = np.arange(len(rows.counts))
    parts = RangeReader(rows, order, 0, len(rows)).take(len(rows))
    index = np.concatenate([part.index for part in parts])
    assert index.tolist() == list(range(len(rows)))
    expected = held.samples(split)[list(range(len(rows)))]
    start = 0
    for part in parts:
        batch = part.table.batch(slice(None), part.index)
        own = slice(start, start + len(part))
        start += len(part)
        for name in ("categorical", "dense", "labels", "lengths"):
            assert torch.equal(getattr(batch, name), getattr(expected, name)[own]), name
    assert start == len(rows)
    assert held.description().to_dict() == streamed.description().to_dict()


def test_shuffled_batches_hold_the_rows_that_their_index_says(files: str) -> None:
    data = streaming(files)
    expected = streaming(files, cache="memory").samples("train")
    for batch in data.train_dataloader():
        own = expected[batch.index.tolist()]
        for name in ("categorical", "dense", "labels", "lengths", "values"):
            assert torch.equal(getattr(batch, name), getattr(own, name)), name


def test_rows_are_mixed_and_epochs_differ(files: str) -> None:
    loader = streaming(files).train_dataloader()
    first = torch.cat([batch.index for batch in loader])
    again = torch.cat([batch.index for batch in loader])
    loader.sampler.set_epoch(1)
    second = torch.cat([batch.index for batch in loader])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    # a batch holds rows of several row groups, and neighbours are rarely neighbours in the files
    near = (first.diff().abs() <= 1).float().mean()
    assert near < 0.1
    spread = [int(batch.index.max() - batch.index.min()) for batch in loader]
    assert np.mean(spread) > 100


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 7, 30, 59])
def test_an_epoch_is_taken_up_anywhere(files: str, workers: int, batch: int) -> None:
    whole = [b.index for b in streaming(files, drop_last=False).train_dataloader()]
    data = streaming(files, drop_last=False, workers=workers)
    data.resume_at(0, batch)
    rest = [b.index for b in data.train_dataloader()]
    assert len(whole) == 60
    assert len(rest) == 60 - batch
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[batch:], strict=True))


def test_workers_do_not_change_the_batches(files: str) -> None:
    alone = [b.categorical for b in streaming(files).train_dataloader()]
    for workers in (1, 3, PHASES):
        found = [b.categorical for b in streaming(files, workers=workers).train_dataloader()]
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_evaluation_keeps_the_order(files: str) -> None:
    data = streaming(files, eval_batch_size=50)
    batches = list(data.val_dataloader())  # type: ignore[arg-type]
    assert [len(batch) for batch in batches] == [50, 50, 20]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(120))


def test_any_batch_can_be_asked_for(files: str) -> None:
    data = streaming(files)
    loader = data.train_dataloader()
    spans = list(loader.sampler)
    assert isinstance(spans[0], Span)
    batches = [batch.index for batch in loader]
    for place in (40, 3, 41, 0, 17):
        assert torch.equal(loader.dataset[spans[place]].index, batches[place])


def test_incomplete_batches_are_left_out(files: str) -> None:
    data = streaming(files, batch_size=100)
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [100] * 9
    assert len(torch.cat([batch.index for batch in batches]).unique()) == 900


def test_fewer_rows_than_a_batch_make_one(files: str) -> None:
    data = streaming(files, split={"train": 5, "test": 3}, batch_size=100)
    assert [len(batch) for batch in data.train_dataloader()] == [5]


def test_a_multiple_of_lanes_and_few_rows_more() -> None:
    for rows in range(1, 300):
        for ranks in (1, 2, 3):
            if rows < ranks:
                continue
            orders = [
                StreamOrder(rows, 8, training=True, drop_last=False, rank=rank, ranks=ranks)
                for rank in range(ranks)
            ]
            taken = np.zeros(rows, dtype=int)
            for order in orders:
                spans = list(order.batches(0))
                assert len(spans) == len(order)
                for span in spans:
                    assert 0 < span.stop - span.start <= 8
                    base = order.lanes.rows * (order.lanes.count if span.lane < 0 else span.lane)
                    taken[base + span.start : base + span.stop] += 1
            assert (taken == 1).all()


def test_evaluation_over_processes_loses_no_row() -> None:
    for rows in range(1, 60):
        for ranks in (1, 2, 3):
            for size in (1, 2, 7):
                if rows < ranks:
                    continue
                orders = [
                    StreamOrder(rows, size, training=False, rank=rank, ranks=ranks)
                    for rank in range(ranks)
                ]
                spans = [list(order.batches(0)) for order in orders]
                assert {len(own) for own in spans} == {len(orders[0])}
                taken = [n for own in spans for span in own for n in range(span.start, span.stop)]
                assert taken == list(range(rows))
                assert all(span.start < span.stop for own in spans for span in own)


@pytest.mark.parametrize("buffer", [1, 2, 9])
def test_a_small_buffer_loses_no_row(files: str, buffer: int) -> None:
    data = streaming(files, shuffle_buffer=buffer, batch_size=7, drop_last=False)
    index = torch.cat([batch.index for batch in data.train_dataloader()])
    assert sorted(index.tolist()) == list(range(960))
