"""Tables that name sounds and their labels: ESC-50, Speech Commands, AudioSet, one's own."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from surform.data.clips_files import sound_files

__all__ = ["Row", "audioset_names", "audioset_rows", "esc50_rows", "speech_rows"]
__all__ += ["table_files", "table_rows"]

_FILE = ("file", "filename", "path")
_LABEL = ("labels", "label", "category", "class")
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_SEGMENTS = {
    "balanced_train_segments": "train",
    "unbalanced_train_segments": "train",
    "eval_segments": "test",
}


@dataclass(frozen=True)
class Row:
    """A sound that a table names.

    Args:
        file: where it is; None where it is not there.
        labels: names of its classes.
        split: "train", "validation", "test", or "" where the table does not divide.
        name: what the table calls it.
    """

    file: Path | None
    labels: list[str]
    split: str = ""
    name: str = ""


def esc50_rows(root: Path, fold: int) -> list[Row]:
    """ESC-50 (Piczak, 2015): meta/esc50.csv and audio/; one of the five folds tests."""
    return table_rows(root / "meta" / "esc50.csv", root / "audio", fold)


def speech_rows(root: Path) -> list[Row]:
    """Speech Commands (Warden, 2018): folders of words, and lists of what validates and tests."""
    split = {}
    for name, part in (("validation_list", "validation"), ("testing_list", "test")):
        for line in (root / f"{name}.txt").read_text(encoding="utf-8").split():
            split[line] = part
    rows = []
    for file in sound_files(root):
        word = file.parent.name
        if word != "_background_noise_" and file.parent.parent == root:
            rows.append(Row(file, [word], split.pop(f"{word}/{file.name}", "train")))
    if split:
        raise FileNotFoundError(f"{root} lists a sound that is not there: {next(iter(split))}")
    return rows


def audioset_rows(root: Path) -> list[Row]:
    """AudioSet (Gemmeke et al., 2017): segment lists, class_labels_indices.csv, and sounds that are
    called by the video's id, or the id and the beginning in milliseconds, at any depth.
    """
    names = audioset_names(root)
    files = {file.stem: file for file in sound_files(root)}
    rows = []
    for stem, split in _SEGMENTS.items():
        table = root / f"{stem}.csv"
        if not table.is_file():
            continue
        for number, cells in enumerate(_cells(table, "#"), start=1):
            if len(cells) != 4:
                raise ValueError(f"{table} has {len(cells)} cells in its row {number}, not 4")
            video, begin, _, mids = (cell.strip().strip('"') for cell in cells)
            unknown = [mid for mid in mids.split(",") if mid not in names]
            if unknown:
                raise ValueError(
                    f"{table} has the label {unknown[0]} in row {number}, which is not in "
                    "class_labels_indices.csv"
                )
            found = files.get(video) or files.get(f"{video}_{_milliseconds(begin, table, number)}")
            rows.append(Row(found, [names[mid] for mid in mids.split(",")], split, video))
    if not rows:
        raise FileNotFoundError(f"{root} has none of {', '.join(f'{s}.csv' for s in _SEGMENTS)}")
    return rows


def audioset_names(root: Path) -> dict[str, str]:
    """Identifier -> name of AudioSet's classes, in the order of their numbers."""
    table = root / "class_labels_indices.csv"
    found = _dicts(table)
    for name in ("index", "mid", "display_name"):
        _column(table, list(found[0]), (name,))
    try:
        found.sort(key=lambda row: int(row["index"]))
    except ValueError as error:
        raise ValueError(f"{table} has an index that is no number: {error}") from error
    return {row["mid"]: row["display_name"] for row in found}


def _milliseconds(text: str, table: Path, number: int) -> int:
    try:
        return round(float(text) * 1000)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{table} has no time in row {number}, but {text!r}") from error


def table_rows(table: Path, root: Path, fold: int) -> list[Row]:
    """A .csv with the columns file and label (several are divided by ;), perhaps split or fold.

    Args:
        root: what the files are named from.
        fold: the one that tests, where there are folds.
    """
    found = _dicts(table)
    columns = list(found[0])
    file, label = _column(table, columns, _FILE), _column(table, columns, _LABEL)
    folds = {row["fold"] for row in found} if "fold" in columns else set()
    if folds and str(fold) not in folds:
        raise ValueError(f"{table} has the folds {', '.join(sorted(folds))}, but no {fold}")
    rows = []
    for number, row in enumerate(found, start=1):
        split = row.get("split", "").strip().lower()
        if split and split not in _SPLITS:
            raise ValueError(
                f"{table} has the split {split!r} in row {number}: not {list(_SPLITS)}"
            )
        split = _SPLITS.get(split, "")
        if folds:
            split = "test" if row["fold"] == str(fold) else "train"
        names = [name.strip() for name in row[label].split(";") if name.strip()]
        if not row[file].strip():
            raise ValueError(f"{table} names no file in row {number}")
        place = root / row[file].strip()
        rows.append(Row(place if place.is_file() else None, names, split, row[file]))
    divided = [bool(row.split) for row in rows]
    if any(divided) and not all(divided):
        raise ValueError(f"{table} has no split in row {divided.index(False) + 1}, others have")
    return rows


def table_files(table: Path) -> list[Path]:
    """Sounds that a .csv without labels names in its column file, from the table's folder."""
    rows = _dicts(table)
    column = _column(table, list(rows[0]), _FILE)
    found = []
    for number, row in enumerate(rows, start=1):
        if not row[column].strip():
            raise ValueError(f"{table} names no file in row {number}")
        found.append(table.parent / row[column].strip())
        if not found[-1].is_file():
            raise FileNotFoundError(
                f"{table} names a sound that is not there: {row[column]} in row {number}"
            )
    return found


def _column(table: Path, columns: list[str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in columns:
            return name
    raise ValueError(f"{table} has the columns {', '.join(columns)}, but no {names[0]}")


def _dicts(path: Path) -> list[dict[str, str]]:
    """Rows under the names of the first one; ValueError for rows of another length."""
    rows = _cells(path)
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows")
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise ValueError(
                f"{path} has {len(row)} cells in its row {number}, but {len(header)} columns "
                f"({', '.join(header)})"
            )
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def _cells(path: Path, comment: str = "\n") -> list[list[str]]:
    """Rows of cells, perhaps in quotes; without lines that are empty or begin with `comment`."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = (line for line in file if not line.startswith(comment) and line.strip())
        try:
            return list(csv.reader(lines, skipinitialspace=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is no table of text in UTF-8: {error}") from error
