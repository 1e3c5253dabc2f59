"""Images with one label each as a Lightning data module."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from surform.data.images_arrays import DIGITS, LAYOUTS
from surform.data.images_batch import ImageBatch
from surform.data.images_description import ImagesDescription
from surform.data.images_folder import FolderImages
from surform.data.images_open import open_images
from surform.data.images_samples import EpochOrder, ImageSamples
from surform.data.images_source import ImageSource
from surform.data.images_splits import divide
from surform.data.images_statistics import channel_statistics, given_statistics
from surform.data.images_transforms import INTERPOLATIONS, Preparation, Variation
from surform.data.loaders import joint_processes
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.solvers.progress import progress_bar

__all__ = ["ImagesData"]

_MEMORY_LIMIT = 2**30  # decoded images are held in memory up to this size under "auto"
_LEAST_CROP = 0.1  # of crop_pct: ten times as high and wide as is kept
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class ImagesData(OrderedData):
    """Images of several classes, from folders or arrays.

    8-bit images stand for numbers from 0 to 1; arrays of other numbers are taken as they are.

    Args:
        path: what `open_images` reads: a folder with a folder for each class (perhaps below train,
            val and test), .npz, .zarr, .nc, .h5, or "digits", which needs no file; in Python also
            an xarray.Dataset or a pair of arrays.
        image_size: side, or [height, width], that images are brought to [pixels]; None: theirs.
        channels: of image files: 3 (colors) or 1 (grey).
        classes: names of the classes in the order of their numbers; None finds them.
        layout: where arrays have their channels: "hwc", "chw" or "auto".
        split: "train", "validation", "test" -> a count or a fraction of the images, or of the
            training images where they are divided already; every class has its share. Default: 10
            per cent for validation, where it lacks, and as many for a test of undivided images.
        split_seed: of the division.
        crop_pct: evaluation resizes to `image_size` / crop_pct and keeps the middle.
        interpolation: of evaluation, "bilinear" or "bicubic".
        crop_scale: least and largest share of the area of random crops in training (timm); None:
            images are prepared as in evaluation.
        crop_ratio: least and largest width over height of these crops.
        train_interpolation: of the crops; "random" chooses one of both each time.
        flip: probability of a mirror image in training.
        randaugment: timm's description of RandAugment, such as "rand-m9-mstd0.5-inc1".
        shift: most pixels by which training moves an image along each axis.
        normalize: "train" standardises each channel over the training images; {"mean": [...],
            "std": [...]} gives published numbers, for values from 0 to 1; "none".
        batch_size: images per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        protocol: "clean", or "paper": the test images choose the best weights, too, as in
            published code.
        workers: processes that decode and vary images.
        cache: "memory" decodes image files once, "files" whenever they are needed, "auto" decides
            by size (1 GiB).
        seed: of shuffling and variation.
        dtype: of numbers that are not 8-bit: "float32" or "float64".
    """

    def __init__(
        self,
        path: Any = DIGITS,
        image_size: int | list[int] | None = None,
        channels: Literal[1, 3] = 3,
        classes: list[str] | None = None,
        layout: Literal["auto", "hwc", "chw"] = "auto",
        split: dict[str, int | float] | None = None,
        split_seed: int = 0,
        crop_pct: float = 1.0,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
        crop_scale: list[float] | None = None,
        crop_ratio: list[float] | None = None,
        train_interpolation: Literal["bilinear", "bicubic", "random"] = "random",
        flip: float = 0.0,
        randaugment: str = "",
        shift: int = 0,
        normalize: str | dict[str, list[float]] = "train",
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        protocol: Literal["clean", "paper"] = "clean",
        workers: int = 0,
        cache: Literal["auto", "memory", "files"] = "auto",
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("channels", channels, (1, 3)),
            ("layout", layout, LAYOUTS),
            ("interpolation", interpolation, INTERPOLATIONS),
            ("train_interpolation", train_interpolation, (*INTERPOLATIONS, "random")),
            ("protocol", protocol, ("clean", "paper")),
            ("cache", cache, ("auto", "memory", "files")),
            ("dtype", dtype, tuple(_DTYPES)),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(map(str, choices))}")
        for name, least, value in (
            ("batch_size", 1, batch_size), ("eval_batch_size", 1, eval_batch_size),
            ("workers", 0, workers), ("seed", 0, seed), ("split_seed", 0, split_seed),
            ("shift", 0, shift),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is {flip}, but must be a share of 1")
        if not _LEAST_CROP <= crop_pct <= 1:
            raise ValueError(
                f"crop_pct is {crop_pct}, but must be from {_LEAST_CROP} to 1: images are enlarged "
                "to image_size / crop_pct before their middle is kept"
            )
        if isinstance(normalize, str) and normalize not in ("train", "none"):
            raise ValueError(f"normalize={normalize!r}: choose train, none or mean and std")
        self.path, self.channels, self.classes, self.layout = path, channels, classes, layout
        self.image_size = None if image_size is None else _pair("image_size", image_size)
        self.split, self.split_seed = split, split_seed
        self.crop_pct, self.interpolation = crop_pct, interpolation
        self.variation: dict[str, Any] = {
            "crop_scale": _range("crop_scale", crop_scale, most=1.0),
            "crop_ratio": _range("crop_ratio", crop_ratio) or (3 / 4, 4 / 3),
            "interpolation": train_interpolation,
            "flip": flip,
            "randaugment": randaugment,
            "shift": shift,
        }
        self.normalize = normalize
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.protocol, self.workers = drop_last, protocol, workers
        self.cache, self.seed, self.dtype = cache, seed, _DTYPES[dtype]
        self._source: ImageSource | None = None
        self._numbers: dict[str, np.ndarray] = {}
        self._normalizer: Normalizer | None = None
        self._description: ImagesDescription | None = None

    # -- what the data are -------------------------------------------------------------------

    @property
    def source(self) -> ImageSource:
        """The images, opened and divided at first use."""
        if self._source is None:
            source = open_images(
                self.path, channels=self.channels, classes=self.classes, layout=self.layout
            )
            validate_on_test = self.protocol == "paper"
            self._numbers = divide(source, self.split, self.split_seed, validate_on_test)
            self._source = source
        return self._source

    def description(self) -> ImagesDescription:
        """Classes, channels, size and provenance of the images."""
        if self._description is None:
            source = self.source
            counts = ", ".join(f"{len(n):,} {split}" for split, n in self._numbers.items())
            self._description = ImagesDescription(
                classes=source.classes,
                channels=source.channels,
                image_size=self._size(),
                eight_bit=source.eight_bit,
                crop_pct=self.crop_pct,
                interpolation=self.interpolation,
                source={
                    "path": source.name,
                    "images": counts,
                    "fingerprint": source.fingerprint(),
                },
            )
        return self._description

    def normalizers(self) -> tuple[Normalizer]:
        """The normaliser of the channels."""
        if self._normalizer is None:
            self._normalizer = self._fitted()
        return (self._normalizer,)

    def check(self, trained: ImagesDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), self.source.name)

    def held_bytes(self) -> int:
        """What the images take in memory."""
        source = self.source
        decoded = not isinstance(source, FolderImages) or bool(source.held)
        return source.nbytes() if decoded else 0

    # -- Lightning's hooks -------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Open, check and, where they fit, decode the images; make the samples of the stage."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        source = self.source
        self._hold(source)
        for split in splits:
            if split in self._numbers:
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self._numbers[split]), ranks, f"{split} ")
        if stage == "fit":
            self._varied().check()

    # -- parts -------------------------------------------------------------------------------

    def samples(self, split: str, varied: bool = False) -> ImageSamples:
        """The images of "train", "validation" or "test": a data set of `ImageBatch`.

        Args:
            varied: as training varies them.
        """
        numbers = self._divided()
        if split not in numbers:
            raise ValueError(f"there are no {split} images: there are {', '.join(numbers)}")
        variation = self._varied() if varied else None
        return ImageSamples(
            self.source, numbers[split], self._preparation(), variation, self.seed, self.dtype
        )

    def _divided(self) -> dict[str, np.ndarray]:
        return self._numbers if self.source else {}

    def _size(self) -> tuple[int, int]:
        size = self.image_size or self.source.size
        if size is None:
            raise ValueError(
                f"the images of {self.source.name} differ in size: set data.image_size"
            )
        return size

    def _preparation(self) -> Preparation:
        return Preparation(self._size(), self.crop_pct, self.interpolation)

    def _varied(self) -> Variation:
        mean = self.normalizers()[0].mean.flatten().tolist()
        found = Variation(self._preparation(), mean=mean, **self.variation)
        source = self.source
        if found.shift >= min(self._size()):
            size = " x ".join(map(str, self._size()))
            raise ValueError(f"shift is {found.shift} pixels, but images are {size}")
        if found.needs_pictures and not (source.eight_bit and len(source.channels) in (1, 3)):
            raise ValueError(
                f"crop_scale and randaugment are for 8-bit images with 1 or 3 channels, which "
                f"{source.name} does not have: take flip and shift"
            )
        return found

    def _fitted(self) -> Normalizer:
        source = self.source
        if isinstance(self.normalize, dict):
            return given_statistics(self.normalize, source.channels)
        if self.normalize == "none":
            ones = torch.ones(len(source.channels), 1, 1)
            return Normalizer(torch.zeros_like(ones), ones)
        self._hold(source)
        with progress_bar(f"statistics of {source.name}") as progress:
            return channel_statistics(self.samples("train"), progress)

    def _hold(self, source: ImageSource) -> None:
        """Decode image files now, where they fit."""
        if not isinstance(source, FolderImages) or source.held or self.cache == "files":
            return
        if self.cache == "memory" or source.nbytes() <= _MEMORY_LIMIT:
            with progress_bar(f"decoding {source.name}") as progress:
                source.hold(progress)

    def _has(self, split: str) -> bool:
        return split in self._divided()

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[ImageBatch], BatchOrder]:
        samples = self.samples(split, varied=training)
        order = EpochOrder if training else BatchOrder
        return self._in_order(samples, order, training, self.workers)


def _pair(name: str, value: int | list[int] | tuple[int, ...]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise ValueError(f"{name} is {value!r}, but must be a side, or height and width, in pixels")
    return pair[0], pair[1]


def _range(
    name: str, value: list[float] | None, most: float = float("inf")
) -> tuple[float, float] | None:
    if value is None:
        return None
    if len(value) != 2 or not 0 < value[0] <= value[1] <= most:
        upper = f" <= {most:g}" if most < float("inf") else ""
        raise ValueError(f"{name} is {value}, but must be two numbers, 0 < least <= largest{upper}")
    return float(value[0]), float(value[1])
