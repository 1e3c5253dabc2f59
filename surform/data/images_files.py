"""Image files as arrays; what cannot be read exactly is refused with its name."""

from __future__ import annotations

import re
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
# what Pillow cuts to 8 bits in silence; BGR;16 are 5 or 6 bits per channel
_DEEP = re.compile(r"(?!BGR)\w+;(12|16|32)")


class _RefusedError(ValueError):
    """A whole image that cannot be taken as it is."""


@dataclass(frozen=True)
class Header:
    """What an image file says of itself: height and width [pixels]."""

    size: tuple[int, int]


def read_header(path: Path) -> Header:
    """The header of an image file; pixels are not decoded.

    Raises:
        ValueError: no image, an empty file, several pictures, or pixels of more than 8 bits.
    """
    with _opened(path) as image:
        _check_kind(image, path)
        # Pillow gives the upright size of TIFF files, of others that of the stored pixels
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _TURNED
        size = (image.width, image.height) if turned else (image.height, image.width)
        return Header(size)


def read_image(path: Path, channels: int) -> np.ndarray:
    """(height, width, channels) uint8, upright as its EXIF data say.

    Grey images repeat themselves in three channels; one channel is the luminance of colors.

    Raises:
        ValueError: a damaged file, several pictures, pixels of more than 8 bits, or transparent
            ones.
    """
    with _opened(path) as image:
        _check_kind(image, path)
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
    except _RefusedError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no image {path}") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        what = "is empty (0 bytes)" if empty else "is no image that can be read"
        raise ValueError(f"{path} {what}: replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large to decode ({first_line(error)})") from error
    except Exception as error:  # decoders raise errors of every kind
        reason = first_line(error)
        raise ValueError(f"{path} is damaged ({reason}): replace or remove it") from error


def _check_kind(image: Any, path: Path) -> None:
    """Pixels of 8 bits, and one picture only."""
    kinds = [image.mode] if image.mode not in (*_PLAIN, *_ALPHA) else list(_deep(image))
    if kinds:
        raise _RefusedError(
            f"{path} has pixels of the kind {kinds[0]!r}, which are no 8-bit ones: convert it, "
            "or give the images as an array (.npz, .zarr), whose values are taken as they are"
        )
    # beside the photograph, cameras keep previews in the same file (MPO)
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise _RefusedError(
            f"{path} holds {image.n_frames} pictures, and which one is meant is not known: keep one"
        )


def _deep(image: Any) -> Iterator[str]:
    """Kinds of stored pixels with more than 8 bits, which `image.mode` does not tell."""
    for tile in image.tile:
        given = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        kind = str(given[0])
        if _DEEP.match(kind):
            yield kind
        elif tile[0].startswith("ppm") and given[-1] > 255:  # the largest value
            yield f"{kind};16"


def _check_opaque(image: Any, path: Path) -> None:
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if alpha.min() < 255:
        raise _RefusedError(
            f"{path} is transparent in parts, and what shows through is not known: give it a "
            "background"
        )
