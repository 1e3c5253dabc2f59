"""Demonstrations in LeRobotDataset v3: Parquet files of many episodes each, videos beside them.

Layout: `meta/info.json`, `meta/tasks.parquet`, `meta/stats.json`, `meta/episodes/**.parquet`,
`data/**.parquet`, `videos/<camera>/**.mp4`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.demonstrations_images import decode_image
from surform.data.demonstrations_source import About, Column, Demonstrations, Episode
from surform.data.demonstrations_video import read_frames
from surform.data.extras import require_extra
from surform.data.faults import closest, first_line
from surform.data.json_file import read_json
from surform.data.open_files import OpenFiles

__all__ = ["LeRobotDemonstrations", "holds_lerobot", "observation_name"]

_TABLES = 2  # Parquet files whose columns are held while they are read
_NEEDED = ("codebase_version", "fps", "features", "data_path")


def holds_lerobot(path: str) -> bool:
    """Whether a folder is a LeRobot data set, of any version."""
    return (Path(path) / "meta" / "info.json").is_file()


def observation_name(feature: str) -> str:
    """ "observation.images.top" is called "top", "observation.state" "state"."""
    return feature.removeprefix("observation.").removeprefix("images.")


class LeRobotDemonstrations(Demonstrations):
    """Episodes of a local folder.

    Raises:
        FileNotFoundError: a file that the layout needs is missing.
        ValueError: another version, or tables that do not go together.
        ImportError: pyarrow, or for videos PyAV, is missing.
    """

    def __init__(self, path: str) -> None:
        require_extra("pyarrow.parquet", "robotics", "using LeRobot's files")
        self.name, self.folder = path, Path(path)
        self._info = _info(self.folder)
        self._tables = OpenFiles(_Table, _TABLES)
        self._rows = _episodes(self.folder)
        self._features = {
            observation_name(name): name
            for name, feature in self._info["features"].items()
            if name.startswith("observation.") and _column(feature) is not None
        }
        action = self._info["features"].get("action")
        if action is None:
            raise ValueError(f"{path}/meta/info.json lists no feature called action")
        self.episodes = [
            Episode(f"episode {row['episode_index']}", row["length"], instruction=_first(row))
            for row in self._rows
        ]
        self._first = _first_rows(self._rows)
        described = self._info["features"]
        columns = {own: _column(described[name]) for own, name in self._features.items()}
        self.about = About(
            {name: column for name, column in columns.items() if column is not None},
            int(np.prod(action["shape"])),
            _names(action),
            float(self._info["fps"]),
            {"robot_type": self._info.get("robot_type") or "unknown"},
            _masks(self._info.get("splits") or {}, len(self.episodes)),
            "next.reward" in described,
            {"layout": f"LeRobotDataset {self._info['codebase_version']}"},
        )
        self._check_lengths()

    def read(self, episode: int, name: str, begin: int, end: int) -> np.ndarray:
        feature = {"action": "action", "reward": "next.reward"}.get(name) or self._features[name]
        if self._info["features"][feature]["dtype"] == "video":
            return self._read_video(episode, name, feature, begin, end)
        table = self._tables[self._table_of(episode)]
        first = self._first[episode]
        rows = table[feature][first + begin : first + end]
        column = self.about.columns.get(name)
        if column is None or column.kind == "numbers":
            self._check_width(episode, feature, rows)
            return rows
        shape = column.shape
        return np.stack(
            [
                decode_image(packed, shape, f"{name} of {self.place(episode, begin + number)}")
                for number, packed in enumerate(rows)
            ]
        )

    def files(self) -> list[str]:
        return sorted({self._table_of(number) for number in range(len(self.episodes))})

    def _read_video(
        self, episode: int, name: str, feature: str, begin: int, end: int
    ) -> np.ndarray:
        row = self._rows[episode]
        try:
            path = self._info["video_path"].format(
                video_key=feature,
                chunk_index=row[f"videos/{feature}/chunk_index"],
                file_index=row[f"videos/{feature}/file_index"],
            )
            start = row[f"videos/{feature}/from_timestamp"]
        except (KeyError, AttributeError) as error:
            raise ValueError(
                f"{self.place(episode)}: meta/ does not say where the video of {name} is ({error})"
            ) from error
        return read_frames(
            str(self.folder / path),
            start,
            float(self._info["fps"]),
            range(begin, end),
            self.about.columns[name].shape,
            f"{name} of {self.place(episode)}",
        )

    def _table_of(self, episode: int) -> str:
        row = self._rows[episode]
        path = self._info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        return str(self.folder / path)

    def _check_width(self, episode: int, feature: str, rows: Any) -> None:
        """ValueError where rows have other numbers than info.json says."""
        due = int(np.prod(self._info["features"][feature]["shape"]))
        if np.shape(rows)[1:] != (due,):
            raise ValueError(
                f"{feature} of {self.place(episode)} has {np.shape(rows)[-1]} numbers, but "
                f"info.json says {due}"
            )

    def _check_lengths(self) -> None:
        """ValueError where a table has another number of rows than its episodes have steps."""
        parquet: Any = require_extra("pyarrow.parquet", "robotics", "using LeRobot's files")
        steps: dict[str, list[int]] = {}
        for number, episode in enumerate(self.episodes):
            steps.setdefault(self._table_of(number), []).append(episode.steps)
        for path, own in steps.items():
            if not Path(path).is_file():
                raise FileNotFoundError(f"{path} is missing, which meta/episodes speaks of")
            try:
                found = parquet.read_metadata(path).num_rows
            except Exception as error:
                raise OSError(f"{path} cannot be read: {first_line(error)}") from error
            if found != sum(own):
                raise ValueError(
                    f"{path} has {found} rows, but its {len(own)} episodes have {sum(own)} steps"
                )


class _Table(dict[str, Any]):
    """The columns of a Parquet file: numbers (rows, width) float32, or bytes of images."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def __missing__(self, feature: str) -> Any:
        parquet: Any = require_extra("pyarrow.parquet", "robotics", "using LeRobot's files")
        if feature not in parquet.read_schema(self.path).names:
            raise ValueError(f"{self.path} lacks the column {feature}, which info.json lists")
        try:
            table = parquet.read_table(self.path, columns=[feature])
        except Exception as error:
            raise OSError(f"{self.path} cannot be read: {first_line(error)}") from error
        self[feature] = _values(table.column(feature).combine_chunks(), self.path, feature)
        return self[feature]


