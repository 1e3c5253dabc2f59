"""Demonstrations written as a LeRobotDataset v3, from whatever layout they were in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.atomic import replacing, writer_lock
from surform.data.demonstrations_images import encode_png
from surform.data.demonstrations_lerobot_statistics import (
    image_statistics,
    joined_statistics,
    numeric_statistics,
)
from surform.data.demonstrations_source import Demonstrations
from surform.data.demonstrations_video import write_video
from surform.data.extras import require_extra
from surform.data.solvers.progress import progress_bar

__all__ = ["rewards_of", "write_lerobot"]

_MOST_BYTES = 100 * 2**20  # of a data file, about
_FILES_OF_A_FOLDER = 1000
_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def write_lerobot(
    source: Demonstrations,
    out: str | Path,
    fps: float | None = None,
    video: bool = False,
    robot_type: str | None = None,
) -> Path:
    """Write episodes as a LeRobotDataset v3 into a folder, all or nothing; returns it.

    Args:
        fps: steps in a second; None: as the source says.
        video: images as H.264 videos, which loses some detail, instead of PNG in the tables.
        robot_type: of `meta/info.json`.

    Raises:
        ValueError: fps is not known.
        FileExistsError: `out` is there and is no LeRobot data set.
        ImportError: pyarrow, pillow or PyAV is missing.
    """
    require_extra("pyarrow.parquet", "robotics", "using LeRobot's files")
    out = Path(out)
    fps = source.about.fps if fps is None else fps
    if fps is None or not fps > 0:
        raise ValueError(
            f"{source.name} does not say how many steps there are in a second: give fps"
        )
    if out.exists() and not (out / "meta" / "info.json").is_file():
        raise FileExistsError(f"{out} exists and is no LeRobot data set: choose another name")
    with writer_lock(out), replacing(out) as partial, progress_bar(f"writing {out}") as progress:
        _Writer(source, partial, float(fps), video, robot_type).write(progress)
    return out


def rewards_of(source: Demonstrations, number: int) -> np.ndarray:
    """(steps,): zeros where the source has none."""
    last = source.episodes[number].steps
    if not source.about.rewards:
        return np.zeros(last, np.float32)
    return source.read(number, "reward", 0, last)[:, 0]


class _Writer:
    """One data set while it is written."""

    def __init__(
        self,
        source: Demonstrations,
        folder: Path,
        fps: float,
        video: bool,
        robot_type: str | None,
    ) -> None:
        self.source, self.folder, self.fps = source, folder, fps
        self.video, self.robot_type = video, robot_type
        columns = source.about.columns
        images = [name for name, column in columns.items() if column.kind == "image"]
        self.features = {
            name: f"observation.images.{name}" if name in images else f"observation.{name}"
            for name in columns
        }
        told = [episode.told or "unknown" for episode in source.episodes]
        self.tasks = list(dict.fromkeys(told))
        self.rows: list[dict[str, Any]] = []
        self.statistics: list[dict[str, dict[str, Any]]] = []

    def write(self, progress: Any) -> None:
        """All files."""
        done, steps = 0, sum(episode.steps for episode in self.source.episodes)
        for file, numbers in enumerate(self._files()):
            place = {
                "chunk_index": file // _FILES_OF_A_FOLDER,
                "file_index": file % _FILES_OF_A_FOLDER,
            }
            self._write_data(numbers, place)
            for name, feature in self.features.items():
                if self.video and self._is_image(name):
                    self._write_video(name, feature, numbers, place)
            done += sum(self.source.episodes[number].steps for number in numbers)
            progress(done / steps)
        self._write_meta()

    def _files(self) -> Iterator[list[int]]:
        """Numbers of the episodes of each data file."""
        about = self.source.about
        width = 4 * (about.actions + 5)
        for name, column in about.columns.items():
            packed = self._is_image(name)
            width += int(np.prod(column.shape)) // (4 if packed else 1) * (1 if packed else 4)
        own: list[int] = []
        size = 0
        for number, episode in enumerate(self.source.episodes):
            if own and size + width * episode.steps > _MOST_BYTES:
                yield own
                own, size = [], 0
            own.append(number)
            size += width * episode.steps
        yield own

    def _write_data(self, numbers: list[int], place: Mapping[str, int]) -> None:
        import pyarrow.parquet as parquet

        path = self.folder / _DATA.format(**place)
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = None
        try:
            for number in numbers:
                table = self._table(number, place)
                writer = writer or parquet.ParquetWriter(path, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()

    def _table(self, number: int, place: Mapping[str, int]) -> Any:
        """One episode's rows; its row of meta/episodes and its statistics are noted."""
        import pyarrow as pa

        episode, last = self.source.episodes[number], self.source.episodes[number].steps
        first = self.rows[-1]["dataset_to_index"] if self.rows else 0
        task = self.tasks.index(episode.told or "unknown")
        frames = np.arange(last)
        columns: dict[str, Any] = {}
        numeric = {"action": self.source.read(number, "action", 0, last)}
        found: dict[str, dict[str, Any]] = {}
        for name, feature in self.features.items():
            values = self.source.read(number, name, 0, last)
            if not self._is_image(name):
                numeric[feature] = values
                continue
            found[feature] = image_statistics(values)
            if not self.video:
                packed = [{"bytes": encode_png(pixels), "path": None} for pixels in values]
                kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
                columns[feature] = pa.array(packed, kind)
        if self.source.about.rewards:
            numeric["next.reward"] = rewards_of(self.source, number)[:, None]
        for feature, values in numeric.items():
            if values.shape[1] == 1:
                columns[feature] = pa.array(np.ascontiguousarray(values[:, 0], np.float32))
                found[feature] = numeric_statistics(values)
                continue
            flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
            columns[feature] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            found[feature] = numeric_statistics(values)
        columns["next.done"] = pa.array(frames == last - 1)
        counters = {
            "timestamp": (frames / self.fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(last, number),
            "index": first + frames,
            "task_index": np.full(last, task),
        }
        columns |= {name: pa.array(values) for name, values in counters.items()}
        found |= {name: numeric_statistics(values[:, None]) for name, values in counters.items()}
        self.statistics.append(found)
        self.rows.append(
            {
                "episode_index": number,
                "tasks": [self.tasks[task]],
                "length": last,
                "data/chunk_index": place["chunk_index"],
                "data/file_index": place["file_index"],
                "dataset_from_index": first,
                "dataset_to_index": first + last,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        return pa.table(columns)

    def _write_video(
        self, name: str, feature: str, numbers: list[int], place: Mapping[str, int]
    ) -> None:
        """The pictures of several episodes, one behind the other."""
        path = self.folder / _VIDEO.format(video_key=feature, **place)
        path.parent.mkdir(parents=True, exist_ok=True)
        begin = 0
        for number in numbers:
            end = begin + self.source.episodes[number].steps
            self.rows[number] |= {
                f"videos/{feature}/chunk_index": place["chunk_index"],
                f"videos/{feature}/file_index": place["file_index"],
                f"videos/{feature}/from_timestamp": begin / self.fps,
                f"videos/{feature}/to_timestamp": end / self.fps,
            }
            begin = end
        frames = (
            pixels
            for number in numbers
            for pixels in self.source.read(number, name, 0, self.source.episodes[number].steps)
        )
        write_video(path, frames, self.fps)

    def _write_meta(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        meta = self.folder / "meta"
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        rows = [
            row | {f"stats/{f}/{what}": v for f, each in own.items() for what, v in each.items()}
            for row, own in zip(self.rows, self.statistics, strict=True)
        ]
        episodes = pa.Table.from_pylist(rows)
        parquet.write_table(episodes, meta / "episodes" / "chunk-000" / "file-000.parquet")
        tasks = {"task_index": list(range(len(self.tasks))), "task": self.tasks}
        parquet.write_table(_indexed(pa.table(tasks)), meta / "tasks.parquet")
        _write_json(meta / "stats.json", joined_statistics(self.statistics))
        _write_json(meta / "info.json", self._info())

    def _info(self) -> dict[str, Any]:
        about, episodes = self.source.about, self.source.episodes
        described: dict[str, Any] = {
            "action": {
                "dtype": "float32",
                "shape": [about.actions],
                "names": list(about.action_names) or None,
            }
        }
        for name, feature in self.features.items():
            column = about.columns[name]
            described[feature] = (
                self._image_feature(column.shape)
                if self._is_image(name)
                else {"dtype": "float32", "shape": list(column.shape), "names": None}
            )
        if about.rewards:
            described["next.reward"] = {"dtype": "float32", "shape": [1], "names": None}
        described["next.done"] = {"dtype": "bool", "shape": [1], "names": None}
        for name in _COUNTERS:
            kind = "float32" if name == "timestamp" else "int64"
            described[name] = {"dtype": kind, "shape": [1], "names": None}
        return {
            "codebase_version": "v3.0",
            "robot_type": self.robot_type or about.environment.get("robot_type"),
            "total_episodes": len(episodes),
            "total_frames": sum(episode.steps for episode in episodes),
            "total_tasks": len(self.tasks),
            "chunks_size": _FILES_OF_A_FOLDER,
            "data_files_size_in_mb": _MOST_BYTES // 2**20,
            "video_files_size_in_mb": 2 * _MOST_BYTES // 2**20,
            "fps": int(self.fps) if self.fps == int(self.fps) else self.fps,
            "splits": self._splits(),
            "data_path": _DATA,
            "video_path": _VIDEO if self.video else None,
            "features": described,
        }

    def _splits(self) -> dict[str, str]:
        """Masks that are one run of episodes; all of them, where there is none."""
        found = {
            name: f"{own[0]}:{own[-1] + 1}"
            for name, own in self.source.about.masks.items()
            if len(own) and own[-1] - own[0] + 1 == len(own)
        }
        return found or {"train": f"0:{len(self.source.episodes)}"}

    def _image_feature(self, shape: tuple[int, ...]) -> dict[str, Any]:
        feature: dict[str, Any] = {
            "dtype": "video" if self.video else "image",
            "shape": list(shape),
            "names": ["height", "width", "channels"],
        }
        if self.video:
            feature["info"] = {
                "video.height": shape[0],
                "video.width": shape[1],
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": self.fps,
                "video.channels": 3,
                "has_audio": False,
            }
        return feature

    def _is_image(self, name: str) -> bool:
        return self.source.about.columns[name].kind == "image"


def _indexed(table: Any) -> Any:
    """The table with its column "task" as pandas' index, as LeRobot's loader looks tasks up."""
    description = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {
                "name": name,
                "field_name": name,
                "pandas_type": kind,
                "numpy_type": numpy,
                "metadata": None,
            }
            for name, kind, numpy in (
                ("task_index", "int64", "int64"), ("task", "unicode", "object")
            )
        ],
        "pandas_version": "2.2.0",
    }  # fmt: skip
    return table.replace_schema_metadata({"pandas": json.dumps(description)})


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=4) + "\n", encoding="utf-8")
