"""Windows of one chunk near each other: what is read, what is seen, and in which order."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from surform.data.blocks import plan_blocks
from surform.data.fields_module import FieldsData
from surform.data.order import BatchOrder, block_order
from surform.data.selection import Selection
from surform.data.source import FieldSource
from tests.data.conftest import make_flow

WINDOWS: dict[str, Any] = {
    "inputs": ["w", "mask"], "targets": ["p"], "input_steps": 3, "target_steps": 2,
    "batch_size": 4, "split": {"train": 7, "validation": 2, "test": 2},
}  # fmt: skip


@pytest.fixture
def chunked(tmp_path: Path) -> list[str]:
    """Eleven samples of 24 frames in three files, in chunks of 2 samples and 4 frames."""
    flow = make_flow(11, 24)
    paths = []
    for number, part in enumerate((range(5), range(5, 6), range(6, 11))):
        path = str(tmp_path / f"{number}.nc")
        sizes = {"chunksizes": (min(2, len(part)), 4, 8, 4)}
        flow.isel(sample=list(part)).to_netcdf(
            path, engine="h5netcdf", encoding={"w": sizes, "p": sizes}
        )
        paths.append(path)
    return paths


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 9), st.integers(1, 4))
def test_an_epoch_sees_every_window_once(windows: int, size: int, joint: int, phases: int) -> None:
    blocks = np.arange(windows) // size
    found = block_order(3, 1, blocks, joint, phases)
    assert sorted(found) == list(range(windows))
    assert found.tolist() == block_order(3, 1, blocks, joint, phases).tolist()


@given(st.integers(8, 90), st.integers(1, 12), st.integers(1, 3), st.integers(1, 4))
def test_ranks_share_the_batches_of_one_process(n: int, size: int, batch: int, ranks: int) -> None:
    batch = min(batch, n // ranks)
    options: dict[str, Any] = {"seed": 5, "blocks": np.arange(n) // size, "phases": 4}
    one = list(BatchOrder(n, batch * ranks, **options).batches(2))
    parts = [BatchOrder(n, batch, rank=r, ranks=ranks, **options).batches(2) for r in range(ranks)]
    assert [list(chain(*step)) for step in zip(*parts, strict=True)] == one


def test_a_batch_is_mixed_and_a_block_is_finished_before_many_others_are_begun() -> None:
    blocks = np.arange(1600) // 16
    batches = block_order(0, 0, blocks, 8, 4).reshape(-1, 8)
    used = blocks[batches]
    assert all(len(set(row)) == 8 for row in used)
    assert np.mean([len(set(a) & set(b)) for a, b in pairwise(used)]) < 1
    for rank in range(2):  # of two processes, each of which keeps 16 blocks
        kept, loads = [], 0
        for block in used[:, 4 * rank : 4 * rank + 4].ravel():
            loads += block not in kept
            kept = [*(b for b in kept if b != block), block][-16:]
        assert loads <= 50 + 16  # half of the blocks; lanes begin in the middle of some
    assert block_order(0, 1, blocks, 8, 4).tolist() != batches.ravel().tolist()


def test_chunks_are_planned_whole(chunked: list[str]) -> None:
    selection = Selection(("w",), ("p",), input_steps=3, target_steps=2, time_stride=2)
    source = FieldSource(chunked, selection)
    assert source.chunk("w") == (2, 2)  # four frames, of which every second is kept
    assert [*source.groups(range(3, 9))] == [
        range(3, 4), range(4, 5), range(5, 6), range(6, 8), range(8, 9)
    ]  # fmt: skip
    tight = plan_blocks(source, 8, 0, 4, range(3, 9))
    assert (tight.count, tight.starts) == (2, 2)
    assert tight.nbytes == 2 * 4 * 2 * (2 + 4) * 32
    assert tight.first.tolist() == [3, 3, 3, 3, 4, 5, 6, 6, 8, 8, 10]
    assert plan_blocks(source, 8, 2**20, 4, range(3, 9)).starts == 8
    assert tight.gain > plan_blocks(source, 8, 2**20, 4, range(3, 9)).gain / 10 > 0


def test_batches_hold_the_same_values_in_whatever_order(chunked: list[str]) -> None:
    streamed = FieldsData(chunked, cache="files", shuffle="chunks", **WINDOWS)
    held = FieldsData(chunked, cache="memory", **WINDOWS)
    for split, loader in (
        ("train", streamed.train_dataloader()),
        ("validation", streamed.val_dataloader()),
        ("test", streamed.test_dataloader()),
    ):
        seen = []
        for batch in loader:
            expected = held.windows(split)[batch.index.tolist()]
            assert torch.equal(batch.inputs, expected.inputs)
            assert torch.equal(batch.targets, expected.targets)
            seen += batch.index.tolist()
        assert len(seen) == len(set(seen)) > 0
    for one, other in zip(streamed.normalizers(), held.normalizers(), strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("shuffle", "most"), [("windows", 10.0), ("chunks", 2.6)])
def test_what_an_epoch_reads(
    chunked: list[str], shuffle: Any, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames decoded over frames held: each read takes whole chunks."""
    read: Counter[str] = Counter()
    plain = FieldSource.read_many

    def counting(self: FieldSource, name: str, samples: range, start=0, frames=None) -> np.ndarray:
        values = plain(self, name, samples, start, frames)
        if name == "w":
            first, last = start // 4, (start + values.shape[1] - 1) // 4
            read[name] += sum(2 for _ in self.groups(samples)) * 4 * (last - first + 1)
        return values

    data = FieldsData(chunked, cache="files", shuffle=shuffle, **WINDOWS)
    data.normalizers()
    monkeypatch.setattr(FieldSource, "read_many", counting)
    monkeypatch.setattr("surform.data.reading._BLOCK_BYTES", 0)
    windows = sum(len(batch) for batch in data.train_dataloader())
    assert windows == 7 * 20
    assert most / 3 < read["w"] / (7 * 24) < most


