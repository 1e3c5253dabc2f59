"""Jets from files: layouts, order and cut by pT, splits, statistics, blocks of large files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surform.data import jets_source
from surform.data.jets_module import JetsData
from surform.data.jets_open import open_jets
from surform.data.jets_samples import PooledOrder
from tests.data.jet_files import LABELS, hls4ml, jetclass, jetclass_arrays, momenta, take

GENERATE = {"solver": "jets", "samples": 60, "seed": 0, "progress": False, "particles": 8}


def everything(source: Any) -> np.ndarray:
    return source.read(np.arange(len(source)))


def sorted_by_pt(values: np.ndarray, pt: np.ndarray) -> np.ndarray:
    return np.stack([jet[np.argsort(-own, kind="stable")] for jet, own in zip(values, pt)])  # noqa: B905


def test_hls4ml(tmp_path: Path) -> None:
    path = hls4ml(tmp_path / "a.h5")
    source = open_jets(str(path))
    assert source.features == ("pt", "etarel", "phirel")  # columns 5, 8 and 11
    assert source.classes == ("gluon", "quark", "W", "Z", "top")
    assert source.labels.tolist() == [n % 5 for n in range(20)]
    stored = take(path, "jetConstituentList")
    wanted = sorted_by_pt(stored[..., [5, 8, 11]], stored[..., 5])
    np.testing.assert_allclose(everything(source), wanted, rtol=1e-6)
    named = open_jets(str(path), features=["j1_erel", "costheta"], particles=9)
    assert named.features == ("erel", "costheta")
    cut = everything(named)
    assert cut.shape == (20, 9, 2)
    assert not cut[:, 6:].any()
    bare = hls4ml(tmp_path / "b.h5", particleFeatureNames=None)
    assert np.array_equal(everything(open_jets(str(bare))), everything(source))


def test_the_particles_of_the_largest_pt_are_kept(tmp_path: Path) -> None:
    path = hls4ml(tmp_path / "a.h5")
    kept = everything(open_jets(str(path), features=["pt"], particles=2))[..., 0]
    np.testing.assert_allclose(kept, -np.sort(-momenta(20, 6), axis=1)[:, :2], rtol=1e-6)


def test_jetclass(tmp_path: Path) -> None:
    path = jetclass(tmp_path / "a.h5")
    source = open_jets(str(path), features=["pt", "logptrel", "e_log", "deltaR", "part_charge"])
    assert source.classes == LABELS
    assert source.labels.tolist() == [n % 10 for n in range(20)]
    stored = jetclass_arrays(20, 5)
    pt = momenta(20, 5)
    columns = (
        pt,
        np.log(np.maximum(pt, 1e-8) / pt.sum(1, keepdims=True)),
        np.log(np.maximum(2 * pt, 1e-8)),
        np.hypot(stored["part_deta"], stored["part_dphi"]),
        stored["part_charge"],
    )
    wanted = np.stack(columns, -1) * (pt > 0)[..., None]
    np.testing.assert_allclose(everything(source), sorted_by_pt(wanted, pt), rtol=1e-5, atol=1e-6)
    usual = open_jets(str(path))
    assert usual.features[-2:] == ("deta", "dphi")


def test_jetclass_root(tmp_path: Path) -> None:
    uproot = pytest.importorskip("uproot")
    awkward = pytest.importorskip("awkward")
    arrays = jetclass_arrays(20, 5)
    counts = 1 + np.arange(20) % 5
    ragged = {
        n: awkward.Array([row[:k] for row, k in zip(v, counts, strict=True)]) if v.ndim > 1 else v
        for n, v in arrays.items()
    }
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree(
            "tree", {n: v.dtype if v.ndim == 1 else "var * float64" for n, v in arrays.items()}
        )
        file["tree"].extend(ragged)
    flat = open_jets(str(jetclass(tmp_path / "a.h5")))
    found = open_jets(str(tmp_path / "a.root"), particles=5)
    assert np.array_equal(found.labels, flat.labels)
    np.testing.assert_allclose(everything(found), everything(flat), rtol=1e-6)
    with pytest.raises(ValueError, match="of any length: say how many"):
        open_jets(str(tmp_path / "a.root"))


def test_generated_jets_and_their_densities(tmp_path: Path) -> None:
    data = JetsData(str(tmp_path / "j.zarr"), generate=GENERATE, batch_size=8)
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch.particles.shape[1:] == (8, 3)
    assert batch.log_densities.shape == (6, 5)
    found = batch.log_densities.softmax(1)[torch.arange(6), batch.targets]
    assert found.mean() > 0.3  # more than a fifth: they belong to these jets
    again = JetsData(str(tmp_path / "j.zarr"), features=["pt"])
    assert again.source.features == ("pt",)
    pt = torch.from_numpy(everything(again.source))[..., 0]
    logs = torch.from_numpy(everything(data.source))[..., 0]
    torch.testing.assert_close(torch.where(pt > 0, logs.exp(), 0.0), pt)
    assert "command" in data.description().source


def test_every_class_has_its_share_in_every_split(tmp_path: Path) -> None:
    path = hls4ml(tmp_path / "a.h5", count=100)
    data = JetsData(str(path), split={"train": 0.6, "validation": 0.2, "test": 0.2})
    numbers = [data.samples(split).numbers for split in ("train", "validation", "test")]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(100))
    for own in numbers:
        assert np.bincount(data.source.labels[own]).tolist() == [len(own) // 5] * 5
    other = JetsData(str(path), split_seed=1).samples("test").numbers
    assert not np.array_equal(JetsData(str(path)).samples("test").numbers, other)


def test_folders_of_splits_stay(tmp_path: Path) -> None:
    for number, name in enumerate(("train_100M", "val_5M", "test_20M")):
        (tmp_path / name).mkdir()
        hls4ml(tmp_path / name / "a.h5", count=10 + number, seed=number)
    hls4ml(tmp_path / "train_100M" / "b.h5", count=10, seed=7)
    data = JetsData(str(tmp_path))
    assert [len(data.samples(s)) for s in ("train", "validation", "test")] == [20, 11, 12]
    both = open_jets([str(tmp_path / "train_100M" / name) for name in ("a.h5", "b.h5")])
    assert np.array_equal(everything(both)[10:], everything(data.source)[10:20])


@pytest.mark.parametrize("normalize", ["particles", "padded", "none"])
def test_statistics(tmp_path: Path, normalize: Any) -> None:
    path = hls4ml(tmp_path / "a.h5", count=50)
    data = JetsData(str(path), normalize=normalize, split={"train": 1.0}, dtype="float64")
    (found,) = data.normalizers()
    x = everything(data.source).astype(np.float64).reshape(-1, 3)
    x = x[(x != 0).any(1)] if normalize == "particles" else x
    if normalize == "none":
        assert float(found.mean) == 0
        assert float(found.std) == 1
    else:
        np.testing.assert_allclose(found.mean.numpy(), x.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.std.numpy(), x.std(0), rtol=1e-4)


def test_large_files_are_read_in_blocks_of_which_few_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jets_source, "BLOCK", 4)
    path = hls4ml(tmp_path / "a.h5", count=200)
    whole = everything(open_jets(str(path)))
    source = open_jets(str(path))
    monkeypatch.setattr(jets_source, "_KEPT", 3 * 4 * source._jet_bytes())
    assert not source.held
    reads: list[int] = []
    read = source.files[0].read
    monkeypatch.setattr(
        source.files[0], "read", lambda start, stop: reads.append(start) or read(start, stop)
    )
    assert np.array_equal(source.read(np.array([199, 0, 3, 17, 2])), whole[[199, 0, 3, 17, 2]])
    assert reads == [0, 16, 196]
    source.read(np.array([1, 18, 198]))
    assert len(reads) == 3
    source.read(np.array([100]))
    assert len(source._cache) == 3


def test_a_pooled_epoch_has_every_jet_once_and_few_blocks_at_a_time() -> None:
    blocks = np.repeat(np.arange(100), 10)
    order = PooledOrder(1000, 40, 5, blocks=blocks, drop_last=False)
    first, second = (np.concatenate(list(order.batches(epoch))) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(1000))
    assert not np.array_equal(first, second)
    assert len(np.unique(blocks[first[:320]])) == 32
    assert len(np.unique(blocks[first[:40]])) > 15
    assert np.array_equal(np.concatenate(list(order.batches(0))), first)


def test_workers_open_files_themselves(tmp_path: Path) -> None:
    path = hls4ml(tmp_path / "a.h5", count=40)
    seen = []
    for workers in (0, 2):
        data = JetsData(str(path), batch_size=5, workers=workers)
        data.setup("fit")
        seen.append([batch.particles for batch in data.train_dataloader()])
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
