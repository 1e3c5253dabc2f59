"""Demonstrations in HDF5: robomimic's layout, which is also ours, and Minari's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import h5py
import numpy as np

from surform.data.demonstrations_hdf5_reader import HDF5Reader, arrays_below, text_of
from surform.data.demonstrations_images import decode_image, is_packed_image
from surform.data.demonstrations_source import About, Demonstrations, Episode
from surform.data.faults import first_line, parsing
from surform.data.hdf5 import OpenHDF5
from surform.data.open_files import OpenFiles

__all__ = ["HDF5Demonstrations", "holds_minari", "holds_robomimic", "open_minari", "open_robomimic"]

_FILES = 16


class HDF5Demonstrations(Demonstrations):
    """Episodes in groups of one file.

    Args:
        path: of the file.
        episodes: of it.
        about: of them.
        places: of each episode, the names of its arrays in the file, by observation and "action".
        files: opens it.
    """

    def __init__(
        self,
        path: str,
        episodes: Sequence[Episode],
        about: About,
        places: Sequence[Mapping[str, str]],
        files: OpenFiles,
    ) -> None:
        self.name, self.episodes, self.about = path, episodes, about
        self._places, self._files = places, files

    def read(self, episode: int, name: str, begin: int, end: int) -> np.ndarray:
        with parsing(self.name):
            stored: Any = self._files[self.name][self._places[episode][name]]
        try:
            rows = stored[begin:end]
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"{name} of {self.place(episode)} cannot be read: {first_line(error)}"
            ) from error
        column = self.about.columns.get(name)
        if column is None or column.kind == "numbers":
            return np.asarray(rows, np.float32).reshape(end - begin, -1)
        if is_packed_image(rows):
            shape = column.shape
            return np.stack(
                [
                    decode_image(row, shape, f"{name} of {self.place(episode, begin + number)}")
                    for number, row in enumerate(rows)
                ]
            )
        return np.asarray(rows, np.uint8)


def holds_robomimic(file: Any) -> bool:
    """Whether an open file has robomimic's layout."""
    data = file.get("data")
    return isinstance(data, h5py.Group) and any(isinstance(v, h5py.Group) for v in data.values())


def holds_minari(file: Any) -> bool:
    """Whether an open file has Minari's layout."""
    return any(re.fullmatch(r"episode_\d+", name) for name in file)


def open_robomimic(path: str) -> HDF5Demonstrations:
    """`data/demo_<i>/{actions, obs/<name>, rewards, dones}`, `mask/<name>`; names as they are.

    The instruction is that of the episode, or LIBERO's, which the file has for all of them.

    Raises:
        ValueError: no episodes, or ones that lack arrays, are empty, or are not alike.
    """
    files = OpenFiles(OpenHDF5, _FILES)
    file: Any = files[path].file  # type: ignore[attr-defined]
    if not holds_robomimic(file):
        holds = ", ".join(file) or "nothing"
        raise ValueError(f"{path} holds no demonstrations: no group data/demo_0, but {holds}")
    data = file["data"]
    names, said = sorted(data, key=_number), libero_instruction(data.attrs)
    episodes, places, reader = [], [], HDF5Reader(path)
    for name in names:
        group: Any = data[name]
        if not isinstance(group, h5py.Group):
            continue
        if "obs" not in group or not isinstance(group["obs"], h5py.Group):
            raise ValueError(f"{path}, {name} lacks obs: what was seen before each action")
        steps = reader.steps(name, group, "actions")
        arrays = dict(arrays_below(group["obs"], "obs"))
        found = reader.columns(name, group, arrays, steps)
        reader.check_lengths(name, group, ("rewards", "dones"), steps)
        places.append({n: f"data/{name}/{p}" for n, p in found.items()})
        places[-1]["action"] = f"data/{name}/actions"
        if "rewards" in group:
            places[-1]["reward"] = f"data/{name}/rewards"
        task, told = (text_of(group.attrs.get(key, "")) for key in ("task", "instruction"))
        told = told or text_of(group.attrs.get("language", "")) or said
        episodes.append(Episode(name, steps, task, told))
    about = About(
        reader.known,
        reader.actions,
        fps=_rate(environment := _environment(data.attrs)),
        environment=environment,
        masks=dict(_masks(path, file, [episode.name for episode in episodes])),
        rewards=all("reward" in own for own in places),
        source={k: text_of(v) for k, v in file.attrs.items() if k in _PROVENANCE},
        left_out=reader.left_out,
    )
    return HDF5Demonstrations(path, episodes, about, places, files)


