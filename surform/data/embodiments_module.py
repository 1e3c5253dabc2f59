"""Demonstrations of several robots, trained on together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from surform.data.demonstrations_batch import DemonstrationBatch
from surform.data.demonstrations_module import DemonstrationsData
from surform.data.demonstrations_samples import DemonstrationSamples
from surform.data.embodiments_description import EmbodimentsDescription
from surform.data.loaders import joint_processes
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.tensor_batch import TensorBatch

__all__ = ["EmbodimentBatch", "EmbodimentsData"]

_OURS = ("path", "batch_size", "eval_batch_size", "drop_last", "workers", "seed")


@dataclass(eq=False)
class EmbodimentBatch(TensorBatch):
    """Windows of several robots, as drawn from all of them together.

    Args:
        parts: the windows of each robot that has some in the batch.
        rows: of each robot, which rows of the batch they are.
        index: (B,) int64, the number of each window in its split.
    """

    parts: dict[str, DemonstrationBatch] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.index)

    def map(self, function: Any) -> EmbodimentBatch:
        parts = {name: part.map(function) for name, part in self.parts.items()}
        rows = {name: function(own) for name, own in self.rows.items()}
        return EmbodimentBatch(parts, rows, function(self.index))


class EmbodimentSamples(Dataset[EmbodimentBatch]):
    """The windows of all robots in one row, robot after robot."""

    def __init__(self, robots: Mapping[str, DemonstrationSamples]) -> None:
        self.robots = dict(robots)
        self._starts = np.cumsum([0, *(len(own) for own in robots.values())])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, asked: Sequence[int]) -> EmbodimentBatch:
        numbers = np.asarray(asked, np.int64)
        found = EmbodimentBatch(index=torch.from_numpy(numbers))
        for name, own, rows in self._parts(numbers):
            found.parts[name] = self.robots[name][own.tolist()]
            found.rows[name] = torch.from_numpy(rows)
        return found

    def labels(self, index: Tensor) -> dict[str, Any]:
        """Where each window comes from."""
        numbers = index.numpy()
        found: dict[str, list[Any]] = {}
        for name, own, rows in self._parts(numbers):
            told = self.robots[name].labels(torch.from_numpy(own)) | {"robot": [name] * len(own)}
            for key, values in told.items():
                column = found.setdefault(key, [None] * len(numbers))
                for row, value in zip(rows.tolist(), values, strict=True):
                    column[row] = value
        return found

    def _parts(self, numbers: np.ndarray) -> Any:
        """(robot, its own window numbers, their rows) of each that has some."""
        which = np.searchsorted(self._starts, numbers, side="right") - 1
        for place, name in enumerate(self.robots):
            rows = np.flatnonzero(which == place)
            if len(rows):
                yield name, numbers[rows] - self._starts[place], rows


class EmbodimentsData(OrderedData):
    """Windows over demonstrations of several robots, drawn from all of them together.

    A robot has its share of a batch by the number of its windows.

    Args:
        path: by the name of each robot, its demonstrations, as for `DemonstrationsData`.
        embodiments: by the name of each robot, further arguments of its `DemonstrationsData`.
        batch_size: windows per training batch and process, of all robots.
        eval_batch_size: likewise for validation and test; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that read windows.
        seed: of shuffling.
    """

    def __init__(
        self,
        path: dict[str, Any],
        embodiments: dict[str, dict[str, Any]],
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if set(path) != set(embodiments):
            raise ValueError(
                f"path names {', '.join(path) or 'nothing'}, but embodiments "
                f"{', '.join(embodiments) or 'nothing'}: they must name the same robots"
            )
        if len(path) < 2:
            raise ValueError("path names one robot: for that take the data `demonstrations`")
        for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.robots = {name: _data(name, path[name], own) for name, own in embodiments.items()}
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.workers, self.seed = drop_last, workers, seed

    def description(self) -> EmbodimentsDescription:
        """That of each robot's demonstrations."""
        return EmbodimentsDescription({n: own.description() for n, own in self.robots.items()})

    def normalizers(self) -> tuple[dict[str, Normalizer], dict[str, Normalizer]]:
        """Those of states and of actions, by robot."""
        both = {name: own.normalizers() for name, own in self.robots.items()}
        return {n: state for n, (state, _) in both.items()}, {n: a for n, (_, a) in both.items()}

    def check(self, trained: EmbodimentsDescription) -> None:
        """ValueError unless these data suit a policy trained on data described by `trained`."""
        trained.require_match(self.description(), "data.path")

    def prepare_data(self) -> None:
        for own in self.robots.values():
            own.prepare_data()

    def setup(self, stage: str) -> None:
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if self._has(split):
                windows = len(self.samples(split))
                require_windows(windows, joint_processes(self.trainer)[1], f"{split} ")

    def samples(self, split: str) -> EmbodimentSamples:
        """The windows of a split."""
        return EmbodimentSamples({n: own.samples(split) for n, own in self.robots.items()})

    def _has(self, split: str) -> bool:
        return all(own._has(split) for own in self.robots.values())

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[EmbodimentBatch], BatchOrder]:
        return self._in_order(self.samples(split), BatchOrder, training, self.workers)


def _data(name: str, path: Any, options: Mapping[str, Any]) -> DemonstrationsData:
    taken = [key for key in _OURS if key in options]
    if taken:
        raise ValueError(f"{taken[0]} of {name} belongs to data itself, not to its embodiments")
    try:
        return DemonstrationsData(path, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"embodiments.{name}: {error}") from error
