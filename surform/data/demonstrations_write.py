"""Demonstrations written as robomimic lays them out in HDF5, one episode after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from jaxtyping import Float, Shaped

from surform.data.atomic import replacing, writer_lock
from surform.data.checked_file import CheckedFile

__all__ = ["DemonstrationWriter"]


class DemonstrationWriter:
    """Episodes into `data/demo_i/{actions, rewards, dones, obs/<name>}`; obs[t] is before action t.

    The file appears under its name when it is closed, and not at all if the `with` block fails::

        with DemonstrationWriter("reach.h5", {"env_name": "PointReach-v0"}) as writer:
            writer.add(actions, {"state": states}, rewards, dones, task="reach", seed=3)

    Args:
        path: ends in .h5 or .hdf5; an older file is replaced.
        env_args: what made the episodes: env_name, env_kwargs, ...; plain values, kept as JSON.
        provenance: attributes of the whole file.

    Raises:
        ValueError: another suffix, or what JSON cannot hold.
        BlockingIOError: somebody else is writing there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        env_args: Mapping[str, Any],
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix not in (".h5", ".hdf5"):
            raise ValueError(f"{path} must end in .h5 or .hdf5, as demonstrations do")
        try:
            made_by = json.dumps(dict(env_args))
        except TypeError as error:
            raise ValueError(f"env_args must hold plain values only: {error}") from error
        self.episodes = self.steps = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._masks: dict[str, list[str]] = {}
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self.path))
            partial = stack.enter_context(replacing(self.path))
            self._sink = stack.enter_context(CheckedFile(partial))
            self._file = stack.enter_context(h5py.File(self._sink, "w"))
            self._file.attrs.update(dict(provenance or {}))
            self._data = self._file.create_group("data")
            self._data.attrs["env_args"] = made_by
            self._open = stack.pop_all()

    def add(
        self,
        actions: Float[np.ndarray, "t a"],
        obs: Mapping[str, Shaped[np.ndarray, "t ..."]],
        rewards: Shaped[np.ndarray, " t"],
        dones: Shaped[np.ndarray, " t"],
        mask: str | Iterable[str] = (),
        **attributes: Any,
    ) -> str:
        """Write one episode; returns its name, "demo_<number>".

        Args:
            actions: in the robot's units.
            obs: what was seen before each action; images are uint8 (t, height, width, 3).
            mask: names of the lists that the episode is in: "train", "valid", ...
            attributes: of the episode: task, instruction, seed, ...

        Raises:
            ValueError: no step, lengths or shapes that do not go together, numbers that are not
                finite. Nothing of the episode is written then.
            OSError: the disk is full.
        """
        name = f"demo_{self.episodes}"
        arrays = {"actions": _plain(actions), "rewards": _plain(rewards), "dones": _flags(dones)}
        arrays |= {f"obs/{key}": _plain(value) for key, value in obs.items()}
        self._check(name, arrays)
        group = self._data.create_group(name)
        for key, values in arrays.items():
            _store(group, key, values)
            self._sink.check()
        steps = len(arrays["actions"])
        group.attrs.update({"num_samples": steps, **attributes})
        self.episodes, self.steps = self.episodes + 1, self.steps + steps
        for each in [mask] if isinstance(mask, str) else mask:
            self._masks.setdefault(each, []).append(name)
        return name

    def close(self) -> None:
        """Finish the file and give it its name; ValueError where no episode was written."""
        with self._open:
            if not self.episodes:
                raise ValueError(f"no episode was written to {self.path}")
            self._data.attrs["total"] = self.steps
            for mask, names in self._masks.items():
                self._file[f"mask/{mask}"] = np.array(names, dtype="S")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self._open.__exit__(kind, error, trace)

    def _check(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        if len(arrays) < 4:
            raise ValueError(f"{name} has no observation: give at least one")
        if arrays["actions"].ndim != 2:
            shape = arrays["actions"].shape
            raise ValueError(f"actions of {name} have shape {shape}, but must be (steps, numbers)")
        steps = len(arrays["actions"])
        if not steps:
            raise ValueError(f"{name} has no step")
        for key, values in arrays.items():
            what = key.removeprefix("obs/")
            if not values.ndim or len(values) != steps:
                raise ValueError(
                    f"{what} of {name} have shape {values.shape}, but there are {steps} actions"
                )
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                step = np.argwhere(~np.isfinite(values))[0, 0]
                raise ValueError(f"{what} of {name} are not finite at step {step}")
        shapes = {key: values.shape[1:] for key, values in arrays.items()}
        known = self._shapes or shapes
        for key in {**known, **shapes}:
            what = key.removeprefix("obs/")
            if key not in shapes or key not in known:
                one, other = ("demo_0", name) if key in known else (name, "demo_0")
                raise ValueError(f"{other} lacks {what}, which {one} has")
            if known[key] != shapes[key]:
                raise ValueError(
                    f"{what} of {name} have the shape {shapes[key]}, but in demo_0 {known[key]}"
                )
        self._shapes = known


def _plain(values: Any) -> np.ndarray:
    """Numbers as they are kept: reals in float32, whole numbers as they come."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"arrays of {array.dtype} cannot be kept: give numbers")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _flags(values: Any) -> np.ndarray:
    return np.asarray(values).astype(np.uint8)


def _store(group: h5py.Group, key: str, values: np.ndarray) -> None:
    if values.ndim >= 3:  # pictures are read one at a time
        chunks = (1, *values.shape[1:])
        group.create_dataset(key, data=values, chunks=chunks, compression="gzip", shuffle=False,
                             compression_opts=1)  # fmt: skip
    else:
        group.create_dataset(key, data=values)
