"""Mean and deviation of each channel over the training images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from surform.data.images_samples import ImageSamples
from surform.data.normalizers import Normalizer

__all__ = ["channel_statistics", "given_statistics"]

_MOST = 10_000  # images; more hardly change the third digit


def channel_statistics(
    samples: ImageSamples, progress: Callable[[float], None] = lambda share: None
) -> Normalizer:
    """Over all pixels of the images as evaluation prepares them; 8-bit values as 0 to 1.

    Of more than ten thousand images so many are looked at, evenly spread.

    Raises:
        ValueError: a channel that is the same everywhere.
    """
    count = min(len(samples), _MOST)
    chosen = np.linspace(0, len(samples) - 1, count).round().astype(int)
    total, squares, pixels = 0.0, 0.0, 0
    for start in range(0, count, 64):
        images = samples[chosen[start : start + 64].tolist()].images.double().numpy()
        total = total + images.sum((0, 2, 3))
        squares = squares + np.square(images).sum((0, 2, 3))
        pixels += images.shape[0] * images.shape[2] * images.shape[3]
        progress(min(1.0, (start + 64) / count))
    scale = 255.0 if samples.source.eight_bit else 1.0
    mean = np.asarray(total) / pixels / scale
    variance = np.asarray(squares) / pixels / scale**2 - np.square(mean)
    deviation = np.sqrt(np.maximum(variance, 0))
    flat = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    if flat.any():
        name = samples.source.channels[int(np.argmax(flat))]
        raise ValueError(
            f"the channel {name} of {samples.source.name} is the same in all images: leave it out, "
            "or set data.normalize to none"
        )
    return _normalizer(mean, deviation)


def given_statistics(given: dict[str, list[float]], channels: tuple[str, ...]) -> Normalizer:
    """From published numbers: {"mean": [...], "std": [...]}, one per channel."""
    unknown = sorted(set(given) - {"mean", "std"})
    if unknown:
        raise ValueError(f"normalize has {unknown[0]!r}, but is to give mean and std")
    for name in ("mean", "std"):
        if len(given.get(name, ())) != len(channels):
            raise ValueError(
                f"normalize gives {len(given.get(name, ()))} numbers for {name}, but there are "
                f"{len(channels)} channels ({', '.join(channels)})"
            )
    return _normalizer(np.array(given["mean"]), np.array(given["std"]))


def _normalizer(mean: np.ndarray, std: np.ndarray) -> Normalizer:
    shape = (-1, 1, 1)  # of the channels in (B, C, H, W)
    return Normalizer(torch.from_numpy(mean).view(shape), torch.from_numpy(std).view(shape))
