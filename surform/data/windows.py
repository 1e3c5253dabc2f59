"""Windows over time of every sample, as batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from surform.data.batches import FieldBatch
from surform.data.layout import Layout
from surform.data.noise import InputNoise
from surform.data.selection import Selection
from surform.data.stores import Store, Want

__all__ = ["FieldWindows", "wanted"]


class FieldWindows(Dataset[FieldBatch]):
    """All windows of some samples, in order: sample by sample, start by start.

    Indexing with a list of window numbers gives a `FieldBatch`. Steady problems have one window
    per sample.

    Args:
        store: where fields come from.
        selection: the problem; its `target_steps` are those of this split.
        layout: of the data.
        samples: the samples of this split.
        parameters: `(all samples, number of parameters)`.
        noise: added to the input variables.
        skip_last: leave out the last start of every sample, as FactFormer's published protocol.
        dtype: of all floating tensors.
    """

    def __init__(
        self,
        store: Store,
        selection: Selection,
        layout: Layout,
        samples: Sequence[int],
        parameters: Tensor | None = None,
        noise: InputNoise | None = None,
        skip_last: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.store, self.selection, self.samples = store, selection, np.asarray(samples)
        self.parameters, self.noise, self.dtype = parameters, noise, dtype
        self.starts = layout.frames - selection.window_frames + 1 if selection.windowed else 1
        if skip_last and self.starts > 1:
            self.starts -= 1
        self.coordinates, self.target_coordinates = (
            tuple(torch.tensor(layout.coordinates[axis], dtype=dtype) for axis in axes)
            for axes in (layout.axes, layout.target_axes)
        )
        self.times = layout.times
        self._wants = wanted(selection, layout)
        inputs = [name for want in _input_wants(selection, layout) for name in want.names]
        order = [inputs.index(name) for name in selection.inputs]
        self._order = None if order == sorted(order) else torch.tensor(order)

    def __len__(self) -> int:
        return len(self.samples) * self.starts

    def locate(self, window: int) -> tuple[int, int]:
        """The sample of a window and its first frame (after `time_stride`)."""
        return int(self.samples[window // self.starts]), window % self.starts

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """The sample and the first frame of every window, `(windows,)` each."""
        windows = np.arange(len(self))
        return self.samples[windows // self.starts], windows % self.starts

    def labels(self, windows: Sequence[int] | Tensor) -> dict[str, np.ndarray]:
        """Of some windows: `trajectory`, the number of the sample in the data; in time also
        `start`, the first frame (after `time_stride`), and `last_time`, that of the last input.
        """
        samples, starts = np.array([self.locate(int(w)) for w in windows]).reshape(-1, 2).T
        if self.times is None:
            return {"trajectory": samples}
        last = self.times[starts + (self.selection.input_steps or 1) - 1]
        return {"trajectory": samples, "start": starts, "last_time": last}

    def __getitem__(self, windows: int | Sequence[int]) -> FieldBatch:
        index = np.atleast_1d(np.asarray(windows, dtype=np.int64))
        if len(index) and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"windows are numbered 0 to {len(self) - 1}, got {windows}")
        samples, starts = self.samples[index // self.starts], index % self.starts
        found = dict(
            zip(self._wants, self.store.gather(list(self._wants.values()), samples, starts),
                strict=True)
        )  # fmt: skip
        targets = found.pop("targets")
        inputs = self._inputs(found, samples, starts)
        auxiliary = {name: value.squeeze(-1) for name, value in found.items()}
        return FieldBatch(
            inputs,
            targets,
            self.coordinates,
            auxiliary,
            torch.from_numpy(index),
            self.target_coordinates,
        )

    def _inputs(self, found: dict[str, Tensor], samples: np.ndarray, starts: np.ndarray) -> Tensor:
        steps = self.selection.input_steps
        moving, still = found.pop(_MOVING, None), found.pop(_STILL, None)
        if still is not None and steps is not None:
            still = still[:, None].expand(-1, steps, *still.shape[1:])
        parts = [part for part in (moving, still) if part is not None]
        inputs = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        if self._order is not None:
            inputs = inputs.index_select(-1, self._order)
        if self.noise is not None:
            inputs = self.noise.add(inputs, samples, starts)
        if self.parameters is not None:
            values = self.parameters[torch.from_numpy(samples)]
            values = values.view(len(values), *[1] * (inputs.ndim - 2), -1)
            inputs = torch.cat([inputs, values.expand(*inputs.shape[:-1], -1)], dim=-1)
        return inputs


# Keys that no variable can have: names of auxiliary fields stand beside them.
_MOVING, _STILL = "inputs in time", "inputs without time"


def wanted(selection: Selection, layout: Layout) -> dict[str, Want]:
    """What the windows of a problem ask of a store: inputs, targets, one per auxiliary field."""
    first = selection.input_steps or 0
    wants = {
        _STILL if want.frames is None else _MOVING: want for want in _input_wants(selection, layout)
    }
    wants["targets"] = Want(selection.targets, first, selection.target_steps)
    for name in selection.auxiliary:
        wants[name] = Want((name,), first, selection.target_steps)
    return wants


def _input_wants(selection: Selection, layout: Layout) -> list[Want]:
    moving = tuple(name for name in selection.inputs if name in layout.timed)
    still = tuple(name for name in selection.inputs if name not in layout.timed)
    wants = [Want(moving, 0, selection.input_steps), Want(still)]
    return [want for want in wants if want.names]
