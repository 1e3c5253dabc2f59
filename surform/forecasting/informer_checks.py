"""What the Informers refuse: windows that do not fit, and inputs of other shapes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from surform.layers.checks import at_least

__all__ = ["check_inputs", "check_windows"]


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
    history: Tensor,
    past_marks: Tensor | None,
    future_marks: Tensor | None,
    *,
    lookback: int,
    horizon: int,
    variates: int,
    marks: int,
) -> None:
    """ValueError unless history is (B, L, V) and the marks are (B, L, M) and (B, H, M)."""
    if history.ndim != 3 or history.shape[1:] != (lookback, variates):
        raise ValueError(
            f"history has shape {tuple(history.shape)}, but must be (batch, lookback, variates) = "
            f"(batch, {lookback}, {variates})"
        )
    for name, given, steps in (
        ("past_marks", past_marks, lookback),
        ("future_marks", future_marks, horizon),
    ):
        wanted = (history.shape[0], steps, marks) if marks else None
        found = None if given is None else tuple(given.shape)
        if found != wanted:
            raise ValueError(
                f"{name} {_given(found)}, but the network was built with marks = {marks} and "
                f"takes {_given(wanted)}"
            )


def _given(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"shape {shape}"
