"""Image files as arrays; what cannot be read exactly is refused with its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from surform.data.faults import first_line

__all__ = ["IMAGES", "Header", "read_header", "read_image"]

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
_PLAIN = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """What an image file says of itself: height and width [pixels], and whether it is grey."""

    size: tuple[int, int]
    grey: bool


def read_header(path: Path) -> Header:
    """The header of an image file; pixels are not decoded.

    Raises:
        ValueError: no image, an empty file, or pixels of more than 8 bits.
    """
    with _opened(path) as image:
        _check_mode(image, path)
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        size = (image.width, image.height) if turned else (image.height, image.width)
        return Header(size, image.mode in ("1", "L", "LA", "La"))


def read_image(path: Path, channels: int) -> np.ndarray:
    """(height, width, channels) uint8, upright as its EXIF data say.

    Grey images repeat themselves in three channels; one channel is the luminance of colors.

    Raises:
        ValueError: a damaged file, pixels of more than 8 bits, or transparent ones.
    """
    with _opened(path) as image:
        _check_mode(image, path)
        upright = ImageOps.exif_transpose(image)
        _check_opaque(upright, path)
        pixels = np.asarray(upright.convert("RGB" if channels == 3 else "L"))
    return pixels if pixels.ndim == 3 else pixels[..., None]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An image file, with one sentence for whatever goes wrong inside."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no image {path}") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        what = "is empty (0 bytes)" if empty else "is no image that can be read"
        raise ValueError(f"{path} {what}: replace or remove it") from error
    except (OSError, SyntaxError, EOFError, IndexError) as error:  # of decoders
        reason = first_line(error)
        raise ValueError(f"{path} is damaged ({reason}): replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large to decode ({first_line(error)})") from error


def _check_mode(image: Any, path: Path) -> None:
    if image.mode not in (*_PLAIN, *_ALPHA):
        raise ValueError(
            f"{path} has pixels of the kind {image.mode!r}, which are no 8-bit ones: convert it, "
            "or give the images as an array (.npz, .zarr), whose values are taken as they are"
        )


def _check_opaque(image: Any, path: Path) -> None:
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if alpha.min() < 255:
        raise ValueError(
            f"{path} is transparent in parts, and what shows through is not known: give it a "
            "background"
        )
