"""Images from folders, arrays and scikit-learn: read, divided, prepared, varied, counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from surform.data.images_description import ImagesDescription
from surform.data.images_files import read_header, read_image
from surform.data.images_module import ImagesData
from surform.data.images_open import open_images, open_new_images
from surform.data.images_splits import mixed_order
from surform.data.images_transforms import Preparation, Variation
from tests.data.image_files import CLASSES, arrays, folder, picture


def everything(data: ImagesData, split: str):
    samples = data.samples(split)
    return samples[list(range(len(samples)))]


def test_a_folder_of_classes_is_read_and_every_class_divided_alike(tmp_path: Path) -> None:
    data = ImagesData(str(folder(tmp_path, each=10)), split={"train": 0.6, "test": 0.4})
    data.setup("fit")
    about = data.description()
    assert about.classes == CLASSES
    assert about.channels == ("red", "green", "blue")
    assert about.image_size == (12, 12)
    train, test = (everything(data, name) for name in ("train", "test"))
    assert train.targets.bincount().tolist() == [6, 6, 6]
    assert test.targets.bincount().tolist() == [4, 4, 4]
    assert train.images.dtype == torch.uint8
    assert (train.images.float().mean((2, 3)).argmax(1) == train.targets).all()
    names = [
        data.samples(s).labels(torch.arange(n))["name"] for s, n in (("train", 18), ("test", 12))
    ]
    assert not set(names[0]) & set(names[1])
    assert names[0][0].startswith("cat/")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_divided_folders_stay_as_they_are(tmp_path: Path, name: str) -> None:
    data = ImagesData(str(folder(tmp_path, each=2, splits=("train", name, "test"))))
    counts = {s: len(data.samples(s)) for s in ("train", "validation", "test")}
    assert counts == {"train": 6, "validation": 6, "test": 6}
    title = data.samples("validation").labels(torch.tensor([0]))["name"][0]
    assert title == f"{name}/cat/0.png"


def test_what_a_divided_folder_lacks_is_taken_from_training(tmp_path: Path) -> None:
    path = str(folder(tmp_path, each=10, splits=("train", "test")))
    found = ImagesData(path)
    counts = {s: len(found.samples(s)) for s in ("train", "validation", "test")}
    assert counts == {"train": 27, "validation": 3, "test": 30}
    paper = ImagesData(path, protocol="paper")
    assert len(paper.samples("train")) == 30
    assert len(paper.samples("validation")) == 30
    assert paper.description().source["images"] == "30 train, 30 test, 30 validation"


@pytest.mark.parametrize("layout", ["hwc", "chw", "grey"])
@pytest.mark.parametrize("kind", ["npz", "zarr", "nc", "pair", "dataset"])
def test_arrays_are_read_whatever_holds_them(tmp_path: Path, layout: str, kind: str) -> None:
    images, labels = arrays()
    stored = {"hwc": images, "chw": images.transpose(0, 3, 1, 2), "grey": images[..., 0]}[layout]
    dims = {"hwc": "sample y x channel", "chw": "sample channel y x", "grey": "sample y x"}[layout]
    dataset = xr.Dataset({"images": (dims.split(), stored), "labels": ("sample", labels)})
    source: object = (stored, labels) if kind == "pair" else dataset
    if kind == "npz":
        np.savez(tmp_path / "x.npz", images=stored, labels=labels)
    elif kind == "zarr":
        dataset.to_zarr(tmp_path / "x.zarr", consolidated=False)
    elif kind == "nc":
        dataset.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    if kind in ("npz", "zarr", "nc"):
        source = str(tmp_path / f"x.{kind}")
    found = open_images(source)
    expected = images[..., :1] if layout == "grey" else images
    assert np.array_equal(np.stack([found.read(i) for i in range(len(found))]), expected)
    assert found.labels.tolist() == labels.tolist()
    assert found.classes == ("0", "1", "2")
    assert found.eight_bit


def test_an_npz_may_hold_the_splits_and_the_names(tmp_path: Path) -> None:
    images, labels = arrays(12)
    np.savez(
        tmp_path / "mine.npz",
        train_images=images[:6],
        train_labels=labels[:6, None],  # as MedMNIST has them
        val_images=images[6:9],
        val_labels=labels[6:9],
        test_images=images[9:],
        test_labels=labels[9:],
        classes=np.array(CLASSES),
    )
    data = ImagesData(str(tmp_path / "mine.npz"))
    assert [len(data.samples(s)) for s in ("train", "validation", "test")] == [6, 3, 3]
    assert torch.equal(everything(data, "test").targets, torch.from_numpy(labels[9:]))
    assert data.description().classes == CLASSES


def test_labels_may_be_names_or_probabilities() -> None:
    images, labels = arrays()
    named = open_images((images, np.array(CLASSES)[labels]))
    assert named.classes == CLASSES
    assert named.labels.tolist() == labels.tolist()
    chances = np.eye(3)[labels] * 0.7 + 0.1
    data = ImagesData((images, chances), batch_size=5)
    batch = everything(data, "test")
    assert batch.targets.shape == (3, 3)
    torch.testing.assert_close(batch.targets.sum(1), torch.ones(3))


def test_the_digits_need_no_file() -> None:
    data = ImagesData("digits")
    assert len(data.source) == 1797
    assert data.description().image_size == (8, 8)
    batch = everything(data, "test")
    assert batch.images.dtype == torch.float32
    assert batch.images.max() == 1.0


def test_numbers_that_are_not_8_bit_stay_as_they_are() -> None:
    images, labels = arrays()
    values = images.astype(np.float64) * 100 - 7
    data = ImagesData((values, labels), dtype="float64")
    assert not data.description().eight_bit
    normalizer = data.normalizers()[0]
    train = everything(data, "train").images
    assert train.dtype == torch.float64
    found = normalizer.normalize(train)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std((0, 2, 3)), torch.ones(3).double(), atol=2e-3, rtol=0)


def test_statistics_are_of_the_training_images_between_0_and_1(tmp_path: Path) -> None:
    data = ImagesData(str(folder(tmp_path, each=10)))
    train = everything(data, "train").images.double() / 255
    mean, std = train.mean((0, 2, 3)), train.std((0, 2, 3), correction=0)
    normalizer = data.normalizers()[0]
    torch.testing.assert_close(normalizer.mean.flatten().double(), mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(normalizer.std.flatten().double(), std, rtol=1e-5, atol=0)
    given = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
    published = ImagesData(str(tmp_path), normalize=given).normalizers()[0]
    assert published.std.shape == (3, 1, 1)
    torch.testing.assert_close(published.mean.flatten(), torch.tensor([0.5, 0.4, 0.3]))


def test_pictures_are_upright_and_in_the_wanted_channels(tmp_path: Path) -> None:
    pixels = picture(0, 1, (6, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    source = open_new_images(str(tmp_path / "turned.png"), 3)
    assert source.size == (10, 6)
    assert np.array_equal(source.read(0), np.rot90(pixels, -1))
    Image.fromarray(pixels[..., 0]).save(tmp_path / "turned.png")
    grey = open_new_images(str(tmp_path / "turned.png"), 3).read(0)
    assert np.array_equal(grey, np.repeat(pixels[..., :1], 3, 2))
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "turned.png")  # opaque everywhere
    assert np.array_equal(open_new_images(str(tmp_path / "turned.png"), 3).read(0), pixels)
    assert open_new_images(str(tmp_path / "turned.png"), 1).read(0).shape == (6, 10, 1)


@pytest.mark.parametrize("size", [(50, 70), (50, 77), (77, 50), (41, 40), (20, 31), (97, 61)])
def test_evaluation_resizes_and_keeps_the_middle_as_timm_does(size: tuple[int, int]) -> None:
    from timm.data import create_transform

    pixels = picture(0, 0, size)
    ours = Preparation((32, 32), crop_pct=0.9)(pixels)
    theirs = create_transform(32, crop_pct=0.9, interpolation="bicubic", normalize=False)
    expected = theirs(Image.fromarray(pixels)).numpy()
    assert np.array_equal(ours, expected)
    assert Preparation((16, 40))(pixels).shape == (3, 16, 40)
    assert Preparation((40, 16), 0.9)(pixels).shape == (3, 40, 16)


def test_numbers_are_resized_as_8_bit_images_are() -> None:
    pixels = picture(0, 0, (50, 70))
    whole, floats = (Preparation((32, 32), 0.9)(x) for x in (pixels, pixels.astype(np.float32)))
    assert np.abs(floats - whole).max() < 3  # not rounded between the two passes


def test_images_of_the_right_size_are_left_alone() -> None:
    pixels = picture(0, 0)
    assert np.array_equal(Preparation((12, 12))(pixels), pixels.transpose(2, 0, 1))


VARIATIONS = {
    "crop": {"crop_scale": (0.3, 1.0)},
    "flip": {"flip": 0.5},
    "shift": {"shift": 3},
    "randaugment": {"randaugment": "rand-m9-mstd0.5-inc1"},
}


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_variation_is_a_function_of_its_words(name: str, channels: int) -> None:
    pixels = picture(0, 0, (16, 20))[..., :channels]
    variation = Variation(Preparation((16, 20)), **VARIATIONS[name])
    import random

    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    made = [variation(pixels, 0, 0, n) for n in range(12)]
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002
    again = [variation(pixels, 0, 0, n) for n in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    assert {image.shape for image in made} == {(channels, 16, 20)}
    assert {image.dtype for image in made} == {np.dtype(np.uint8)}
    assert len({image.tobytes() for image in made}) > 1


def test_shifts_and_flips_move_whole_images() -> None:
    pixels = np.arange(1, 17, dtype=np.float32).reshape(4, 4, 1)
    mirror = Variation(Preparation((4, 4)), flip=1.0)(pixels, 0)
    assert np.array_equal(mirror[0], pixels[:, ::-1, 0])
    moved = {Variation(Preparation((4, 4)), shift=1)(pixels, n).tobytes() for n in range(200)}
    padded = np.pad(pixels[..., 0], 1)
    expected = {padded[i : i + 4, j : j + 4][None].tobytes() for i in range(3) for j in range(3)}
    assert moved == expected


def test_nothing_is_left_of_images_posterised_to_no_bits() -> None:
    variation = Variation(Preparation((8, 8)), randaugment="rand-m10-n2-inc1")
    step = next(op for op in variation._policy().ops if op.name.startswith("Posterize"))
    assert not np.asarray(step.aug_fn(Image.fromarray(picture(0, 0)), 0)).any()


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_differ_and_repeat_exactly(tmp_path: Path, workers: int) -> None:
    options = {"shift": 2, "flip": 0.5, "batch_size": 4, "workers": workers, "seed": 3}
    images, labels = arrays()
    np.savez(tmp_path / "x.npz", images=images, labels=labels)

    def epochs(first: int = 0, batch: int = 0) -> list[list[torch.Tensor]]:
        data = ImagesData(str(tmp_path / "x.npz"), **options)
        data.setup("fit")
        data.resume_at(first, batch)
        loader = data.train_dataloader()
        found = []
        for epoch in range(first, 2):
            loader.sampler.set_epoch(epoch)
            found.append([b.images for b in loader])
        return found

    whole = epochs()
    assert [len(epoch) for epoch in whole] == [6, 6]
    assert not torch.equal(torch.cat(whole[0]).sort(0)[0], torch.cat(whole[1]).sort(0)[0])
    for part, (first, batch) in ((epochs(0, 2), (0, 2)), (epochs(1), (1, 0))):
        expected = [whole[first][batch:], *whole[first + 1 :]]
        for a, b in zip(part, expected, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_any_stretch_of_the_mixed_order_holds_the_classes_in_their_shares() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    order = mixed_order(labels, 0)
    assert sorted(order.tolist()) == list(range(100))
    for start in (0, 20, 50, 80):
        counts = np.bincount(labels[order[start : start + 20]], minlength=3)
        assert np.abs(counts - [12, 6, 2]).max() <= 2
    assert not np.array_equal(order, mixed_order(labels, 1))


def test_files_that_do_not_fit_are_decoded_as_needed(tmp_path: Path) -> None:
    path = str(folder(tmp_path))
    held, lazy = (ImagesData(path, cache=cache) for cache in ("memory", "files"))
    for data in (held, lazy):
        data.setup("fit")
    assert held.held_bytes() == 18 * 12 * 12 * 3
    assert lazy.held_bytes() == 0
    assert torch.equal(everything(held, "train").images, everything(lazy, "train").images)
    assert held.description() == lazy.description()


def test_a_description_survives_its_dictionary() -> None:
    data = ImagesData("digits", image_size=[8, 10], crop_pct=0.9)
    about = data.description()
    assert ImagesDescription.from_dict(about.to_dict()) == about
    assert about.sizes() == {
        "num_classes": tuple("0123456789"),
        "in_channels": ("grey",),
        "image_size": [8, 10],
    }
    with pytest.raises(ValueError, match="unknown keys in a description of images: colour"):
        ImagesDescription.from_dict(about.to_dict() | {"colour": 1})
    with pytest.raises(ValueError, match="lacks the keys classes"):
        ImagesDescription.from_dict({"channels": [], "image_size": []})


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_upright_files_have_their_upright_size(tmp_path: Path, kind: str) -> None:
    path, exif = tmp_path / f"x.{kind}", Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(picture(0, 0, (6, 10))).save(path, exif=exif)
    assert read_header(path).size == read_image(path, 3).shape[:2] == (10, 6)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "owl").rename(tmp_path / "train")
    source = open_images(str(tmp_path))
    assert source.classes == ("cat", "dog", "train")
    assert not source.parts


def test_splits_may_be_written_in_capitals(tmp_path: Path) -> None:
    source = open_images(str(folder(tmp_path, splits=("Train", "Test"))))
    assert set(source.parts) == {"train", "test"}


def test_links_are_followed_and_hidden_folders_are_not(tmp_path: Path) -> None:
    folder(tmp_path / "there", each=2)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "all").symlink_to(tmp_path / "there", target_is_directory=True)
    folder(tmp_path / "here" / ".old")
    source = open_new_images(str(tmp_path / "here"), 3)
    assert [source.title(number) for number in range(3)] == [
        "all/cat/0.png", "all/cat/1.png", "all/dog/0.png",
    ]  # fmt: skip
    assert len(source) == 6
