"""Classify image files and arrays into tables, one row per image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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

    about = model.described()
    images = open_new_images(source, len(about.channels), layout)
    _require_match(about, images)
    with progress_bar(f"classifying {images.name}") as progress:
        preparation = Preparation(about.image_size, about.crop_pct, about.interpolation)
        samples = ImageSamples(images, np.arange(len(images)), preparation)
        parts = model.classify(lambda own: samples[own].images, len(samples), batch_size, progress)
        found = np.concatenate(list(parts))
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
