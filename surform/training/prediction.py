"""What a task makes of a batch: the output beside the target, ready for losses and metrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Prediction"]


@dataclass(frozen=True)
class Prediction:
    """A model's output and its target, in the same units and of the same shape.

    Args:
        output: `(B, ..., C)`.
        target: `(B, ..., C)`.
        weight: optional non-negative weights of the squared terms; broadcasts against `output`
            (quadrature weights, masks).
        penalty: what the network adds to the training loss of its own accord, a scalar.
        quantiles: `(levels, B, ..., C)` where the network gives them; `output` is the median.
        levels: of the quantiles.
    """

    output: Tensor
    target: Tensor
    weight: Tensor | None = None
    penalty: Tensor | None = None
    quantiles: Tensor | None = None
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.output.shape != self.target.shape:
            raise ValueError(
                f"the model gives {tuple(self.output.shape)} but the target has the shape "
                f"{tuple(self.target.shape)}: check out_channels, steps and the grid"
            )

    @property
    def squared_error(self) -> Tensor:
        """Weighted (output - target)^2, elementwise."""
        return self.weighted((self.output - self.target).square())

    @property
    def absolute_error(self) -> Tensor:
        """Weighted |output - target|, elementwise."""
        return self.weighted((self.output - self.target).abs())

    @property
    def squared_target(self) -> Tensor:
        """Weighted target^2, elementwise."""
        return self.weighted(self.target.square())

    def weighted(self, values: Tensor) -> Tensor:
        """`values` times the weight, where there is one."""
        return values if self.weight is None else values * self.weight

    def channels(self, start: int, stop: int) -> Prediction:
        """The same for channels start..stop-1."""
        weight = self.weight
        if weight is not None and weight.shape[-1] != 1:
            weight = weight[..., start:stop]
        return Prediction(self.output[..., start:stop], self.target[..., start:stop], weight)

    def float(self) -> Prediction:
        """Half precision widened to float32: sums over a grid overflow or lose digits otherwise."""
        half = (torch.float16, torch.bfloat16)
        if self.output.dtype not in half and self.target.dtype not in half:
            return self
        return Prediction(self.output.float(), self.target.float(), self.weight)
