"""Pictures of cameras: out of JPEG and PNG, and into the size that a network sees."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from surform.data.extras import require_extra
from surform.data.faults import first_line

__all__ = ["decode_image", "encode_png", "is_packed_image", "resized"]

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # JPEG, PNG


def is_packed_image(rows: Any) -> bool:
    """Whether steps hold the bytes of JPEG or PNG files, padded to one length or not."""
    if not len(rows) or getattr(rows, "ndim", 1) > 2:
        return False
    return _bytes(rows[0])[:8].startswith(_MAGIC)


def decode_image(
    packed: Any, shape: tuple[int, ...] | None, where: str
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in the bytes of a JPEG or PNG file.

    Args:
        packed: bytes, or an array of them.
        shape: what it must have; None: any.
        where: names it in errors.

    Raises:
        ValueError: it is damaged, or of another size.
        ImportError: pillow is missing.
    """
    pillow = require_extra("PIL.Image", "robotics", "reading JPEG or PNG")
    try:
        with pillow.open(io.BytesIO(_bytes(packed))) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{where} is no picture that can be read: {first_line(error)}") from error
    if shape is not None and pixels.shape != shape:
        raise ValueError(f"{where} is a picture of shape {pixels.shape}, but others are {shape}")
    return pixels


def encode_png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The bytes of a PNG file; ImportError without pillow."""
    pillow = require_extra("PIL.Image", "robotics", "writing PNG")
    stream = io.BytesIO()
    pillow.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def resized(images: UInt8[Tensor, "b c h w"], size: tuple[int, int]) -> UInt8[Tensor, "b c y x"]:
    """Images of another height and width, bilinear with antialiasing; the same where they fit."""
    if tuple(images.shape[-2:]) == size:
        return images
    found = F.interpolate(
        images.float(), size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return found.round_().clamp_(0, 255).to(torch.uint8)


def _bytes(packed: Any) -> bytes:
    if isinstance(packed, bytes | bytearray | memoryview):
        return bytes(packed)
    return packed.tobytes() if isinstance(packed, np.ndarray | np.void) else b""