def _values(array: Any, path: str, feature: str) -> Any:
    import pyarrow as pa

    compute: Any = require_extra("pyarrow.compute", "robotics", "using LeRobot's files")
    kinds, count = pa.types, len(array)
    if kinds.is_struct(array.type):
        return array.field("bytes").to_pylist()
    if kinds.is_binary(array.type) or kinds.is_large_binary(array.type):
        return array.to_pylist()
    while any(
        is_one(array.type)
        for is_one in (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list)
    ):
        # lengths that differ may still add up: rows would be cut in the wrong places
        if len(compute.list_value_length(array).unique()) > 1:
            raise ValueError(f"{path}: the rows of {feature} have different lengths")
        array = array.flatten()
    values = np.asarray(array.to_numpy(zero_copy_only=False), np.float32)
    return values.reshape(count, -1)


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "meta" / "info.json"
    info = read_json(path)
    lacking = [name for name in _NEEDED if name not in info]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}")
    version = str(info["codebase_version"])
    if not version.startswith("v3"):
        raise ValueError(
            f"{folder} is a LeRobot data set of version {version}, but v3 is read: convert it with "
            "lerobot's own script"
        )
    if not float(info["fps"]) > 0:
        raise ValueError(f"{path} says fps = {info['fps']}, but it must be positive")
    for name, feature in info["features"].items():
        if not _is_feature(feature):
            raise ValueError(
                f"{path} describes the feature {name} as {feature}, but must say its dtype and its "
                "shape, a list of sizes"
            )
    return info


def _is_feature(feature: Any) -> bool:
    if not isinstance(feature, dict) or not isinstance(feature.get("dtype"), str):
        return False
    shape = feature.get("shape")
    return isinstance(shape, list) and all(type(side) is int and side > 0 for side in shape)


def _episodes(folder: Path) -> list[dict[str, Any]]:
    """Rows of meta/episodes, in the order of the episodes."""
    parquet: Any = require_extra("pyarrow.parquet", "robotics", "using LeRobot's files")
    paths = sorted((folder / "meta" / "episodes").rglob("*.parquet"))
    if not paths:
        raise FileNotFoundError(f"{folder}/meta/episodes holds no .parquet file")
    rows: list[dict[str, Any]] = []
    needed = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    for path in paths:
        try:
            names = parquet.read_schema(path).names
            lacking = [name for name in needed if name not in names]
            if lacking:
                raise ValueError(
                    f"{path} lacks the column {lacking[0]}: {closest(lacking[0], names)}"
                )
            wanted = [n for n in names if n in needed or n.startswith("videos/")]
            rows += parquet.read_table(path, columns=wanted).to_pylist()
        except OSError as error:
            raise OSError(f"{path} cannot be read: {first_line(error)}") from error
    rows.sort(key=lambda row: row["episode_index"])
    for number, row in enumerate(rows):
        if row["episode_index"] != number:
            raise ValueError(f"{folder}/meta/episodes lacks episode {number}, or has it twice")
        if not row["length"]:
            raise ValueError(f"{folder}, episode {number} is empty: it has no action")
    if not rows:
        raise ValueError(f"{folder} has no episode")
    return rows


def _first_rows(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The row of each episode's first step in its table."""
    filled: dict[tuple[int, int], int] = {}
    found = []
    for row in rows:
        table = (row["data/chunk_index"], row["data/file_index"])
        found.append(filled.get(table, 0))
        filled[table] = found[-1] + row["length"]
    return found


def _column(feature: Mapping[str, Any]) -> Column | None:
    shape = tuple(int(side) for side in feature["shape"])
    if feature["dtype"] in ("video", "image"):
        if len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
            shape = (*shape[1:], 3)  # some list the channels first, whatever is stored
        return Column(shape, "image", "packed") if len(shape) == 3 and shape[2] == 3 else None
    if not re.match(r"(float|int|uint|bool)", feature["dtype"]):
        return None
    return Column((int(np.prod(shape)),), "numbers", "packed")


def _names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    names = feature.get("names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    listed = names if isinstance(names, list) else []
    return tuple(map(str, listed)) if len(listed) == int(np.prod(feature["shape"])) else ()


def _first(row: Mapping[str, Any]) -> str:
    return str((row.get("tasks") or [""])[0])


def _masks(splits: Mapping[str, str], count: int) -> dict[str, np.ndarray]:
    found = {}
    for name, text in splits.items():
        match = re.fullmatch(r"(\d*):(\d*)", str(text))
        if match:
            begin, end = int(match[1] or 0), int(match[2] or count)
            found[name] = np.arange(begin, min(end, count))
    return found
