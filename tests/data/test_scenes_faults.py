"""What is wrong with a scene is said in one sentence, before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.data.scenes_components import Components, Moments
from surform.data.scenes_module import ScenesData
from surform.data.scenes_open import open_labels, open_scene
from tests.data.scene_files import envi, labelled, scene

pytestmark = pytest.mark.fault


def refused(error: Any, message: str) -> None:
    text = str(error.value)
    assert message in text, text
    assert "\n" not in text


def start(cube: Any = None, labels: Any = None, **options: Any) -> ScenesData:
    if cube is None:
        cube, labels = scene()
    given = {"window": 4, "components": 3, "block": 8} | options
    data = ScenesData(cube, labels, **given)
    data.description()
    data.normalizers()
    return data


def test_a_label_map_of_another_size() -> None:
    cube, labels = scene()
    with pytest.raises(ValueError) as error:
        start(cube, labels[:, 1:])
    refused(error, "the label map has 30 x 23 pixels, the array has 30 x 24 and 7 bands: axes are")


def test_a_cube_whose_bands_come_first() -> None:
    cube, labels = scene()
    with pytest.raises(ValueError) as error:
        start(cube.transpose(2, 0, 1), labels)
    refused(
        error, "the array has 7 x 30 and 24 bands: axes are rows, columns, bands, in this order"
    )


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, 2.0**40])
def test_labels_that_are_no_classes(value: float) -> None:
    labels = scene()[1].astype(float)
    labels[3, 5] = value
    with pytest.raises(ValueError) as error:
        open_labels(labels)
    refused(error, f"the label map has {value} at row 3, column 5: labels are whole numbers")


def test_a_label_map_of_words() -> None:
    with pytest.raises(ValueError) as error:
        open_labels(scene()[1].astype(str))
    refused(
        error, "the label map is <U3 of shape (30, 24), but a label map has rows and columns of"
    )


def test_a_label_map_with_one_class_or_a_gap() -> None:
    cube, labels = scene()
    with pytest.raises(ValueError) as error:
        start(cube, np.minimum(labels, 1))
    refused(error, "the label map has fewer than two classes")
    with pytest.raises(ValueError) as error:
        start(cube, np.where(labels == 2, 3, labels))
    refused(error, "the label map has no pixel of class 2")


def test_more_classes_than_names() -> None:
    with pytest.raises(ValueError) as error:
        start(classes=["grass", "soil"])
    refused(error, "the label map has class 3, but classes names 2")


def test_a_name_for_two_classes() -> None:
    with pytest.raises(ValueError) as error:
        start(classes=["grass", "soil", "grass"])
    refused(error, "classes names 'grass' twice")


def test_a_band_that_is_missing_nearly_everywhere() -> None:
    cube, labels = scene()
    cube[1:, :, 3] = np.nan
    cube[labels == 2, 5] = np.nan
    with pytest.raises(ValueError) as error:
        start(cube, labels)
    refused(
        error, "no pixel of class 2 has a number in all bands of the array; band 3 lacks most, "
    )
    refused(error, "labelled pixels: put it into data.drop_bands")


def test_a_scene_smaller_than_its_windows() -> None:
    cube, labels = scene()
    with pytest.raises(ValueError) as error:
        start(cube[:3, :3], labels[:3, :3])
    refused(error, "no pixel of the array is left for")


def test_infinite_numbers() -> None:
    cube, labels = scene()
    cube[20, 7, 4] = np.inf
    with pytest.raises(ValueError) as error:
        start(cube, labels)
    refused(error, "the array has an infinite number at row 20, column 7, band 4")


def test_no_band_is_left() -> None:
    cube, labels = scene()
    with pytest.raises(ValueError) as error:
        start(cube * np.nan, labels)
    refused(error, "no band of the array is left: all are bad, dropped or empty")


def test_a_bad_band_that_is_not_there() -> None:
    with pytest.raises(ValueError) as error:
        start(drop_bands=[7])
    refused(error, "drop_bands has 7, but the array has 0 to 6")


def test_more_components_than_spectra_have() -> None:
    with pytest.raises(ValueError) as error:
        start(components=8)
    refused(error, "components is 8, but the spectra of the array that PCA sees have 7 (7 bands)")


def test_a_band_that_never_changes() -> None:
    cube, labels = scene()
    cube[..., 2] = 0.5
    with pytest.raises(ValueError) as error:
        start(cube, labels, components=None)
    refused(error, "band 2 of the array is the same in all training pixels: put it into data.drop")


def test_spectra_that_are_all_the_same_or_missing() -> None:
    moments = Moments("x", 2)
    with pytest.raises(ValueError) as error:
        Components().fit_to(moments, 1)
    refused(error, "x has 0 whole training spectra: give more")
    moments.add(np.ones((4, 2)))
    with pytest.raises(ValueError) as error:
        Components().fit_to(moments, 1)
    refused(error, "all spectra of x are the same")


def test_a_class_without_a_training_pixel() -> None:
    cube, labels = scene()
    labels[labels == 3] = 1
    labels[8, 8] = 3  # at the border of a block: its window reaches over it
    with pytest.raises(ValueError) as error:
        start(cube, labels, split={"train": 0.3, "test": 0.7})
    refused(error, "no training pixel of the array has the class 3: take a smaller data.block")


def test_blocks_that_leave_nothing() -> None:
    with pytest.raises(ValueError) as error:
        start(block=30)
    refused(error, "no pixel of the array is left for")
    with pytest.raises(ValueError) as error:
        start(block=3)
    refused(error, "block is 3, but no window of 4 pixels fits into it")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": 10, "test": 0.5}, "split train=10: give the share of the labelled pixels"),
        ({"train": 0.6, "test": 0.5}, "the splits overlap"),
        ({"trains": 0.5}, "unknown split 'trains'"),
    ],
)
def test_shares_that_are_none(split: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        start(split=split)
    refused(error, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"division": "random"}, "division='random': choose disjoint, overlapping"),
        ({"components_from": "test"}, "components_from='test': choose training, scene"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"turns": True}, "turns is true and window is 4, but only the pixel of an odd window"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        start(**options)
    refused(error, message)


def test_a_truncated_envi_scene(tmp_path: Path) -> None:
    header = envi(tmp_path / "scene", scene(9, 7)[0])
    data = header.with_suffix(".img")
    data.write_bytes(data.read_bytes()[:-5])
    with pytest.raises(ValueError) as error:
        open_scene(header)
    refused(error, f"{data} is truncated: scene.hdr tells of 1764 bytes, it has 1759")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interleave": "tiled"}, "interleave is 'tiled', but must be bsq, bil or bip"),
        ({"data type": "6"}, "data type 6 is none of the real numbers"),
        ({"lines": "many"}, "lines is 'many', but must be a whole number"),
        ({"bbl": "{1, 0}"}, "bbl lists 2 bands, the scene has 7"),
        ({"wavelength": "{400, 500}"}, "has 7 bands, but 2 wavelengths"),
        ({"wavelength": "{a, b}"}, "wavelength holds 'a' and more: numbers are due"),
        ({"wavelength": "{1, 2}", "wavelength units": "Index"}, "wavelength units 'index' are"),
    ],
)
def test_envi_headers_that_do_not_fit(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    header = envi(tmp_path / "scene", scene(9, 7)[0], **fields)
    with pytest.raises(ValueError) as error:
        open_scene(header)
    refused(error, message)


def test_headers_without_numbers_and_files_that_are_no_headers(tmp_path: Path) -> None:
    header = envi(tmp_path / "scene", scene(9, 7)[0])
    header.with_suffix(".img").unlink()
    with pytest.raises(FileNotFoundError) as error:
        open_scene(header)
    refused(error, "is a header, but its numbers are not beside it")
    header.with_suffix(".img").touch()
    header.write_text("hello")
    with pytest.raises(ValueError) as error:
        open_scene(header)
    refused(error, "is no ENVI header: its first word is not ENVI")


@pytest.mark.parametrize("ending", [".mat", ".npz", ".npy"])
def test_damaged_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scene{ending}"
    cube, labels = scene(9, 7)
    np.save(path, cube) if ending == ".npy" else labelled(path, cube, labels)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError) as error:
        open_scene(path)
    refused(error, f"{path} is refused or damaged")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError) as error:
        open_scene(tmp_path / "scene.npy")
    refused(error, "it holds objects, which are never unpickled")


def test_arrays_that_are_not_there_or_several(tmp_path: Path) -> None:
    cube, labels = scene(9, 7)
    np.savez(tmp_path / "x.npz", first=cube, second=cube, labels=labels)
    with pytest.raises(ValueError) as error:
        open_scene(tmp_path / "x.npz")
    refused(error, "holds several arrays of 3 axes, first, second: set cube_name")
    with pytest.raises(ValueError) as error:
        open_scene(tmp_path / "x.npz", name="frist")
    refused(error, "has no array 'frist': did you mean 'first'?")
    with pytest.raises(ValueError) as error:
        open_scene(tmp_path / "x.npz", name="labels")
    refused(error, "labels of")
    np.savez(tmp_path / "y.npz", cube=cube)
    with pytest.raises(ValueError) as error:
        open_labels(tmp_path / "y.npz")
    refused(error, "holds no array of 2 axes: it holds cube")
    labelled(tmp_path / "z.nc", cube, labels)
    with pytest.raises(ValueError) as error:
        open_scene(tmp_path / "z.nc", sample=1)
    refused(error, "has 1 scenes, sample 1 is not there")


def test_what_is_no_scene(tmp_path: Path) -> None:
    (tmp_path / "scene.xyz").write_text("1 2 3")
    with pytest.raises(ValueError) as error:
        open_scene(tmp_path / "scene.xyz")
    refused(error, "is no scene that can be read: give one of .mat")
    with pytest.raises(ValueError) as error:
        open_scene(np.zeros((3, 4)))
    refused(error, "a scene has rows, columns and bands of numbers")
    with pytest.raises(FileNotFoundError):
        open_scene(tmp_path / "nowhere.mat")
    header = envi(tmp_path / "cube", scene(9, 7)[0])
    with pytest.raises(ValueError) as error:
        open_labels(header)
    refused(error, "has 7 bands, but a label map has one")
