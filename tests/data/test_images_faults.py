"""What is wrong with images is said in one sentence, before training where it can be known then."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from surform.data.images_files import read_header, read_image
from surform.data.images_module import ImagesData
from surform.data.images_open import open_images, open_new_images
from tests.data.image_files import arrays, deep_png, folder, picture

pytestmark = pytest.mark.fault


def refused(error: Any, message: str) -> None:
    text = str(error.value)
    assert message in text, text
    assert "\n" not in text


def start(path: Path, **options: Any) -> None:
    data = ImagesData(str(path), **options)
    data.description()
    data.normalizers()
    data.setup("fit")


def test_a_corrupt_jpeg(tmp_path: Path) -> None:
    folder(tmp_path)
    place = tmp_path / "cat" / "9.jpg"
    Image.fromarray(picture(0, 0, (40, 40))).save(place)
    data = place.read_bytes()
    place.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ValueError) as error:
        start(tmp_path, image_size=12)
    refused(error, f"{place} is damaged (image file is truncated")


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "is empty (0 bytes)"), (b"abc", "is no image")]
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, what: str) -> None:
    folder(tmp_path)
    (tmp_path / "dog" / "x.png").write_bytes(content)
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, f"{tmp_path / 'dog' / 'x.png'} {what}")


def test_16_bit_images(tmp_path: Path) -> None:
    folder(tmp_path)
    deep = Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12) * 400)
    deep.save(tmp_path / "owl" / "deep.png")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "deep.png has pixels of the kind 'I;16', which are no 8-bit ones: convert it")


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_images_that_pillow_would_cut(tmp_path: Path, channels: int) -> None:
    path, names = tmp_path / "deep.png", {2: "LA", 3: "RGB", 4: "RGBA"}
    path.write_bytes(deep_png(channels))
    for read in (read_header, lambda file: read_image(file, 3)):
        with pytest.raises(ValueError) as error:
            read(path)
        refused(error, f"{path} has pixels of the kind '{names[channels]};16B'")


def test_16_bit_images_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P6 2 1 65535\n" + bytes(12))
    with pytest.raises(ValueError) as error:
        read_header(path)
    refused(error, f"{path} has pixels of the kind 'RGB;16'")
    path.write_bytes(b"P6 2 1 31\n" + bytes([31] * 6))  # fewer bits are exact
    assert read_image(path, 3).tolist() == [[[255] * 3] * 2]


@pytest.mark.parametrize("kind", ["gif", "tif", "webp", "png"])
def test_files_of_several_pictures(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"moving.{kind}"
    pictures = [Image.fromarray(picture(seed, seed)) for seed in range(2)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    with pytest.raises(ValueError) as error:
        read_header(path)
    refused(error, f"{path} holds 2 pictures, and which one is meant is not known: keep one")


def test_a_preview_beside_the_photograph_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    pictures = [Image.fromarray(np.full((8, 8, 3), grey, np.uint8)) for grey in (200, 10)]
    pictures[0].save(path, format="MPO", save_all=True, append_images=pictures[1:])
    assert read_image(path, 3).mean() == pytest.approx(200, abs=1)


class _NamedError(Exception):
    """A sentence that begins with the file's name."""


def reading(read: Any, path: Path) -> None:
    try:
        read(path)
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise _NamedError from error
        raise


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "gif", "tif", "jpg"])
def test_whatever_a_damaged_file_does_to_its_decoder_its_name_is_said(
    tmp_path: Path, kind: str
) -> None:
    path, random = tmp_path / f"x.{kind}", np.random.default_rng(0)
    Image.fromarray(picture(0, 0)).save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(40):
        data = whole.copy()
        data[random.integers(0, min(len(data), 60), 2)] = random.integers(0, 256, 2)
        path.write_bytes(data.tobytes())
        for read in (read_header, lambda file: read_image(file, 3)):
            with suppress(_NamedError):
                reading(read, path)


