"""Images in arrays: .npz files, labelled arrays (xarray), scikit-learn's digits, or from Python."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import closest, first_line
from surform.data.images_source import ImageSource, class_numbers, one_label_each

__all__ = ["DIGITS", "ArrayImages", "array_images", "open_digits", "open_npz", "open_xarray"]

DIGITS = "digits"  # instead of a path: what needs no file
LAYOUTS = ("auto", "hwc", "chw")
_CHANNELS = (1, 3, 4)  # numbers of channels that tell where the channels are
_COLORS = {1: ("grey",), 3: ("red", "green", "blue")}
_IMAGES, _LABELS = ("images", "image", "x"), ("labels", "label", "y")
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass
class ArrayImages(ImageSource):
    """Images held in one array (N, H, W, C)."""

    pixels: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1, 1), np.uint8))

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, number: int) -> np.ndarray:
        return self.pixels[number]

    def title(self, number: int) -> str:
        return str(number)

    def nbytes(self) -> int:
        return self.pixels.nbytes

    def fingerprint(self) -> str:
        """Of all pixels, labels and classes."""
        digest = hashlib.sha256(f"{self.pixels.shape} {self.pixels.dtype} {self.classes}".encode())
        digest.update(np.ascontiguousarray(self.pixels).tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


def array_images(
    images: np.ndarray,
    labels: np.ndarray | None,
    where: str,
    *,
    classes: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    layout: str = "auto",
    parts: Mapping[str, np.ndarray] | None = None,
) -> ArrayImages:
    """Check arrays: (N, H, W), (N, H, W, C) or (N, C, H, W), and one label each.

    Args:
        labels: None where unknown.
        where: names the data in errors.
        layout: of images with channels, "hwc", "chw", or "auto".

    Raises:
        ValueError: other shapes, labels that do not fit, or numbers that are none.
    """
    pixels = _channels_last(np.asarray(images), layout, where)
    if pixels.dtype != np.uint8:
        pixels = _numbers(pixels, where)
    names = None if classes is None else tuple(str(name) for name in classes)
    found, known = np.zeros(0, dtype=np.int64), names or ()
    if labels is not None:
        checked = one_label_each(len(pixels), np.asarray(labels), where)
        found, known = class_numbers(checked, names, where)
    count = pixels.shape[-1]
    named = tuple(channels or _COLORS.get(count) or (f"channel_{i}" for i in range(count)))
    return ArrayImages(
        name=where,
        classes=known,
        labels=found,
        channels=named,
        size=(pixels.shape[1], pixels.shape[2]),
        eight_bit=pixels.dtype == np.uint8,
        parts=parts or {},
        pixels=pixels,
    )


def open_npz(path: Path, layout: str = "auto", labelled: bool = True) -> ArrayImages:
    """A .npz with `images` and `labels`, or `train_images`, `train_labels`, `test_images`, ...

    `classes` may name the classes. (MedMNIST's files are of this kind.)

    Raises:
        ValueError: a damaged file, objects that need unpickling, or arrays that are missing.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # a damaged file can fail in any way
        reason = first_line(error)
        if "pickle" in reason.lower():
            reason = "it holds objects, which are never unpickled"
        raise ValueError(f"{path} is refused or damaged: {reason}") from error
    classes = arrays.get("classes")
    names = None if classes is None else [str(name) for name in classes]
    split = {s: prefix for prefix, s in _SPLITS.items() if f"{prefix}_images" in arrays}
    if not split or not labelled:
        images = _one_of(arrays, _IMAGES, str(path))
        labels = _one_of(arrays, _LABELS, str(path)) if labelled else None
        return array_images(images, labels, str(path), classes=names, layout=layout)
    images = [arrays[f"{prefix}_images"] for prefix in split.values()]
    labels = [
        one_label_each(len(image), _one_of(arrays, (f"{prefix}_labels",), str(path)), str(path))
        for image, prefix in zip(images, split.values(), strict=True)
    ]
    return array_images(
        _joined(images, "images", path),
        _joined(labels, "labels", path),
        str(path),
        classes=names,
        layout=layout,
        parts=_parts(list(split), [len(image) for image in images]),
    )


def open_xarray(source: Any, where: str, labelled: bool = True) -> ArrayImages:
    """A dataset with `images` over (sample, y, x[, channel]), in any order, and `labels`.

    The last of these dimensions is called channel or band; its coordinates name the channels.

    Raises:
        ValueError: variables or dimensions are missing.
    """
    variables = {str(name): array for name, array in source.variables.items()}
    images = source[_name_of(variables, _IMAGES, where)]
    band = next((d for d in images.dims if d in ("channel", "band", "c")), None)
    sample = "sample" if "sample" in images.dims else images.dims[0]
    rest = [d for d in images.dims if d not in (sample, band)]
    if len(rest) != 2:
        raise ValueError(
            f"images of {where} have the dimensions {', '.join(map(str, images.dims))}: expected "
            "(sample, y, x) and perhaps channel"
        )
    ordered = images.transpose(sample, *rest, *([band] if band else []))
    names = [str(v) for v in images[band].values] if band and band in images.coords else None
    labels = source[_name_of(variables, _LABELS, where)].values if labelled else None
    classes = source.attrs.get("classes")
    return array_images(
        ordered.values,
        labels,
        where,
        classes=classes.split(",") if isinstance(classes, str) else classes,
        channels=names,
        layout="hwc",
    )


def open_digits() -> ArrayImages:
    """scikit-learn's 1797 digits of 8 x 8 pixels, grey levels 0 to 16 as 0 to 1; no file needed."""
    datasets = require_extra("sklearn.datasets", "vision", "reading the digits")
    found = datasets.load_digits()
    images = (found.images / 16).astype(np.float32)
    return array_images(images, found.target, DIGITS, classes=list("0123456789"))


def _channels_last(images: np.ndarray, layout: str, where: str) -> np.ndarray:
    if images.ndim == 3:
        return images[..., None]
    if images.ndim != 4:
        raise ValueError(
            f"the images of {where} have shape {images.shape}: expected (images, height, width) "
            "or (images, height, width, channels)"
        )
    if layout == "auto":
        first, last = images.shape[1] in _CHANNELS, images.shape[3] in _CHANNELS
        if first == last:
            raise ValueError(
                f"the images of {where} have shape {images.shape}, and which axis holds the "
                "channels cannot be told: set data.layout to hwc or chw"
            )
        layout = "chw" if first else "hwc"
    return images if layout == "hwc" else images.transpose(0, 2, 3, 1)


def _numbers(pixels: np.ndarray, where: str) -> np.ndarray:
    if pixels.dtype.kind not in "iufb":
        raise ValueError(f"the images of {where} are {pixels.dtype}: expected numbers")
    values = pixels.astype(np.float32)
    bad = ~np.isfinite(values).all(axis=(1, 2, 3))
    if bad.any():
        raise ValueError(f"image {int(np.argmax(bad))} of {where} has values that are no numbers")
    return values


def _one_of(arrays: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    return arrays[_name_of(arrays, names, where)]


def _name_of(arrays: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    for name in names:
        if name in arrays:
            return name
    raise ValueError(f"{where} has no array {names[0]!r}: {closest(names[0], arrays)}")


def _joined(arrays: Sequence[np.ndarray], what: str, path: Path) -> np.ndarray:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)))
        raise ValueError(f"the {what} of {path} differ in shape between the splits: {found}")
    return np.concatenate(arrays)


def _parts(names: Sequence[str], counts: Sequence[int]) -> dict[str, np.ndarray]:
    ends = np.cumsum([0, *counts])
    return {n: np.arange(ends[i], ends[i + 1]) for i, n in enumerate(names)}
