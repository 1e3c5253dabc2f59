"""Samples on meshes as batches: normalisers, splits, order, resumption."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surform.data import PointsData
from surform.data.points import PointBatch
from surform.data.points_order import LengthOrder
from tests.data.point_files import mesh_folder, sample, samples, store


def module(path: str, **options: Any) -> PointsData:
    chosen = {"split": {"train": 4, "validation": 1, "test": 1}, "dtype": "float64"} | options
    return PointsData(path, **chosen)


def test_normalisers_are_those_of_all_points_of_the_training_samples(tmp_path: Path) -> None:
    data = module(store(tmp_path / "a.zarr"), normalize_inputs="channel")
    points, parameters, targets, inputs = data.normalizers()
    train = samples(4)
    for normalizer, rows in (
        (points, np.concatenate([s.points for s in train])),
        (targets, np.concatenate([s.targets for s in train])),
        (parameters, np.stack([s.parameters for s in train])),
    ):
        assert np.allclose(normalizer.mean, rows.mean(0))
        assert np.allclose(normalizer.std, rows.std(0))
    inlet = np.concatenate([s.inputs["inlet"] for s in train])
    wall = np.concatenate([s.inputs["wall"] for s in train])
    assert np.allclose(inputs.mean, np.concatenate([inlet.mean(0), wall.mean(0)]))
    assert np.allclose(inputs.std, np.concatenate([inlet.std(0), wall.std(0)]))


def test_input_functions_are_left_alone_by_default(tmp_path: Path) -> None:
    inputs = module(store(tmp_path / "a.zarr")).normalizers()[3]
    assert inputs.mean.tolist() == [0] * 5
    assert inputs.std.tolist() == [1] * 5


def test_a_constant_column_becomes_zero(tmp_path: Path) -> None:
    constant = [sample(k, parameters=np.array([7.0])) for k in range(6)]
    parameters = module(store(tmp_path / "a.zarr", constant)).normalizers()[1]
    assert parameters.normalize(torch.tensor([7.0])).tolist() == [0]


def test_memory_and_files_give_the_same_batches(tmp_path: Path) -> None:
    for path in (store(tmp_path / "a.zarr"), mesh_folder(tmp_path / "m", 6)):
        batches = []
        for cache in ("memory", "files"):
            data = module(path, cache=cache, batch_size=2)
            assert data.samples("train").in_memory == (cache == "memory")
            batches.append(list(data.train_dataloader()))
        for one, other in zip(*batches, strict=True):
            same(one, other)


def same(one: PointBatch, other: PointBatch) -> None:
    assert one.index.tolist() == other.index.tolist()
    for name in ("points", "targets", "parameters", "mask", "weights"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name, values in one.inputs.items():
        assert torch.equal(values, other.inputs[name])


def test_more_than_fits_is_read_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surform.data.points_module._MEMORY_LIMIT", 1000)
    data = module(store(tmp_path / "a.zarr"))
    assert not data.samples("train").in_memory
    assert data.samples("train").held == 0
    assert len(data.samples("train")[[0, 1]]) == 2


def test_workers_read_the_same(tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5")
    alone = module(path, cache="files", batch_size=2)
    helped = module(path, cache="files", batch_size=2, workers=1)
    for one, other in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        same(one, other)


def test_the_description_gives_the_sizes_of_networks(tmp_path: Path) -> None:
    data = module(store(tmp_path / "a.zarr"))
    about = data.description()
    assert about.sizes() == {
        "in_channels": ("x", "y"),
        "parameters": ("re",),
        "input_channels": [3, 2],
        "out_channels": ("u", "p"),
    }
    assert "points" not in about.source  # nothing was read yet
    data.setup("fit")
    lengths = [len(s.points) for s in samples(4)]
    assert data.description().source["points"] == f"{min(lengths)} to {max(lengths)}"
    assert about.source["solver"] == "none"


def test_a_fingerprint_knows_the_content_not_the_file(tmp_path: Path) -> None:
    prints = {
        module(store(tmp_path / name)).description().source["fingerprint"]
        for name in ("a.zarr", "b.h5")
    }
    assert len(prints) == 1
    other = module(store(tmp_path / "c.zarr", [sample(k + 1) for k in range(6)]))
    assert other.description().source["fingerprint"] not in prints


def test_units_are_told_where_files_know_none(tmp_path: Path) -> None:
    data = module(mesh_folder(tmp_path, 6), units={"p": "Pa", "x": "m"})
    assert data.description().unit("p") == "Pa"
    assert data.description().unit("inlet_x") == "m"
    assert data.description().unit("velocity_x") is None


def test_the_default_split_holds_out_a_tenth_each(tmp_path: Path) -> None:
    data = PointsData(store(tmp_path / "a.zarr"))
    assert [len(data.samples(s)) for s in ("train", "validation", "test")] == [4, 1, 1]
    other = PointsData(store(tmp_path / "b.zarr"), test_path=store(tmp_path / "c.zarr"))
    assert [len(other.samples(s)) for s in ("train", "validation", "test")] == [5, 1, 6]


def test_every_epoch_is_a_shuffle_that_seed_and_epoch_decide(tmp_path: Path) -> None:
    def epochs(seed: int) -> list[list[list[int]]]:
        data = module(store(tmp_path / "a.zarr"), batch_size=2, seed=seed)
        order = data._loader("train", True)[1]
        return [list(order.batches(epoch)) for epoch in range(6)]

    first = epochs(0)
    assert first == epochs(0)
    assert first != epochs(1)
    assert all(sorted(chain(*epoch)) == [0, 1, 2, 3] for epoch in first)
    assert len({str(epoch) for epoch in first}) > 1


def lengths() -> np.ndarray:
    return np.random.default_rng(0).integers(10, 1000, 64)


def padding(order: LengthOrder, epoch: int = 0) -> float:
    sizes = lengths()
    batches = [sizes[b] for b in order.batches(epoch)]
    return sum(len(b) * b.max() - b.sum() for b in batches) / sum(b.sum() for b in batches)


def test_bucketing_pads_little_and_changes_with_the_epoch() -> None:
    mixed = LengthOrder(lengths(), 4, group=1)
    sorted_ = LengthOrder(lengths(), 4, group=16)
    assert padding(sorted_) < 0.2 * padding(mixed)
    assert list(sorted_.batches(0)) != list(sorted_.batches(1))
    everything = chain(*sorted_.batches(3))
    assert sorted(everything) == list(range(64))


def test_processes_share_the_joint_batches_of_one() -> None:
    one = LengthOrder(lengths(), 8, seed=3, group=2)
    two = [LengthOrder(lengths(), 4, seed=3, group=2, rank=r, ranks=2) for r in (0, 1)]
    for whole, *parts in zip(one.batches(5), *(o.batches(5) for o in two), strict=True):
        assert whole == parts[0] + parts[1]


def test_incomplete_batches_are_kept_or_dropped() -> None:
    some = lengths()[:10]
    kept = list(LengthOrder(some, 4, group=2, drop_last=False).batches(0))
    assert sorted(map(len, kept)) == [2, 4, 4]
    assert [len(b) for b in LengthOrder(some, 4, group=2).batches(0)] == [4, 4]


def test_evaluation_keeps_the_order(tmp_path: Path) -> None:
    data = module(store(tmp_path / "a.zarr"), split={"train": 1, "test": 5}, eval_batch_size=2)
    assert [b.index.tolist() for b in data.test_dataloader()] == [[0, 1], [2, 3], [4]]
    assert data.val_dataloader() == []
    assert data.samples("test").labels(torch.tensor([1]))["place"] == [
        f"{tmp_path / 'a.zarr'}, sample 2"
    ]


def test_training_continues_with_the_next_batch(tmp_path: Path) -> None:
    def batches(start: tuple[int, int]) -> list[list[int]]:
        data = module(store(tmp_path / "a.zarr"), batch_size=1)
        data.resume_at(*start)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(start[0])  # type: ignore[attr-defined]
        return [b.index.tolist() for b in loader]

    assert batches((1, 2)) == batches((1, 0))[2:]


def test_data_are_made_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def generate(path: str, options: dict[str, Any]) -> None:
        asked.append(options)
        store(Path(path))

    monkeypatch.setattr("surform.data.points_module.provide", generate)
    data = module(str(tmp_path / "a.zarr"), generate={"solver": "heat", "samples": 6})
    data.setup("fit")
    assert asked == [{"solver": "heat", "samples": 6}]