def test_transparent_images(tmp_path: Path) -> None:
    folder(tmp_path)
    pixels = np.dstack([picture(0, 0), np.full((12, 12), 90, np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "owl" / "glass.png")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "glass.png is transparent in parts")


def test_images_of_several_sizes(tmp_path: Path) -> None:
    folder(tmp_path)
    Image.fromarray(picture(0, 0, (9, 14))).save(tmp_path / "owl" / "other.png")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "differ in size: set data.image_size")
    start(tmp_path, image_size=10)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        start(tmp_path / "absent")
    refused(missing, "no data at")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "holds no folders of classes: make one for each class")
    folder(tmp_path)
    (tmp_path / "yak").mkdir()
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "yak has no images: remove it, or fill it")


def test_what_does_not_belong_into_a_class(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")  # hidden: of the system
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    start(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "notes.txt is no image")
    (tmp_path / "cat" / "notes.txt").unlink()
    (tmp_path / "cat" / "more").mkdir()
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "more is a folder inside of a class")


def test_images_that_lie_in_no_class(tmp_path: Path) -> None:
    folder(tmp_path)
    Image.fromarray(picture(0, 0)).save(tmp_path / "stray.png")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "stray.png lies in no class: move it into one, or elsewhere")


def test_what_would_be_left_out_of_a_divided_folder(tmp_path: Path) -> None:
    folder(tmp_path, splits=("train", "test"))
    folder(tmp_path / "more")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, f"{tmp_path / 'more'} lies beside test, train and would be left out")
    (tmp_path / "more").rename(tmp_path / "val")
    start(tmp_path)
    folder(tmp_path, splits=("valid",))
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, f"{tmp_path / 'val'} and {tmp_path / 'valid'} both hold validation images")


def test_a_division_without_training_images(tmp_path: Path) -> None:
    folder(tmp_path, splits=("val", "test"))
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, "test has no train beside it")


def test_a_link_in_a_circle(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ValueError) as error:
        open_new_images(str(tmp_path), 3)
    refused(error, "again is a link to a folder that holds it: remove it")


def test_a_link_to_nothing(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError) as error:
        open_new_images(str(tmp_path), 3)
    refused(error, "there is no image")


def test_a_class_that_is_not_trained(tmp_path: Path) -> None:
    folder(tmp_path, splits=("train", "test"))
    (tmp_path / "test" / "owl").rename(tmp_path / "test" / "yak")
    with pytest.raises(ValueError) as error:
        start(tmp_path)
    refused(error, f"{tmp_path / 'test' / 'yak'} is no class of the training images")


def test_a_class_without_a_training_image(tmp_path: Path) -> None:
    images, labels = arrays()
    some = labels < 2
    splits = {"train_images": images[some], "train_labels": labels[some]}
    splits |= {"test_images": images, "test_labels": labels}
    np.savez(tmp_path / "x.npz", classes=np.array(["cat", "dog", "owl"]), **splits)
    with pytest.raises(ValueError) as error:
        start(tmp_path / "x.npz")
    refused(error, "x.npz shows the class 'owl': give more images of it")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(29), "has 30 images, but 29 labels"),
        (np.arange(30) / 2, "the labels of the arrays are no whole numbers"),
        (np.full(30, np.inf), "the labels of the arrays are no whole numbers"),
        (np.full(30, 2j), "the labels of the arrays are no whole numbers"),
        (np.array(["cat", None] * 15, object), "the arrays has no label at image 1"),
        (np.array(["cat", np.nan] * 15, object), "the arrays has no label at image 1"),
        (np.array(["cat", "dog", ""] * 10), "the arrays has no label at image 2"),
        (np.arange(30) - 2, "has the label -2 at image 0: classes count from 0"),
        (np.full((30, 3), 0.5), "at image 0 they are no probabilities that add up to 1"),
        (np.zeros((30, 2, 2)), "labels of the arrays have shape (30, 2, 2)"),
    ],
)
def test_labels_that_do_not_fit(labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError) as error:
        open_images((arrays()[0], labels))
    refused(error, message)


def test_classes_of_the_same_name() -> None:
    with pytest.raises(ValueError) as error:
        open_images(arrays(), classes=["a", "b", "b"])
    refused(error, "the arrays names the class 'b' twice")


