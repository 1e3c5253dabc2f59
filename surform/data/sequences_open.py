"""Open sequences of tokens in every layout that is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from surform.data.faults import refuse_unreadable
from surform.data.fields import open_stored
from surform.data.images_open import open_images
from surform.data.images_source import ImageSource
from surform.data.sequences_source import SequenceSource, joined_tokens
from surform.data.sequences_tables import BYTES, Rows, bytes_of, read_table
from surform.data.solvers.listops_trees import VOCABULARY

__all__ = ["open_sequences"]

_TABLES = (".tsv", ".csv")
_STORED = (".zarr", ".nc", ".h5", ".hdf5")
_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation"}
_SPLITS |= {"dev": "validation", "eval": "validation", "test": "test"}
_DIGITS = tuple(map(str, range(10)))
_PATHFINDER = ("apart", "connected")
_GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue, as in television (BT.601)


def open_sequences(path: str, *, tokens: str = "auto") -> SequenceSource:
    """Sequences with their classes, in memory.

    Args:
        path: generated ListOps (.zarr, .nc, .h5 with `tokens` and `label`); a .tsv or .csv with the
            columns text and label, text1, text2 and label, or Source and Target (ListOps); a
            folder with such a table for each split (`basic_train.tsv`, `pairs.eval.tsv`); a folder
            with a folder of .txt files for each class, perhaps below train, val and test; anything
            with 8-bit images that `open_images` reads, generated Pathfinder images among it.
        tokens: "listops", "bytes", "pairs", "pixels", or "auto".

    Raises:
        FileNotFoundError, OSError, ValueError: what is missing or wrong, and where.
    """
    where = Path(path)
    refuse_unreadable(path)
    if where.suffix in _TABLES:
        return _of_tables(path, {"": [where]}, tokens)
    if where.suffix in _STORED and tokens in ("auto", "listops", "pixels"):
        stored = open_stored(path)
        made = {str(key): str(value) for key, value in stored.attrs.items()}
        if "tokens" in stored:
            return _of_listops(path, stored, made)
        return _of_pixels(open_images(path, channels=1), path, made)
    if where.is_dir() and tokens != "pixels":
        tables = _divided([file for file in where.iterdir() if file.suffix in _TABLES])
        if tables:
            return _of_tables(path, tables, tokens)
        if any(where.rglob("*.txt")):
            return _of_texts(where)
    if tokens not in ("auto", "pixels"):
        raise ValueError(
            f"{path} holds no {tokens}: give a table ({', '.join(_TABLES)}) or a folder of them"
        )
    return _of_pixels(open_images(path, channels=1), path, {})


def _divided(files: list[Path]) -> dict[str, list[Path]]:
    """Tables of each split, by the words of their names; those of no split are left out."""
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        words = file.stem.lower().replace("_", ".").replace("-", ".").split(".")
        split = next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), None)
        if split is not None:
            found.setdefault(split, []).append(file)
    return found


def _of_tables(path: str, tables: Mapping[str, list[Path]], tokens: str) -> SequenceSource:
    read = {split: [read_table(file, tokens) for file in own] for split, own in tables.items()}
    rows = [part for own in read.values() for part in own]
    first = rows[0]
    other = next((part for part in rows if part.tokens != first.tokens), None)
    if other is not None:
        raise ValueError(f"the tables of {path} hold {first.tokens} and {other.tokens}")
    sizes = {split: sum(len(part.labels) for part in own) for split, own in read.items()}
    parts = {} if list(sizes) == [""] else _numbers(sizes)
    return _labelled(path, first.tokens, first.vocab_size, rows, parts)


def _labelled(
    path: str, tokens: str, vocab_size: int, rows: list[Rows], parts: Mapping[str, np.ndarray]
) -> SequenceSource:
    names = [name for part in rows for name in part.labels]
    classes = _DIGITS if tokens == "listops" else tuple(sorted(set(names)))
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise ValueError(f"{path} has the value {unknown[0]!r}, but those of ListOps are 0 to 9")
    place = {name: number for number, name in enumerate(classes)}
    values, starts = joined_tokens(each for part in rows for each in part.sequences)
    labels = np.array([place[name] for name in names], dtype=np.int64)
    return SequenceSource(path, tokens, vocab_size, values, starts, classes, labels, parts)


def _numbers(sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Splits that lie one behind the other."""
    ends = np.cumsum([0, *sizes.values()])
    return {split: np.arange(ends[i], ends[i + 1]) for i, split in enumerate(sizes)}


