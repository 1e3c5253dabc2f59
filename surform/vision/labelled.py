"""Classify image files and arrays into tables, one row per image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.data.images_description import ImagesDescription
from surform.data.images_open import open_new_images
from surform.data.images_samples import ImageSamples
from surform.data.images_source import ImageSource
from surform.data.images_transforms import Preparation
from surform.data.solvers.progress import progress_bar
from surform.data.table_file import class_columns, write_table

if TYPE_CHECKING:
    import pandas as pd

    from surform.vision.classifier import ImageClassifier

__all__ = ["predict", "predict_file"]


def predict(
    model: ImageClassifier, source: Any, *, batch_size: int = 64, layout: str = "auto"
) -> pd.DataFrame:
    """A row per image: `image` (file or number), `prediction`, `probability`, and `p_<class>`.

    Args:
        source: an image, a folder of images at any depth, .npz, .zarr, .nc, "digits"; an array of
            images, or an xarray.Dataset.
        batch_size: images in one call of the network.
        layout: where arrays have their channels: "hwc", "chw" or "auto".

    Raises:
        ValueError: images that the model was not trained for, or a model that does not know what it
            was trained on.
    """
    import pandas as pd

    about = _described(model)
    images = open_new_images(source, len(about.channels), layout)
    _require_match(about, images)
    with progress_bar(f"classifying {images.name}") as progress:
        found = np.concatenate(list(_probabilities(model, images, about, batch_size, progress)))
    table: dict[str, Any] = {"image": [images.title(number) for number in range(len(images))]}
    table |= class_columns(about.classes, found)
    return pd.DataFrame(table)


def predict_file(
    model: ImageClassifier, source: str, out: str | os.PathLike[str], **options: Any
) -> Path:
    """`predict` from files into a `.csv` or `.parquet` file, all or nothing.

    Raises:
        ValueError: another kind of file, or what `predict` raises.
    """
    return write_table(out, [source], lambda: predict(model, source, **options))


def _described(model: ImageClassifier) -> ImagesDescription:
    about = model.description
    if about is None:
        raise ValueError(
            "the model does not know its classes and what its images were normalised with (it was "
            "converted from an official checkpoint): train it on, or give them with model.fit_to"
        )
    return about


def _require_match(about: ImagesDescription, images: ImageSource) -> None:
    if len(images.channels) != len(about.channels):
        raise ValueError(
            f"the model was trained on the channels {', '.join(about.channels)}, {images.name} has "
            f"{', '.join(images.channels)}"
        )
    if images.eight_bit != about.eight_bit:
        kinds = ("numbers as they are", "8-bit images")
        raise ValueError(
            f"the model was trained on {kinds[about.eight_bit]}, {images.name} holds "
            f"{kinds[images.eight_bit]}"
        )


def _probabilities(
    model: ImageClassifier,
    images: ImageSource,
    about: ImagesDescription,
    batch_size: int,
    progress: Any,
) -> Iterator[np.ndarray]:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    preparation = Preparation(about.image_size, about.crop_pct, about.interpolation)
    samples = ImageSamples(images, np.arange(len(images)), preparation)
    weight = next(model.parameters())
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(samples), batch_size):
            stop = min(start + batch_size, len(samples))
            batch = samples[list(range(start, stop))].images.to(weight.device)
            with torch.inference_mode():
                if batch.dtype != torch.uint8:
                    batch = batch.to(weight.dtype)
                yield model.probabilities(batch).float().cpu().numpy()
            progress(stop / len(samples))
    finally:
        model.train(was_training)