def test_an_epoch_is_resumed_in_the_middle(chunked: list[str]) -> None:
    whole, resumed = (FieldsData(chunked, cache="files", shuffle="chunks", **WINDOWS),) * 2
    loader = whole.train_dataloader()
    loader.sampler.set_epoch(3)  # type: ignore[attr-defined]
    expected = [batch.index.tolist() for batch in loader]
    resumed = FieldsData(chunked, cache="files", shuffle="chunks", **WINDOWS)
    resumed.resume_at(3, 2)
    assert [batch.index.tolist() for batch in resumed.train_dataloader()] == expected[2:]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_read_the_same_batches(chunked: list[str], workers: int) -> None:
    alone, helped = (
        FieldsData(chunked, cache="files", shuffle="chunks", workers=n, **WINDOWS)
        for n in (0, workers)
    )
    loader = helped.train_dataloader()
    cache = helped.windows("train").store.cache  # type: ignore[union-attr]
    assert cache.capacity == 4 * 4 // workers
    for one, other in zip(alone.train_dataloader(), loader, strict=True):
        assert torch.equal(one.inputs, other.inputs)


def test_steady_samples_are_read_by_chunks_too(flow: xr.Dataset, tmp_path: Path) -> None:
    path = str(tmp_path / "f.zarr")
    flow[["a", "b"]].to_zarr(path, consolidated=False, encoding={"a": {"chunks": (3, 8, 4)}})
    data = FieldsData(path, ["a"], ["b"], cache="files", shuffle="chunks", batch_size=2)
    batches = list(data.train_dataloader())
    assert sorted(chain(*(b.index.tolist() for b in batches))) == [0, 1, 2, 3]
    np.testing.assert_array_equal(batches[0].inputs[0, ..., 0], flow["a"][batches[0].index[0]])


def test_large_data_read_at_random_are_remarked_on(
    chunked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surform.data.fields_module._MEMORY_LIMIT", 100)
    data = FieldsData(chunked, **WINDOWS)
    with pytest.warns(UserWarning, match=r"data.shuffle chunks would read \d+ times less"):
        data.train_dataloader()
    assert len(list(FieldsData(chunked, shuffle="chunks", **WINDOWS).train_dataloader())) == 35
