"""What the Informers refuse: windows that do not fit, and inputs of other shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from surform.layers.checks import at_least

__all__ = ["check_inputs", "check_windows"]


class _Sizes(Protocol):
    lookback: int
    horizon: int
    variates: int
    marks: int
    decoder_variates: int


def check_windows(lookback: int, label_length: int, depths: Sequence[int], stacked: bool) -> None:
    """ValueError unless there are encoders with layers, and steps enough for all of them."""
    if label_length > lookback:
        raise ValueError(
            f"label_length is {label_length}, but the look-back has only {lookback} steps"
        )
    if not depths:
        raise ValueError("depths is empty, but there must be an encoder")
    for i, depth in enumerate(depths):
        at_least(1, **{f"depths[{i}]" if stacked else "depth": depth})
    if lookback < 2 ** (len(depths) - 1):
        raise ValueError(
            f"depths has {len(depths)} encoders, but halving a look-back of {lookback} steps that "
            "often leaves none"
        )


def check_inputs(
    net: _Sizes, history: Tensor, past_marks: Tensor | None, future_marks: Tensor | None
) -> None:
    """ValueError unless history is (B, L, V) and the marks are (B, L, M) and (B, H, M)."""
    if net.decoder_variates != net.variates:
        raise ValueError(
            f"the decoder takes {net.decoder_variates} variates, the history has {net.variates}: "
            "call forward_from with an input for the decoder"
        )
    if history.ndim != 3 or history.shape[1:] != (net.lookback, net.variates):
        raise ValueError(
            f"history has shape {tuple(history.shape)}, but must be (batch, lookback, variates) = "
            f"(batch, {net.lookback}, {net.variates})"
        )
    for name, marks, steps in (
        ("past_marks", past_marks, net.lookback),
        ("future_marks", future_marks, net.horizon),
    ):
        wanted = (history.shape[0], steps, net.marks) if net.marks else None
        found = None if marks is None else tuple(marks.shape)
        if found != wanted:
            raise ValueError(
                f"{name} {_given(found)}, but the network was built with marks = {net.marks} and "
                f"takes {_given(wanted)}"
            )


def _given(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"shape {shape}"
