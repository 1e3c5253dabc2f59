"""Images brought to one size for evaluation, and varied at random for training.

Random resized crops and RandAugment are timm's; both see 8-bit images with one or three channels.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from surform.data.extras import require_extra

__all__ = ["INTERPOLATIONS", "Preparation", "Variation"]

INTERPOLATIONS = ("bilinear", "bicubic")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preparation:
    """Resize so that `image_size` / `crop_pct` is covered, then keep the middle of `image_size`.

    Images that have the size already stay as they are where `crop_pct` is 1.
    """

    image_size: tuple[int, int]
    crop_pct: float = 1.0
    interpolation: str = "bicubic"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(h, w, c) -> (c, height, width), in the same kind of numbers."""
        if self.crop_pct == 1 and image.shape[:2] == self.image_size:
            return _channels_first(image)
        size = self._covering(image.shape[0], image.shape[1])
        resized = _resized(image, size, self.interpolation)
        top, left = (round((a - b) / 2) for a, b in zip(size, self.image_size, strict=True))
        cut = resized[top : top + self.image_size[0], left : left + self.image_size[1]]
        return _channels_first(cut)

    def _covering(self, height: int, width: int) -> tuple[int, int]:
        """The size to cut from, rounded down as torchvision does."""
        tall, wide = (math.floor(side / self.crop_pct) for side in self.image_size)
        if tall * width >= wide * height:
            return tall, max(wide, tall * width // height)
        return max(tall, wide * height // width), wide


@dataclass(frozen=True)
class Variation:
    """What training does to an image, drawn anew for each.

    Args:
        preparation: what evaluation does; it is done first where there is no `crop_scale`.
        crop_scale: least and largest share of the area that a random crop keeps; None: no crop.
        crop_ratio: least and largest width over height of the crop.
        interpolation: "bilinear", "bicubic" or "random", which chooses one of both.
        flip: probability of a mirror image.
        randaugment: timm's description of RandAugment ("rand-m9-mstd0.5-inc1"); "" for none.
        shift: most pixels by which an image is moved along each axis; what comes in is 0.
        mean: of the channels, 0 to 1: what RandAugment fills with.
    """

    preparation: Preparation
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "random"
    flip: float = 0.0
    randaugment: str = ""
    shift: int = 0
    mean: Sequence[float] = (0.5, 0.5, 0.5)
    _made: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def needs_pictures(self) -> bool:
        """Whether it works on 8-bit images with one or three channels only."""
        return self.crop_scale is not None or bool(self.randaugment)

    def check(self) -> None:
        """ValueError for a description that timm does not know; ImportError without timm."""
        self._policy()
        self._crop()

    def __call__(self, image: np.ndarray, *words: int) -> np.ndarray:
        """(h, w, c) -> (c, height, width), as a function of `words`."""
        generator = np.random.default_rng(words)
        if not self.needs_pictures:
            return self._moved(self.preparation(image).transpose(1, 2, 0), generator)
        with _seeded(generator):
            if self.crop_scale is not None:
                image = _as_array(self._crop()(_as_picture(image)), image)
            else:
                image = self.preparation(image).transpose(1, 2, 0)
            policy = self._policy()
            if policy is not None:
                image = _as_array(policy(_as_picture(image, color=True)), image)
        return self._moved(image, generator)

    def _moved(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        if self.flip and generator.random() < self.flip:
            image = image[:, ::-1]
        if self.shift:
            down, right = generator.integers(-self.shift, self.shift + 1, 2).tolist()
            image = _shifted(image, down, right)
        return _channels_first(image)

    def _crop(self) -> Any:
        if self.crop_scale is None:
            return None
        if "crop" not in self._made:
            transforms = require_extra("timm.data.transforms", "vision", "cropping at random")
            self._made["crop"] = transforms.RandomResizedCropAndInterpolation(
                self.preparation.image_size,
                scale=tuple(self.crop_scale),
                ratio=tuple(self.crop_ratio),
                interpolation=self.interpolation,
            )
        return self._made["crop"]

    def _policy(self) -> Callable[[Any], Any] | None:
        if not self.randaugment:
            return None
        if "policy" not in self._made:
            augment = require_extra("timm.data.auto_augment", "vision", "RandAugment")
            fill = tuple(min(255, round(255 * value)) for value in _three(self.mean))
            least = min(self.preparation.image_size)
            options = {"translate_const": int(least * 0.45), "img_mean": fill}
            if self.interpolation in INTERPOLATIONS:
                options["interpolation"] = _FILTERS[self.interpolation]
            try:
                self._made["policy"] = augment.rand_augment_transform(self.randaugment, options)
            except (AssertionError, ValueError, KeyError, IndexError) as error:
                raise ValueError(
                    f"randaugment is {self.randaugment!r}, which timm does not know: write it like "
                    "rand-m9-mstd0.5-inc1"
                ) from error
            for step in self._made["policy"].ops:
                if step.name.startswith("Posterize"):
                    step.aug_fn = functools.partial(_posterized, step.aug_fn)
        return self._made["policy"]


@contextmanager
def _seeded(generator: np.random.Generator) -> Iterator[None]:
    """What `random` and numpy, on which timm draws, give follows from the generator; both go on as
    before afterwards.
    """
    before, before_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    seed = generator.integers(2**32, size=2).tolist()
    random.seed(seed[0])
    np.random.seed(seed[1])  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)  # noqa: NPY002


def _posterized(original: Callable[..., Any], picture: Any, bits: int, **options: Any) -> Any:
    """timm asks for 0 bits at times, which Pillow refuses: nothing is left."""
    return picture.point(lambda _: 0) if bits < 1 else original(picture, bits, **options)


def _resized(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    if image.dtype == np.uint8 and image.shape[2] in (1, 3):
        picture = _as_picture(image).resize(size[::-1], _FILTERS[interpolation])
        return _as_array(picture, image)
    values = torch.from_numpy(_channels_first(image).astype(np.float32))[None]
    wide = F.interpolate(values, size, mode=interpolation, antialias=True)[0].permute(1, 2, 0)
    if image.dtype == np.uint8:
        return wide.round().clamp(0, 255).to(torch.uint8).numpy()
    return wide.numpy()


def _as_picture(image: np.ndarray, color: bool = False) -> Any:
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    return picture.convert("RGB") if color else picture  # timm's policies want colors


def _as_array(picture: Any, like: np.ndarray) -> np.ndarray:
    if like.shape[2] == 1:
        return np.asarray(picture.convert("L"))[..., None]
    return np.asarray(picture)


def _shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    moved, (height, width) = np.zeros_like(image), image.shape[:2]
    rows, columns = _overlap(down, height), _overlap(right, width)
    moved[rows[0], columns[0]] = image[rows[1], columns[1]]
    return moved


def _overlap(by: int, length: int) -> tuple[slice, slice]:
    """Where an axis that is moved comes to lie, and what of it is still seen."""
    return slice(max(by, 0), length + min(by, 0)), slice(max(-by, 0), length - max(by, 0))


def _channels_first(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _three(values: Sequence[float]) -> list[float]:
    return list(values) if len(values) == 3 else [float(values[0])] * 3