def _of_texts(root: Path) -> SequenceSource:
    """A folder of .txt files for each class, perhaps below folders of splits."""
    inner = [folder for folder in sorted(root.iterdir()) if folder.is_dir()]
    splits = {folder: _SPLITS.get(folder.name.lower()) for folder in inner}
    whole = [root] if not any(splits.values()) else [f for f in inner if splits[f]]
    rows: dict[str, Rows] = {}
    for folder in whole:
        own = rows.setdefault(splits.get(folder) or "", Rows("bytes"))
        for kind in sorted(each for each in folder.iterdir() if each.is_dir()):
            for file in sorted(kind.glob("*.txt")):
                own.sequences.append(_text(file))
                own.labels.append(kind.name)
    rows = {split: own for split, own in rows.items() if own.labels}
    if not rows:
        raise ValueError(f"{root} has .txt files, but no folder of them for each class")
    sizes = {split: len(own.labels) for split, own in rows.items()}
    parts = {} if list(sizes) == [""] else _numbers(sizes)
    return _labelled(str(root), "bytes", BYTES, list(rows.values()), parts)


def _text(file: Path) -> np.ndarray:
    try:
        found = bytes_of(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    if not len(found):
        raise ValueError(f"{file} is empty")
    return found


def _of_listops(path: str, stored: Mapping, made: Mapping[str, str]) -> SequenceSource:
    if "label" not in stored:
        raise ValueError(f"{path} has tokens, but no label")
    table, labels = np.asarray(stored["tokens"]), np.asarray(stored["label"]).astype(np.int64)
    if table.ndim != 2 or table.shape[0] != len(labels):
        raise ValueError(
            f"{path} has tokens of shape {table.shape} and {len(labels)} labels: a row of tokens "
            "for each label is needed"
        )
    for what, values, most in (("token", table, len(VOCABULARY)), ("label", labels, 9)):
        wrong = (values < 0) | (values > most)
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            raise ValueError(f"sequence {row} of {path} has a {what} that is not 0 to {most}")
    lengths = table.shape[1] - np.argmax(table[:, ::-1] != 0, axis=1)
    lengths[~table.any(1)] = 0
    values, starts = joined_tokens(row[:n] for row, n in zip(table, lengths, strict=True))
    vocab_size = len(VOCABULARY) + 1
    return SequenceSource(
        path, "listops", vocab_size, values, starts, _DIGITS, labels, {}, dict(made)
    )


def _of_pixels(images: ImageSource, path: str, made: Mapping[str, str]) -> SequenceSource:
    """Grey values 0 to 255 as tokens 1 to 256, row by row."""
    if not images.eight_bit:
        raise ValueError(f"the pixels of {path} are no 8-bit numbers, which tokens are made of")
    if images.labels.ndim != 1 or len(images.labels) != len(images):
        raise ValueError(f"{path} does not give one class for each image")
    values, starts = joined_tokens(_grey(images.read(n), path) for n in range(len(images)))
    classes = _PATHFINDER if made.get("solver") == "pathfinder" else images.classes
    return SequenceSource(
        path,
        "pixels",
        BYTES,
        values,
        starts,
        classes,
        images.labels.astype(np.int64),
        {split: np.asarray(numbers) for split, numbers in images.parts.items()},
        dict(made),
    )


def _grey(pixels: np.ndarray, path: str) -> np.ndarray:
    channels = pixels.shape[2]
    if channels not in (1, 3):
        raise ValueError(f"the images of {path} have {channels} channels: 1 or 3 are read")
    grey = pixels[..., 0] if channels == 1 else np.rint(pixels @ _GREY)
    return grey.reshape(-1).astype(np.uint16) + 1
