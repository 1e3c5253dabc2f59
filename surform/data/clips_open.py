"""Open clips of sound, whatever layout they are stored in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.clips_files import SOUNDS, Reading, sound_files
from surform.data.clips_rate import samples_at
from surform.data.clips_source import (
    ArrayClips,
    ClipSource,
    FileClips,
    refuse_whole_numbers,
    several_numbers,
)
from surform.data.clips_tables import (
    Row,
    audioset_names,
    audioset_rows,
    esc50_rows,
    speech_rows,
    table_files,
    table_rows,
)
from surform.data.faults import closest, refuse_unreadable
from surform.data.solvers.progress import progress_bar

__all__ = ["open_clips", "open_new_clips", "open_rows"]

_UNKNOWN = np.zeros(0, dtype=np.int64)  # labels
_ARRAYS = (".zarr", ".nc", ".nc4", ".h5", ".hdf5")
_SPLITS = {"train": "train", "val": "validation", "valid": "validation"}
_SPLITS |= {"validation": "validation", "test": "test"}


def open_clips(
    source: Any,
    reading: Reading,
    *,
    classes: Sequence[str] | None = None,
    several: bool | None = None,
    fold: int = 1,
    missing: str = "refuse",
) -> ClipSource:
    """Clips with labels.

    Args:
        source: a folder of one folder for each class (perhaps below train, val and test); ESC-50;
            Speech Commands; AudioSet; a .csv; a .zarr, .nc or .h5 with the variable waveform over
            (sample, time) and one of 0 and 1 over sample for each class; or an xarray.Dataset.
        classes: names of the classes, in the order of their numbers.
        several: whether a clip may have several classes; None: as the labels are.
        fold: of tables with folds, the one that tests.
        missing: "skip" leaves out files that a table names and that are not there, as most of
            AudioSet are; "refuse".

    Raises:
        FileNotFoundError, ValueError: what is missing or wrong, and where.
    """
    named = None if classes is None else tuple(classes)
    if not isinstance(source, str | Path):
        return _arrays(source, "the dataset", reading, named, several)
    path = Path(source)
    refuse_unreadable(str(source))
    if path.suffix in _ARRAYS:
        return _arrays(_dataset(path), str(path), reading, named, several)
    rows = open_rows(path, fold)
    if missing == "skip":
        rows = [row for row in rows if row.file is not None and row.file.is_file()]
        if not rows:
            raise ValueError(f"none of the sounds that {path} names is there")
    if named is None and _is_audioset(path):  # the order of published weights
        held = {name for row in rows for name in row.labels}
        named = tuple(name for name in audioset_names(path).values() if name in held)
        several = True if several is None else several
    return _files(path, rows, reading, named, several)


def open_new_clips(source: Any, reading: Reading) -> ClipSource:
    """Clips without labels: a file, a folder of files at any depth, a .csv that names them, an
    array (n,) or (N, n).

    Raises:
        FileNotFoundError, ValueError: what is missing or wrong, and where.
    """
    if not isinstance(source, str | Path):
        if hasattr(source, "data_vars"):
            return _unlabelled(source, "the dataset", reading)
        return _array(source, reading)
    path = Path(source)
    refuse_unreadable(str(source))
    if path.suffix in _ARRAYS:
        return _unlabelled(_dataset(path), str(path), reading)
    if path.suffix.lower() == ".csv":
        files = table_files(path)
    else:
        files = [path] if path.is_file() else sound_files(path)
    if not files:
        raise ValueError(f"{path} holds no sounds ({', '.join(SOUNDS)})")
    root = path.parent if path.is_file() else path
    name = str(root if files == [path] else path)
    lengths = np.array([reading.samples(file) for file in files])
    return FileClips(name, (), _UNKNOWN, reading.rate, lengths, {}, root, tuple(files), reading)


def _array(source: Any, reading: Reading) -> ArrayClips:
    """Waveforms in memory, whatever numpy takes for an array of real numbers."""
    values = np.asarray(source)
    if values.dtype.kind not in "iuf":
        raise ValueError(
            f"a {type(source).__name__} is none of what holds sounds: give a file, a folder, an "
            "xarray.Dataset or an array of waveforms"
        )
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(
            f"the array has shape {np.shape(source)}, but waveforms are (samples,) or (clips, "
            "samples)"
        )
    refuse_whole_numbers(values.dtype, "the array")
    lengths = np.full(len(values), values.shape[1])
    return ArrayClips("the array", (), _UNKNOWN, reading.rate, lengths, {}, values)


def open_rows(path: Path, fold: int = 1) -> list[Row]:
    """What a folder or table names; arguments and errors as for `open_clips`."""
    if path.is_file():
        if path.suffix.lower() != ".csv":
            raise ValueError(
                f"{path} is neither a folder of sounds nor a .csv, nor one of {', '.join(_ARRAYS)}"
            )
        return table_rows(path, path.parent, fold)
    if (path / "meta" / "esc50.csv").is_file():
        return esc50_rows(path, fold)
    if (path / "validation_list.txt").is_file() and (path / "testing_list.txt").is_file():
        return speech_rows(path)
    if _is_audioset(path):
        return audioset_rows(path)
    return _folder_rows(path)


def _is_audioset(path: Path) -> bool:
    return (path / "class_labels_indices.csv").is_file()


def _folder_rows(root: Path) -> list[Row]:
    """A folder for each class, perhaps below train, val and test."""
    inner = _folders(root)
    splits = {name: _SPLITS[name.lower()] for name in inner if name.lower() in _SPLITS}
    if splits and set(splits) != set(inner):
        beside = next(name for name in inner if name not in splits)
        raise ValueError(
            f"{root / beside} lies beside {', '.join(splits)} and would be left out: move it "
            "elsewhere"
        )
    holders = {root / name: split for name, split in splits.items()} or {root: ""}
    rows = []
    for holder, split in holders.items():
        loose = [p for p in holder.iterdir() if p.suffix.lower() in SOUNDS and p.is_file()]
        if loose:
            raise ValueError(f"{min(loose)} lies in no class: move it into one, or elsewhere")
        for name in _folders(holder):
            files = sound_files(holder / name)
            if not files:
                raise ValueError(f"the class {holder / name} has no sounds: remove it, or fill it")
            rows += [Row(file, [name], split) for file in files]
    if not rows:
        raise ValueError(
            f"{root} holds no folders of classes: make one for each class, with its sounds inside"
        )
    return rows


def _folders(holder: Path) -> list[str]:
    return sorted(p.name for p in holder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(
    root: Path,
    rows: list[Row],
    reading: Reading,
    classes: tuple[str, ...] | None,
    several: bool | None,
) -> FileClips:
    labels, known = several_numbers([row.labels for row in rows], classes, str(root), several)
    lengths, files = [], []
    with progress_bar(f"looking through {root}") as progress:
        for at, row in enumerate(rows):
            if row.file is None:
                raise FileNotFoundError(f"{root} names a sound that is not there: {row.name}")
            lengths.append(reading.samples(row.file))
            files.append(row.file)
            progress((at + 1) / len(rows))
    parts = {
        split: np.array([at for at, row in enumerate(rows) if row.split == split])
        for split in ("train", "validation", "test")
        if any(row.split == split for row in rows)
    }
    base = root if root.is_dir() else root.parent
    return FileClips(
        str(root),
        known,
        labels,
        reading.rate,
        np.array(lengths),
        parts,
        base,
        tuple(files),
        reading,
    )


def _arrays(
    dataset: Any,
    where: str,
    reading: Reading,
    classes: tuple[str, ...] | None,
    several: bool | None,
) -> ArrayClips:
    clips = _unlabelled(dataset, where, reading)
    found = [
        str(name)
        for name, values in dataset.data_vars.items()
        if values.dims == ("sample",) and name != "waveform"
    ]
    names = classes or tuple(sorted(found))
    lacking = [name for name in names if name not in found]
    if lacking:
        raise ValueError(f"{where} has no variable {lacking[0]}: {closest(lacking[0], found)}")
    if not names:
        raise ValueError(f"{where} has no labels: give a variable for each class")
    marks = np.stack([np.asarray(dataset[name].values) for name in names], 1)
    wrong = ~np.isin(marks, (0, 1))
    if wrong.any():
        at, place = np.argwhere(wrong)[0]
        raise ValueError(
            f"{names[place]} of {where} is {marks[at, place]} at clip {at}, but must be 0 or 1"
        )
    rows = [[names[k] for k in np.flatnonzero(row)] for row in marks]
    labels, known = several_numbers(rows, names, where, several)
    return replace(clips, labels=labels, classes=known)


def _unlabelled(dataset: Any, where: str, reading: Reading) -> ArrayClips:
    """Waveforms of a dataset, whatever else it holds."""
    if "waveform" not in dataset:
        held = closest("waveform", map(str, dataset.data_vars))
        raise ValueError(f"{where} has no variable waveform: {held}")
    waveform = dataset["waveform"]
    if set(waveform.dims) != {"sample", "time"}:
        raise ValueError(f"waveform of {where} is over {waveform.dims}, not over (sample, time)")
    waveform = waveform.transpose("sample", "time")
    refuse_whole_numbers(waveform.dtype, f"waveform of {where}")
    rate = _rate(dataset, where)
    if rate != reading.rate and (not reading.resample or rate != int(rate)):
        raise ValueError(
            f"{where} has {rate:g} Hz, but {reading.rate} are wanted: set data.resample to true, "
            f"or train with data.rate {rate:g}"
        )
    count = samples_at(waveform.shape[1], int(rate), reading.rate)
    lengths = np.full(waveform.shape[0], count)
    rows = _Rows(waveform)
    return ArrayClips(where, (), _UNKNOWN, reading.rate, lengths, {}, rows, int(rate))


class _Rows:
    """Rows, and stretches of rows, of a lazily opened array."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape = array, array.shape

    def __getitem__(self, place: Any) -> np.ndarray:
        return self.array[place].values


def _rate(dataset: Any, where: str) -> float:
    if "time" not in dataset.coords or dataset.sizes["time"] < 2:
        raise ValueError(f"{where} has no coordinate time in seconds, which tells the rate")
    values = np.asarray(dataset["time"].values, dtype=float)
    return round((len(values) - 1) / (values[-1] - values[0]), 3)


def _dataset(path: Path) -> Any:
    from surform.data.fields import open_stored

    return open_stored(str(path))
