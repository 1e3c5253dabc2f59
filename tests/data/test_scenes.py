"""Hyperspectral scenes: every kind of file, windows, division, components, bad bands."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from surform.data.scenes_components import Components, Moments
from surform.data.scenes_cube import margins
from surform.data.scenes_description import ScenesDescription
from surform.data.scenes_module import ScenesData
from surform.data.scenes_open import open_labels, open_scene
from surform.data.scenes_samples import cut, turned
from surform.data.scenes_splits import divide, pure
from tests.data.scene_files import BANDS, WAVES, envi, labelled, scene

SHARES = {"train": 0.25, "validation": 0.25, "test": 0.5}


def data(cube: Any = None, labels: Any = None, **options: Any) -> ScenesData:
    if cube is None:
        cube, labels = scene()
    given = {"window": 4, "components": 3, "block": 8, "batch_size": 16} | options
    return ScenesData(cube, labels, **given)


def whole(cube: Any) -> np.ndarray:
    return cube.read(slice(0, cube.shape[0]), slice(0, cube.shape[1]), range(cube.shape[2]))


@pytest.mark.parametrize("ending", [".mat", ".npz", ".nc", ".zarr"])
def test_files_of_arrays(tmp_path: Path, ending: str) -> None:
    cube, labels = scene(9, 7)
    path = labelled(tmp_path / f"scene{ending}", cube, labels)
    found = open_scene(str(path))
    assert found.shape == cube.shape
    np.testing.assert_array_equal(whole(found), cube)
    np.testing.assert_array_equal(open_labels(str(path))[0], labels)
    assert found.wavelengths == (WAVES if ending in (".nc", ".zarr") else ())
    assert found.fingerprint() == open_scene(path).fingerprint()


def test_new_matlab_files_have_their_axes_the_other_way_round(tmp_path: Path) -> None:
    cube, labels = scene(9, 7)
    with h5py.File(tmp_path / "new.mat", "w") as file:
        file["paviaU"], file["paviaU_gt"] = cube.T, labels.T
    np.testing.assert_array_equal(whole(open_scene(tmp_path / "new.mat")), cube)
    np.testing.assert_array_equal(open_labels(tmp_path / "new.mat")[0], labels)


def test_numpy_files_are_mapped(tmp_path: Path) -> None:
    cube, labels = scene(9, 7)
    np.save(tmp_path / "cube.npy", cube)
    np.save(tmp_path / "map.npy", labels)
    found = open_scene(tmp_path / "cube.npy")
    assert isinstance(found.block(slice(0, 1), slice(0, 1)).base, np.memmap)
    np.testing.assert_array_equal(whole(found), cube)
    np.testing.assert_array_equal(open_labels(tmp_path / "map.npy")[0], labels)


@pytest.mark.parametrize(("interleave", "order"), [*product(("bsq", "bil", "bip"), "<>")])
def test_envi(tmp_path: Path, interleave: str, order: str) -> None:
    cube = (scene(9, 7)[0] * 1000).astype(f"{order}i2")
    header = envi(
        tmp_path / "scene", cube, interleave,
        **{"wavelength": "{ " + ", ".join(map(str, np.array(WAVES) / 1000)) + " }",
           "wavelength units": "Micrometers", "bbl": "{1, 1, 0, 1, 1, 1, 0}",
           "data ignore value": str(cube[0, 0, 0])},
    )  # fmt: skip
    for path in (header, header.with_suffix(".img")):
        found = open_scene(path)
        expected = np.where(cube == cube[0, 0, 0], np.nan, cube)
        np.testing.assert_array_equal(whole(found), expected)
        assert found.bad == (2, 6)
        assert found.wavelengths == pytest.approx(WAVES)


def test_envi_in_capital_letters(tmp_path: Path) -> None:
    cube = scene(9, 7)[0]
    header = envi(tmp_path / "scene", cube)
    capital = header.rename(tmp_path / "SCENE.HDR")
    numbers = header.with_suffix(".img").rename(tmp_path / "Scene.IMG")
    for path in (capital, numbers):
        np.testing.assert_array_equal(whole(open_scene(path)), cube)


def test_hdf5_whose_axes_have_no_names(tmp_path: Path) -> None:
    cube, labels = scene(9, 7)
    with h5py.File(tmp_path / "scene.h5", "w") as file:
        file["cube"], file["gt"], file["wave"] = cube, labels, np.arange(7.0)
    np.testing.assert_array_equal(whole(open_scene(tmp_path / "scene.h5")), cube)
    np.testing.assert_array_equal(open_labels(tmp_path / "scene.h5", "gt")[0], labels)


def test_bands_that_a_file_names_first_come_last(tmp_path: Path) -> None:
    cube, _ = scene(9, 7)
    values = (("wavelength", "y", "x"), cube.transpose(2, 0, 1))
    dataset = xr.Dataset({"reflectance": values}, coords={"wavelength": list(WAVES)})
    dataset.to_netcdf(tmp_path / "scene.nc", engine="h5netcdf")
    found = open_scene(tmp_path / "scene.nc")
    np.testing.assert_array_equal(whole(found), cube)
    assert found.wavelengths == WAVES
    np.testing.assert_array_equal(found.read(slice(2, 5), slice(1, 3), [4]), cube[2:5, 1:3, 4:5])


def test_a_classified_scene_names_its_classes(tmp_path: Path) -> None:
    labels = scene(9, 7)[1]
    names = "{ none, grass, soil,\n bare rock }"
    header = envi(tmp_path / "map", labels[..., None], **{"class names": names})
    found, classes = open_labels(header)
    np.testing.assert_array_equal(found, labels)
    assert classes == ("grass", "soil", "bare rock")


def test_geotiff(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    cube, labels = scene(9, 7)
    for name, values in (("cube", cube), ("map", labels[..., None])):
        shape = dict(zip(("height", "width", "count"), values.shape, strict=True))
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", dtype=values.dtype, **shape,
            transform=rasterio.Affine(30, 0, 0, 0, -30, 0),
        ) as file:  # fmt: skip
            file.write(np.moveaxis(values, -1, 0))
    np.testing.assert_array_equal(whole(open_scene(tmp_path / "cube.tif")), cube)
    np.testing.assert_array_equal(open_labels(tmp_path / "map.tif")[0], labels)


def test_a_geotiff_of_labels_without_a_place_says_what_is_unlabelled(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    labels = scene(9, 7)[1]
    shape = {"height": 9, "width": 7, "count": 1, "nodata": 255}
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):  # as it is written
        file = rasterio.open(tmp_path / "map.tif", "w", driver="GTiff", dtype="uint8", **shape)
    with file:
        file.write(np.where(labels == 0, 255, labels).astype(np.uint8), 1)
    np.testing.assert_array_equal(open_labels(tmp_path / "map.tif")[0], labels)


@pytest.mark.parametrize("window", [1, 4, 5])
def test_windows_are_those_of_a_padded_scene(window: int) -> None:
    cube, _ = scene(9, 7)
    opened, bands = open_scene(cube), [0, 2, 5]
    before, after = margins(window)
    padded = np.pad(cube, ((before, after), (before, after), (0, 0)), constant_values=np.nan)
    pixels = np.array([[0, 0], [8, 6], [4, 3], [0, 6]])
    expected = [padded[r : r + window, c : c + window, bands].transpose(2, 0, 1) for r, c in pixels]
    found = opened.windows((0, 9), (0, 7), bands, window).at(pixels)
    np.testing.assert_array_equal(found, np.stack(expected))
    np.testing.assert_array_equal(cut(opened, pixels, bands, window), found)


def test_an_even_window_reaches_back_further() -> None:
    assert margins(8) == (4, 3)  # rows r - 4 ... r + 3, as published


def test_windows_of_disjoint_splits_share_no_pixel() -> None:
    source = data()
    seen = {}
    before, after = margins(source.window)
    for split, pixels in source.pixels.items():
        touched = np.zeros(source.cube.shape[:2], dtype=bool)
        for row, column in pixels:
            touched[
                max(0, row - before) : row + after + 1, max(0, column - before) : column + after + 1
            ] = True
        seen[split] = touched
        assert len(np.unique(source.labels[tuple(pixels.T)])) == 3
    assert not (seen["train"] & seen["test"]).any()
    assert not (seen["train"] & seen["validation"]).any()
    assert not (seen["validation"] & seen["test"]).any()
    assert sum(map(len, source.pixels.values())) > 0.25 * (source.labels >= 0).sum()


def test_a_split_does_not_depend_on_anything_but_its_seed() -> None:
    again = [data(split_seed=seed).pixels for seed in (0, 0, 1)]
    assert all(np.array_equal(again[0][s], again[1][s]) for s in SHARES)
    assert any(not np.array_equal(again[0][s], again[2][s]) for s in SHARES)


def test_purity_is_that_of_every_pixel_of_a_window() -> None:
    parts = np.random.default_rng(0).integers(0, 2, (12, 9)).repeat(4, 0).repeat(4, 1)
    before, after = margins(3)
    found = pure(parts, 3)
    for row, column in ((0, 0), (5, 5), (17, 20), (47, 35), (30, 3)):
        own = parts[
            max(0, row - before) : row + after + 1, max(0, column - before) : column + after + 1
        ]
        assert found[row, column] == (own == parts[row, column]).all()


def test_overlapping_shares_are_those_of_every_class() -> None:
    _, labels = scene(40, 30)
    found = divide(labels.astype(int) - 1, 4, "overlapping", SHARES, 8, 0, "x")
    for number in range(3):
        total = (labels == number + 1).sum()
        for split, share in SHARES.items():
            own = (labels[tuple(found[split].T)] == number + 1).sum()
            assert abs(own - share * total) <= 2
    every = np.concatenate(list(found.values()))
    assert len(np.unique(every, axis=0)) == len(every) == (labels > 0).sum()


def test_components_are_white_on_training_pixels_and_know_no_others() -> None:
    cube, labels = scene()
    source = data(cube, labels)
    batch = source.samples("train")[range(len(source.samples("train")))]
    components = source.normalizers()[0]
    found = components(batch.patches)[:, :, 2, 2].double()
    torch.testing.assert_close(
        found.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0
    )
    covariance = found.T @ found / len(found)
    torch.testing.assert_close(covariance, torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=0)
    other = cube.copy()
    hidden = np.ones(labels.shape, bool)
    hidden[tuple(source.pixels["train"].T)] = False
    other[hidden] *= 3
    assert torch.equal(data(other, labels).normalizers()[0].rotation, components.rotation)
    looking = [data(x, labels, components_from="scene").normalizers()[0] for x in (cube, other)]
    assert not torch.equal(looking[0].rotation, looking[1].rotation)


def test_moments_do_not_depend_on_the_parts_they_are_added_in() -> None:
    spectra = np.random.default_rng(0).normal(1e4, 1.0, (50, 4))
    parts = Moments("x", 4)
    for rows in np.array_split(spectra, 7):
        parts.add(rows)
    parts.add(np.full((2, 4), np.nan))
    np.testing.assert_allclose(parts.mean, spectra.mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, np.cov(spectra.T, bias=True), atol=1e-6)


def test_what_lacks_a_number_is_as_the_mean_spectrum() -> None:
    moments = Moments("x", 3)
    moments.add(np.random.default_rng(0).normal(5.0, 2.0, (40, 3)))
    components = Components().fit_to(moments, 2)
    patches = torch.full((1, 3, 2, 2), torch.nan)
    patches[0, :2, 0, 0] = 1.0
    patches[0, :, 1, 1] = components.mean
    torch.testing.assert_close(components(patches), torch.zeros(1, 2, 2, 2), atol=1e-6, rtol=0)


def test_bands_without_components_are_standardised() -> None:
    source = data(components=None)
    batch = source.samples("train")[range(len(source.samples("train")))]
    found = source.normalizers()[0](batch.patches)[:, :, 2, 2]
    assert source.description().components == BANDS == found.shape[1]
    torch.testing.assert_close(found.mean(0), torch.zeros(BANDS), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.square().mean(0), torch.ones(BANDS), atol=1e-4, rtol=0)


def test_bad_and_empty_bands_and_pixels_without_a_spectrum_are_left_out(tmp_path: Path) -> None:
    cube, labels = scene()
    cube[..., 4] = np.nan
    cube[10, 10, 1] = np.nan
    header = envi(tmp_path / "scene", cube, bbl="{1, 1, 1, 1, 1, 1, 0}")
    np.save(tmp_path / "map.npy", labels)
    source = data(str(header), str(tmp_path / "map.npy"), drop_bands=[0])
    assert source.bands == (1, 2, 3, 5)
    assert source.labels[10, 10] == -1
    assert (source.labels >= 0).sum() == (labels > 0).sum() - 1
    assert source.description().all_bands == BANDS
    source.normalizers()


def test_scenes_beyond_memory_are_read_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    held = data().samples("test")
    monkeypatch.setattr("surform.data.scenes_module._MEMORY_LIMIT", 0)
    read = data().samples("test")
    assert held.windows is not None
    assert read.windows is None
    one, other = held[[3, 0, 7]], read[[3, 0, 7]]
    assert torch.equal(one.patches.nan_to_num(-9.0), other.patches.nan_to_num(-9.0))
    assert torch.equal(one.targets, other.targets)
    assert one.targets.tolist() == [held.targets[3], held.targets[0], held.targets[7]]


def test_eight_ways_to_turn_keep_the_pixel_in_the_middle() -> None:
    patch = np.arange(18.0).reshape(2, 3, 3)
    found = [turned(patch, way) for way in range(8)]
    assert len({each.tobytes() for each in found}) == 8
    for each in found:
        assert np.array_equal(each[:, 1, 1], patch[:, 1, 1])
        assert np.array_equal(np.sort(each.ravel()), np.sort(patch.ravel()))
    assert np.array_equal(found[1][0], [[2, 5, 8], [1, 4, 7], [0, 3, 6]])


def test_training_turns_windows_as_a_function_of_seed_epoch_and_pixel() -> None:
    source = data(window=5, block=10, turns=True)
    plain, varied = source.samples("train"), source.samples("train", varied=True)
    asked = [3, 0, 7]
    lying = plain[asked]
    seen = [varied[[number + epoch * len(plain) for number in asked]] for epoch in range(24)]
    for batch in seen:
        assert torch.equal(batch.targets, lying.targets)
        assert batch.index.tolist() == asked
        assert torch.equal(batch.patches[..., 2, 2], lying.patches[..., 2, 2])
    ways = {batch.patches[1].numpy().tobytes() for batch in seen}
    assert ways == {turned(lying.patches[1].numpy(), way).tobytes() for way in range(8)}
    again = data(window=5, block=10, turns=True).samples("train", varied=True)
    same = torch.equal(again[asked].patches.nan_to_num(), seen[0].patches.nan_to_num())
    other = data(window=5, block=10, turns=True, seed=1).samples("train", varied=True)
    assert same
    assert not torch.equal(other[asked].patches.nan_to_num(), seen[0].patches.nan_to_num())
    for loader, expected in ((source.val_dataloader(), source.samples("validation")),):
        batch = next(iter(loader))
        whole = expected[range(len(batch))]
        assert torch.equal(batch.patches.nan_to_num(), whole.patches.nan_to_num())


def test_descriptions_say_what_makes_figures_optimistic() -> None:
    clean, paper = data(), data(division="overlapping", components_from="scene")
    assert (clean.protocol, paper.protocol) == ("clean", "paper")
    assert clean.description().optimism() == ""
    text = paper.description().limits()
    assert "the windows of training and test pixels overlap, and the components were" in text
    assert paper.remarks()[0].startswith("Its figures are optimistic")
    about = paper.description()
    assert ScenesDescription.from_dict(about.to_dict()) == about


def test_a_class_that_a_split_lacks_is_told() -> None:
    cube, labels = scene(60, 24)
    labels[:] = np.where(labels == 3, 1, labels)
    labels[3:7, 3:7] = 3  # within one block
    source = data(cube, labels)
    assert any("no test pixel is left of 3" in each for each in map(str.lower, source.remarks()))
    assert "not in test" in source.description().table()
