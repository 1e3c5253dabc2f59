"""Demonstrations in HDF5: robomimic's layout, which is also ours, and Minari's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import h5py
import numpy as np

from surform.data.demonstrations_images import decode_image, is_packed_image
from surform.data.demonstrations_source import About, Column, Demonstrations, Episode
from surform.data.faults import first_line
from surform.data.hdf5 import OpenHDF5
from surform.data.open_files import OpenFiles

__all__ = ["HDF5Demonstrations", "holds_minari", "holds_robomimic", "open_minari", "open_robomimic"]

_FILES = 16
_CHUNK = 1 << 18  # bytes: larger compressed chunks of several images are unpacked once, not always


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

    Raises:
        ValueError: no episodes, or ones that lack arrays, are empty, or are not alike.
    """
    files = OpenFiles(OpenHDF5, _FILES)
    file: Any = files[path].file  # type: ignore[attr-defined]
    if not holds_robomimic(file):
        holds = ", ".join(file) or "nothing"
        raise ValueError(f"{path} holds no demonstrations: no group data/demo_0, but {holds}")
    data = file["data"]
    names = sorted(data, key=_number)
    episodes, places, reader = [], [], _Reader(path)
    for name in names:
        group: Any = data[name]
        if not isinstance(group, h5py.Group):
            continue
        if "obs" not in group or not isinstance(group["obs"], h5py.Group):
            raise ValueError(f"{path}, {name} lacks obs: what was seen before each action")
        steps = reader.steps(name, group, "actions")
        arrays = dict(_arrays(group["obs"], "obs"))
        found = reader.columns(name, group, arrays, steps)
        reader.check_lengths(name, group, ("rewards", "dones"), steps)
        places.append({n: f"data/{name}/{p}" for n, p in found.items()})
        places[-1]["action"] = f"data/{name}/actions"
        if "rewards" in group:
            places[-1]["reward"] = f"data/{name}/rewards"
        task, told = (_text(group.attrs.get(key, "")) for key in ("task", "instruction"))
        episodes.append(Episode(name, steps, task, told or _text(group.attrs.get("language", ""))))
    about = About(
        reader.known,
        reader.actions,
        fps=_rate(environment := _environment(data.attrs)),
        environment=environment,
        masks=dict(_masks(path, file, [episode.name for episode in episodes])),
        rewards=all("reward" in own for own in places),
        source={k: _text(v) for k, v in file.attrs.items() if k in _PROVENANCE},
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
    episodes, places, reader = [], [], _Reader(path)
    for name in names:
        group = file[name]
        if "observations" not in group:
            raise ValueError(f"{path}, {name} lacks observations")
        steps = reader.steps(name, group, "actions")
        seen = group["observations"]
        arrays = (
            {"state": "observations"}
            if isinstance(seen, h5py.Dataset)
            else {n.replace("/", "."): p for n, p in _arrays(seen, "observations")}
        )
        found = reader.columns(name, group, arrays, steps, more=1)
        reader.check_lengths(name, group, ("rewards", "terminations", "truncations"), steps)
        found |= {n: f"{n}s" for n in ("action", "reward") if f"{n}s" in group}
        places.append({n: f"{name}/{p}" for n, p in found.items()})
        told = _text(group.attrs.get("instruction", group.attrs.get("mission", "")))
        episodes.append(Episode(name, steps, _text(group.attrs.get("task", "")), told))
    rewards = all("reward" in own for own in places)
    about = About(reader.known, reader.actions, rewards=rewards)
    return HDF5Demonstrations(path, episodes, about, places, files)


class _Reader:
    """What the first episode has, and whether the others have the same."""

    def __init__(self, path: str) -> None:
        self.path, self.known, self.actions, self.first = path, dict[str, Column](), 0, ""

    def steps(self, name: str, group: Any, key: str) -> int:
        """How many actions there are; their width is that of all episodes."""
        if key not in group or not isinstance(group[key], h5py.Dataset):
            raise ValueError(f"{self.path}, {name} lacks {key}")
        shape = group[key].shape
        if not shape or not shape[0]:
            raise ValueError(f"{self.path}, {name} is empty: it has no action")
        if len(shape) > 2 or group[key].dtype.kind not in "fiub":
            raise ValueError(
                f"{self.path}, {name} has actions of shape {shape} and type {group[key].dtype}, "
                "but they must be (steps, numbers)"
            )
        width = int(np.prod(shape[1:]))
        self.first = self.first or name
        self.actions = self.actions or width
        if width != self.actions:
            raise ValueError(
                f"{self.path}, {name} has actions of {width} numbers, but {self.first} of "
                f"{self.actions}"
            )
        return shape[0]

    def check_lengths(self, name: str, group: Any, others: Sequence[str], steps: int) -> None:
        """ValueError where something else is not as long as the actions."""
        for other in others:
            if other in group and len(group[other]) != steps:
                raise ValueError(
                    f"{self.path}, {name} has {len(group[other])} {other}, but {steps} actions"
                )

    def columns(
        self, name: str, group: Any, arrays: Mapping[str, str], steps: int, more: int = 0
    ) -> dict[str, str]:
        """Places of the arrays that are observations; ValueError where they differ from before."""
        found, columns = {}, {}
        for key, place in arrays.items():
            stored = group[place]
            column = _column(stored, partial(self._say, name, key))
            if column is None:
                continue
            if len(stored) != steps + more:
                due = "as many" if not more else "one more"
                raise ValueError(
                    f"{self.path}, {name} has {len(stored)} steps of {key}, but {steps} actions: "
                    f"there must be {due}"
                )
            found[key], columns[key] = place, column
        self.known = self.known or columns
        for key in {**self.known, **columns}:
            if key not in columns:
                raise ValueError(f"{self.path}, {name} lacks {key}, which {self.first} has")
            if key not in self.known:
                raise ValueError(f"{self.path}, {self.first} lacks {key}, which {name} has")
            one, other = self.known[key], columns[key]
            if (one.shape, one.kind) != (other.shape, other.kind):
                raise ValueError(
                    f"{self.path}, {name} has {key} of shape {other.shape} ({other.kind}), but "
                    f"{self.first} of {one.shape} ({one.kind})"
                )
        return found

    def _say(self, name: str, key: str) -> str:
        return f"{key} of {self.path}, {name}, step 0"


def _column(stored: Any, where: Callable[[], str]) -> Column | None:
    """What an array of observations is; None for what no network takes."""
    if stored.dtype.kind in "OSV" or (stored.dtype == np.uint8 and stored.ndim == 2):
        first = stored[:1]
        if is_packed_image(first):
            return Column(decode_image(first[0], None, where()).shape, "image", "packed")
    if stored.dtype == np.uint8 and stored.ndim == 4 and stored.shape[-1] == 3:
        return Column(tuple(stored.shape[1:]), "image", "packed" if _together(stored) else "rows")
    if stored.dtype.kind in "fiub" and stored.ndim <= 2:
        return Column((int(np.prod(stored.shape[1:])),), "numbers")
    return None


def _together(stored: Any) -> bool:
    """Whether many images are compressed as one."""
    if stored.chunks is None or stored.compression is None:
        return False
    return stored.chunks[0] > 1 and int(np.prod(stored.chunks)) > _CHUNK


def _arrays(group: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """(name, place) of all arrays below a group."""
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            yield name, f"{prefix}/{name}"
        else:
            yield from ((f"{name}/{n}", p) for n, p in _arrays(item, f"{prefix}/{name}"))


def _masks(path: str, file: Any, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    numbers = {name: number for number, name in enumerate(names)}
    if not isinstance(file.get("mask"), h5py.Group):
        return
    for mask, stored in file["mask"].items():
        listed = [_text(name) for name in stored[:]]
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
        found = json.loads(_text(attributes.get("env_args", "{}")))
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _rate(environment: Mapping[str, Any]) -> float | None:
    """Steps in a second, where the environment tells."""
    inner = environment.get("env_kwargs")
    for values in (environment, inner if isinstance(inner, dict) else {}):
        for name in ("fps", "control_hz", "control_freq"):
            if isinstance(values.get(name), int | float):
                return float(values[name])
    return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _number(name: str) -> tuple[int, str]:
    digits = re.search(r"\d+$", name)
    return (int(digits[0]) if digits else -1, name)