def test_labels_beyond_the_named_classes() -> None:
    images, labels = arrays()
    with pytest.raises(ValueError) as error:
        open_images((images, labels), classes=["cat", "dog"])
    refused(error, "has the label 2 at image 2, but names 2 classes, 0 to 1")
    with pytest.raises(ValueError) as error:
        open_images((images, np.array(["cat", "dog", "owl"])[labels]), classes=["cat", "dog"])
    refused(error, "has the label 'owl', which is none of its classes")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((30, 8)), "the images of the arrays have shape (30, 8)"),
        (np.zeros((30, 5, 8, 8)), "which axis holds the channels cannot be told: set data.layout"),
        (np.full((30, 8, 8), np.nan), "image 0 of the arrays has values that are no numbers"),
        (np.full((30, 8, 8), "x"), "the images of the arrays are <U1: expected numbers"),
    ],
)
def test_arrays_that_are_no_images(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError) as error:
        open_images((images, arrays()[1]))
    refused(error, message)


def test_npz_files(tmp_path: Path) -> None:
    images, labels = arrays()
    path = tmp_path / "x.npz"
    np.savez(path, image_data=images, labels=labels)
    with pytest.raises(ValueError) as error:
        open_images(str(path))
    refused(error, "has no array 'images'")
    np.savez(path, images=np.array([{"a": 1}], dtype=object), labels=labels)
    with pytest.raises(ValueError) as error:
        open_images(str(path))
    refused(error, "it holds objects, which are never unpickled")
    np.savez(path, images=images, labels=labels)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ValueError) as error:
        open_images(str(path))
    refused(error, f"{path} is refused or damaged")
    np.savez(
        path,
        train_images=images,
        train_labels=labels,
        test_images=images[:, :4],
        test_labels=labels,
    )
    with pytest.raises(ValueError) as error:
        open_images(str(path))
    refused(error, "differ in shape between the splits")


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(ValueError) as error:
        open_images(str(tmp_path / "x.csv"))
    refused(error, "is neither a folder of images nor one of .npz, .nc")
    with pytest.raises(ValueError) as error:
        open_new_images(str(tmp_path), 3)
    refused(error, "holds no images")
    with pytest.raises(ValueError) as error:
        open_new_images(str(tmp_path), 5)
    refused(error, "image files have 1 or 3 channels, but the model takes 5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "channels=4: choose 1, 3"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"flip": 1.5}, "flip is 1.5, but must be a share of 1"),
        ({"crop_pct": 0.001}, "crop_pct is 0.001, but must be from 0.1 to 1: images are enlarged"),
        ({"crop_pct": 1.5}, "crop_pct is 1.5, but must be from 0.1 to 1"),
        ({"crop_scale": [0.5, 2.0]}, "crop_scale is [0.5, 2.0], but must be two numbers"),
        ({"image_size": [8]}, "image_size is [8], but must be a side, or height and width"),
        ({"normalize": "imagenet"}, "normalize='imagenet': choose train, none or mean and std"),
        ({"normalize": {"mean": [0.5], "std": [1, 1]}}, "normalize gives 2 numbers for std"),
        ({"shift": 8}, "shift is 8 pixels, but images are 8 x 8"),
        ({"randaugment": "rand-m9"}, "crop_scale and randaugment are for 8-bit images"),
        ({"split": {"train": 0.9, "tset": 0.1}}, "unknown split 'tset'"),
        ({"split": {"train": 0.9, "test": 0.2}}, "the splits overlap"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        start(Path("digits"), **options)
    refused(error, message)


def test_a_policy_that_timm_does_not_know() -> None:
    images, labels = arrays()
    data = ImagesData((images, labels), randaugment="random-m9")
    with pytest.raises(ValueError) as error:
        data.setup("fit")
    refused(error, "randaugment is 'random-m9', which timm does not know: write it like rand-m9")


def test_a_split_that_is_there_already(tmp_path: Path) -> None:
    folder(tmp_path, splits=("train", "test"))
    with pytest.raises(ValueError) as error:
        start(tmp_path, split={"train": 0.8, "test": 0.2})
    refused(error, "split names 'test' images")


def test_a_channel_that_is_the_same_everywhere() -> None:
    images, labels = arrays()
    images[..., 1] = 7
    with pytest.raises(ValueError) as error:
        ImagesData((images, labels)).normalizers()
    refused(error, "the channel green of the arrays is the same in all images")
