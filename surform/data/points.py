"""Samples and batches on irregular meshes: query points, global parameters, input functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["PointBatch", "PointSample", "collate"]


@dataclass(eq=False)
class PointSample:
    """One solution on a mesh of its own, unpadded and in physical units.

    Every array is a torch tensor or a numpy array, all of a kind; `tensors` makes tensors of them.

    Args:
        points: `(N, Cx)`, the query points: coordinates first, then what else is known there.
        targets: `(N, C_out)`, what is to be predicted at the points; C_out = 0 where unknown.
        parameters: `(P,)`, numbers that hold for the whole sample; P may be 0.
        inputs: input functions by name, each `(M, c)` with rows [coordinates | values].
        weights: `(N,)`, the measure of the mesh that each point stands for (quadrature weights).
        input_weights: likewise `(M,)` for the input functions where known.
    """

    points: Any
    targets: Any
    parameters: Any
    inputs: dict[str, Any] = field(default_factory=dict)
    weights: Any = None
    input_weights: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.points)
        for name, value, rows in (
            ("points", self.points, n),
            ("targets", self.targets, n),
            *((name, value, len(value)) for name, value in self.inputs.items()),
        ):
            if value.ndim != 2 or len(value) != rows:
                raise ValueError(
                    f"{name} of a sample with {n} points must have the shape ({rows}, columns), "
                    f"not {tuple(value.shape)}"
                )
        if self.parameters.ndim != 1:
            raise ValueError(
                f"parameters are a vector, got an array of shape {tuple(self.parameters.shape)}"
            )
        if self.weights is not None and self.weights.shape != (n,):
            raise ValueError(f"{n} points have weights of shape {tuple(self.weights.shape)}")
        for name, value in self.input_weights.items():
            if name not in self.inputs or value.shape != (len(self.inputs[name]),):
                raise ValueError(f"the weights of {name} fit no input function of the sample")

    def map(self, function: Callable[[Any], Any]) -> PointSample:
        """The sample with `function` applied to every array."""
        return _mapped(self, function)

    def tensors(self, dtype: torch.dtype = torch.float32) -> PointSample:
        """The sample as tensors of one type."""
        return self.map(lambda values: torch.as_tensor(values).to(dtype).contiguous())


@dataclass(eq=False)
class PointBatch(TensorBatch):
    """Samples padded with zeros to the longest of them; masks are True at what is real.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        points: `(B, N, Cx)`, coordinates first.
        mask: `(B, N)` bool.
        targets: `(B, N, C_out)`.
        parameters: `(B, P)`.
        inputs: input functions by name, each `(B, M, c)` with rows [coordinates | values].
        input_masks: `(B, M)` bool for each of them.
        weights: `(B, N)`, measures of the points, 0 at padding; None where unknown.
        input_weights: `(B, M)` for the input functions whose measures are known.
        index: `(B,)` int64, the number of each sample in its split.
    """

    points: Tensor
    mask: Tensor
    targets: Tensor
    parameters: Tensor
    inputs: dict[str, Tensor] = field(default_factory=dict)
    input_masks: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    input_weights: dict[str, Tensor] = field(default_factory=dict)
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        rows = tuple(self.points.shape[:2])
        for name, value in (("mask", self.mask), ("targets", self.targets)):
            if tuple(value.shape[:2]) != rows:
                raise ValueError(
                    f"{rows[1]} points in a batch of {rows[0]} do not fit {name} "
                    f"of shape {tuple(value.shape)}"
                )
        if self.input_masks.keys() != self.inputs.keys():
            raise ValueError(
                f"input functions {', '.join(self.inputs) or 'none'} but masks of "
                f"{', '.join(self.input_masks) or 'none'}"
            )

    def __len__(self) -> int:
        """The number of samples in the batch."""
        return len(self.points)

    def lengths(self) -> Tensor:
        """`(B,)` int64: the number of points of each sample."""
        return self.mask.sum(-1)

    def sample(self, number: int) -> PointSample:
        """One sample without its padding."""
        keep = self.mask[number]
        return PointSample(
            points=self.points[number][keep],
            targets=self.targets[number][keep],
            parameters=self.parameters[number],
            inputs={n: v[number][self.input_masks[n][number]] for n, v in self.inputs.items()},
            weights=None if self.weights is None else self.weights[number][keep],
            input_weights={
                n: v[number][self.input_masks[n][number]] for n, v in self.input_weights.items()
            },
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> PointBatch:
        """The batch with `function` applied to every tensor."""
        return _mapped(self, function)


def collate(samples: Sequence[PointSample], index: Sequence[int] | None = None) -> PointBatch:
    """Pad samples of tensors with zeros to the longest and stack them.

    Args:
        samples: of the same input functions and columns.
        index: the number of each sample in its split; default 0, 1, ...

    Raises:
        ValueError: no samples, or samples that do not fit together.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")
    _require_alike(samples)
    first = samples[0]
    points, mask = _padded([s.points for s in samples])
    padded = {name: _padded([s.inputs[name] for s in samples]) for name in first.inputs}
    return PointBatch(
        points=points,
        mask=mask,
        targets=_padded([s.targets for s in samples])[0],
        parameters=torch.stack([s.parameters for s in samples]),
        inputs={name: values for name, (values, _) in padded.items()},
        input_masks={name: keep for name, (_, keep) in padded.items()},
        weights=None if first.weights is None else _padded([s.weights for s in samples])[0],
        input_weights={
            name: _padded([s.input_weights[name] for s in samples])[0]
            for name in first.input_weights
        },
        index=torch.as_tensor(range(len(samples)) if index is None else index, dtype=torch.int64),
    )


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Ragged rows `(n_i, ...)` as `(B, n, ...)` with zeros behind, and their mask `(B, n)`."""
    longest = max(len(values) for values in rows)
    stacked = rows[0].new_zeros(len(rows), longest, *rows[0].shape[1:])
    mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=rows[0].device)
    for number, values in enumerate(rows):
        stacked[number, : len(values)] = values
        mask[number, : len(values)] = True
    return stacked, mask


def _require_alike(samples: Sequence[PointSample]) -> None:
    def layout(sample: PointSample) -> dict[str, Any]:
        return {
            "columns of the points": sample.points.shape[1],
            "targets": sample.targets.shape[1],
            "parameters": len(sample.parameters),
            "input functions": {n: v.shape[1] for n, v in sample.inputs.items()},
            "weights": sample.weights is not None,
            "weights of input functions": list(sample.input_weights),
        }

    expected = layout(samples[0])
    for number, sample in enumerate(samples[1:], start=1):
        for what, value in layout(sample).items():
            if value != expected[what]:
                raise ValueError(
                    f"sample {number} of a batch has {what} {value}, sample 0 {expected[what]}"
                )


def _mapped(item: Any, function: Callable[[Any], Any]) -> Any:
    """A dataclass of arrays, dictionaries of arrays and None, with `function` applied to each."""
    changed = {}
    for entry in fields(item):
        value = getattr(item, entry.name)
        if isinstance(value, dict):
            changed[entry.name] = {name: function(inner) for name, inner in value.items()}
        elif value is not None:
            changed[entry.name] = function(value)
    return replace(item, **changed)