def open_minari(path: str) -> HDF5Demonstrations:
    """`episode_<i>/{observations, actions, rewards, ...}`; observations are one more than actions.

    An observation that is one array is called "state"; names in groups are joined by ".".

    Raises:
        ValueError: as `open_robomimic`.
    """
    files = OpenFiles(OpenHDF5, _FILES)
    file: Any = files[path].file  # type: ignore[attr-defined]
    names = sorted((n for n in file if re.fullmatch(r"episode_\d+", n)), key=_number)
    if not names:
        raise ValueError(f"{path} holds no demonstrations: no group episode_0")
    episodes, places, reader = [], [], HDF5Reader(path)
    for name in names:
        group = file[name]
        if "observations" not in group:
            raise ValueError(f"{path}, {name} lacks observations")
        steps = reader.steps(name, group, "actions")
        seen = group["observations"]
        arrays = (
            {"state": "observations"}
            if isinstance(seen, h5py.Dataset)
            else {n.replace("/", "."): p for n, p in arrays_below(seen, "observations")}
        )
        found = reader.columns(name, group, arrays, steps, more=1)
        reader.check_lengths(name, group, ("rewards", "terminations", "truncations"), steps)
        found |= {n: f"{n}s" for n in ("action", "reward") if f"{n}s" in group}
        places.append({n: f"{name}/{p}" for n, p in found.items()})
        told = text_of(group.attrs.get("instruction", group.attrs.get("mission", "")))
        episodes.append(Episode(name, steps, text_of(group.attrs.get("task", "")), told))
    rewards = all("reward" in own for own in places)
    about = About(reader.known, reader.actions, rewards=rewards, left_out=reader.left_out)
    return HDF5Demonstrations(path, episodes, about, places, files)


def _masks(path: str, file: Any, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    numbers = {name: number for number, name in enumerate(names)}
    if not isinstance(file.get("mask"), h5py.Group):
        return
    for mask, stored in file["mask"].items():
        listed = [text_of(name) for name in stored[:]]
        unknown = [name for name in listed if name not in numbers]
        if unknown:
            raise ValueError(
                f"{path}: mask {mask} names {unknown[0]}, which is none of its {len(names)} "
                "episodes"
            )
        yield mask, np.sort(np.array([numbers[name] for name in listed], np.int64))


_PROVENANCE = ("solver", "parameters", "seed", "surform_version", "command")


def _environment(attributes: Any) -> dict[str, Any]:
    try:
        found = json.loads(text_of(attributes.get("env_args", "{}")))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def libero_instruction(attributes: Any) -> str:
    """What LIBERO says the robot is told: in `problem_info`, or by the name of its BDDL file."""
    try:
        found = json.loads(text_of(attributes.get("problem_info", "{}")))
    except (ValueError, RecursionError):
        found = {}
    said = found.get("language_instruction", "") if isinstance(found, dict) else ""
    said = "".join(map(str, said)).strip().strip('"')
    if said or "bddl_file_name" not in attributes:
        return said
    stem = PurePosixPath(text_of(attributes["bddl_file_name"]).replace("\\", "/")).stem
    return re.sub(r"^[A-Z0-9_]*SCENE\d+_", "", stem).replace("_", " ").strip()


def _rate(environment: Mapping[str, Any]) -> float | None:
    """Steps in a second, where the environment tells."""
    inner = environment.get("env_kwargs")
    for values in (environment, inner if isinstance(inner, dict) else {}):
        for name in ("fps", "control_hz", "control_freq"):
            if isinstance(values.get(name), int | float):
                return float(values[name])
    return None


def _number(name: str) -> tuple[int, str]:
    digits = re.search(r"\d+$", name)
    return (int(digits[0]) if digits else -1, name)
