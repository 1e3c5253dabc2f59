"""What models on unstructured points ask of their inputs, said in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["check_inputs", "check_mask", "check_parameters", "check_points", "check_weights"]


def check_points(points: Tensor, channels: int) -> None:
    """ValueError unless points is (b, n, channels)."""
    if points.ndim != 3 or points.shape[2] != channels:
        raise ValueError(
            f"points have shape {tuple(points.shape)}, expected (b, n, in_channels) with "
            f"in_channels = {channels}"
        )


def check_parameters(parameters: Tensor | None, batch: int, count: int) -> None:
    """ValueError unless parameters is (b, count); None stands for no parameter."""
    if parameters is None and not count:
        return
    if parameters is None or parameters.shape != (batch, count):
        found = "missing" if parameters is None else f"of shape {tuple(parameters.shape)}"
        raise ValueError(f"parameters are {found}, expected (b, parameters) = ({batch}, {count})")


def check_inputs(inputs: Sequence[Tensor], channels: Sequence[int], batch: int) -> None:
    """ValueError unless there is one (b, m, channels[j]) for every input function."""
    if len(inputs) != len(channels):
        raise ValueError(
            f"{len(inputs)} input functions are given, the network was built for {len(channels)} "
            f"(input_channels = {list(channels)})"
        )
    for j, (f, width) in enumerate(zip(inputs, channels, strict=True)):
        if f.ndim != 3 or f.shape[0] != batch or f.shape[2] != width:
            raise ValueError(
                f"inputs[{j}] has shape {tuple(f.shape)}, expected (b, m, channels) = "
                f"({batch}, m, {width})"
            )


def check_mask(name: str, mask: Tensor | None, like: Tensor) -> None:
    """ValueError unless mask is boolean and has the shape (b, n) of the rows of `like`."""
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.shape != like.shape[:2]:
        raise ValueError(
            f"{name} is {mask.dtype} of shape {tuple(mask.shape)}, expected bool (True = keep) of "
            f"shape (b, n) = {tuple(like.shape[:2])}"
        )


def check_weights(name: str, weights: Tensor | None, like: Tensor) -> None:
    """ValueError unless weights are real numbers in the shape (b, n) of the rows of `like`."""
    if weights is None:
        return
    if not weights.is_floating_point() or weights.shape != like.shape[:2]:
        raise ValueError(
            f"{name} are {weights.dtype} of shape {tuple(weights.shape)}, expected floating-point "
            f"numbers of shape (b, n) = {tuple(like.shape[:2])}"
        )
