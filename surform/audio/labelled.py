"""Classify sound files and arrays into tables, one row per clip; long clips by windows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.clips_description import ClipsDescription
from surform.data.clips_files import Reading
from surform.data.clips_open import open_new_clips
from surform.data.clips_samples import ClipSamples, Windows
from surform.data.clips_source import ClipSource
from surform.data.extras import require_extra
from surform.data.solvers.progress import progress_bar
from surform.data.table_file import class_columns, write_table

if TYPE_CHECKING:
    import pandas as pd

    from surform.audio.classifier import AudioClassifier

__all__ = ["predict", "predict_file"]


def predict(
    model: AudioClassifier,
    source: Any,
    *,
    batch_size: int = 32,
    stereo: str = "refuse",
    resample: bool = False,
    windows: bool = False,
) -> pd.DataFrame:
    """A row per clip: `clip` (file or number), `seconds`, `prediction`, `probability`, and
    `p_<class>`.

    Clips longer than the network's spectrograms are looked at in windows, one after the other, and
    probabilities are means over these. A rest shorter than half a window is left out. Where clips
    have several classes, `prediction` names those above one half, divided by ;.

    Args:
        source: a file, a folder of files at any depth, a .csv whose column `file` names files, from
            its folder; .zarr, .nc or .h5 with waveform, an array (n,) or (clips, n) of waveforms at
            the model's rate, or an xarray.Dataset.
        batch_size: windows in one call of the network.
        stereo: what is done with several channels: "refuse", "mean" or "left".
        resample: change other rates instead of refusing them.
        windows: a row per window instead, with its `begin` in the clip and its own `seconds`.

    Raises:
        ValueError: clips that the model was not trained for, or a model that does not know what it
            was trained on.
    """
    pd = require_extra("pandas", "audio", "making a table of predictions")
    if not isinstance(windows, bool):
        raise ValueError(f"windows={windows!r}: choose true or false")
    about = model.described()
    front = about.spectrograms()
    clips = open_new_clips(source, Reading(front.rate, stereo, resample))
    looked = _windows(clips, about)
    with progress_bar(f"classifying {clips.name}") as progress:
        parts = model.classify(
            lambda own: looked[own].spectrograms, len(looked), batch_size, progress
        )
        found = np.concatenate(list(parts)).astype(np.float64)
    own = looked.windows.clips
    if windows:
        begins = looked.windows.begins
        ends = np.minimum(begins + front.samples(about.frames), clips.lengths[own])
        table: dict[str, Any] = {"clip": [clips.title(number) for number in own.tolist()]}
        table |= {"begin": begins / front.rate, "seconds": (ends - begins) / front.rate}
    else:
        table = {"clip": [clips.title(number) for number in range(len(clips))]}
        table |= {"seconds": clips.lengths / front.rate}
        found = _means(found, own)
    table |= class_columns(about.classes, found)
    if about.several:
        names = np.array(about.classes)
        table["prediction"] = [";".join(names[row > 0.5]) for row in found]
    return pd.DataFrame(table)


def predict_file(
    model: AudioClassifier, source: str, out: str | os.PathLike[str], **options: Any
) -> Path:
    """`predict` from files into a `.csv` or `.parquet` file, all or nothing.

    Raises:
        ValueError: another kind of file, or what `predict` raises.
    """
    return write_table(out, [source], lambda: predict(model, source, **options))


def _means(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(clips, K) means over the windows of each clip; own: (windows,) numbers of clips."""
    total = np.zeros((int(own.max()) + 1, found.shape[1]))
    np.add.at(total, own, found)
    return total / np.bincount(own)[:, None]


def _windows(clips: ClipSource, about: ClipsDescription) -> ClipSamples:
    """All windows that make up the clips; ValueError for a clip without a single frame."""
    front = about.spectrograms()
    short = np.flatnonzero(clips.lengths < front.shortest)
    if len(short):
        at = int(short[0])
        raise ValueError(
            f"{clips.title(at)} of {clips.name} has {clips.lengths[at]} samples, but one frame "
            f"takes {front.shortest}"
        )
    window = front.samples(about.frames)
    windows = Windows.of(clips, np.arange(len(clips)), window, every=True)
    return ClipSamples(clips, windows, front, about.frames)
