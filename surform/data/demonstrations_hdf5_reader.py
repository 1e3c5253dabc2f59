"""What the episodes of an HDF5 file hold, and whether they are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import h5py
import numpy as np

from surform.data.demonstrations_images import decode_image, is_packed_image
from surform.data.demonstrations_source import Column

__all__ = ["HDF5Reader", "arrays_below", "text_of"]

_IMAGE = "uint8 of three channels, JPEG or PNG"
_CHUNK = 1 << 18  # bytes: larger compressed chunks of several images are unpacked once, not always


class HDF5Reader:
    """What the first episode has, and whether the others have the same."""

    def __init__(self, path: str) -> None:
        self.path, self.known, self.actions, self.first = path, dict[str, Column](), 0, ""
        self.left_out: dict[str, str] = {}  # arrays that are no observations, and what they are

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
                shape = " x ".join(map(str, stored.shape[1:])) or "one value"
                why = f"{stored.dtype} of {shape} is no vector of numbers, and no image ({_IMAGE})"
                self.left_out.setdefault(key, why)
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


def arrays_below(group: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """(name, place) of all arrays below a group."""
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            yield name, f"{prefix}/{name}"
        else:
            yield from ((f"{name}/{n}", p) for n, p in arrays_below(item, f"{prefix}/{name}"))


def text_of(value: Any) -> str:
    """An attribute as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
