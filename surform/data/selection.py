"""Which variables, frames and grid points of a data set a problem uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """The variables and sub-sampling of one problem.

    Args:
        inputs: input variables, in channel order.
        targets: target variables, in channel order.
        parameters: scalars per sample, appended to the inputs as constant channels.
        auxiliary: further fields for losses.
        input_steps: frames per input window; None for steady problems.
        target_steps: frames per target window; None for steady problems.
        time_stride: keep every n-th frame, from the first.
        space_stride: keep every n-th point, from the first; one number, or one per axis.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    input_steps: int | None = None
    target_steps: int | None = None
    time_stride: int = 1
    space_stride: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        for role in ("inputs", "targets", "parameters", "auxiliary"):
            _check_names(role, getattr(self, role), required=role in ("inputs", "targets"))
        both = [name for name in self.parameters if name in self.inputs]
        if both:
            raise ValueError(f"{both[0]} is both an input and a parameter")
        if (self.input_steps is None) != (self.target_steps is None):
            raise ValueError(
                "give both input_steps and target_steps (time windows) or neither (steady "
                f"problems); got {self.input_steps} and {self.target_steps}"
            )
        strides = (
            self.space_stride if isinstance(self.space_stride, tuple) else (self.space_stride,)
        )
        for name, values in (
            ("input_steps", (self.input_steps,)),
            ("target_steps", (self.target_steps,)),
            ("time_stride", (self.time_stride,)),
            ("space_stride", strides),
        ):
            if any(value is not None and value < 1 for value in values):
                raise ValueError(f"{name} must be at least 1, got {values[0]}")

    @property
    def windowed(self) -> bool:
        """Whether the problem has windows over time."""
        return self.input_steps is not None

    @property
    def fields(self) -> tuple[str, ...]:
        """All field variables, each once."""
        return tuple(dict.fromkeys((*self.inputs, *self.targets, *self.auxiliary)))

    @property
    def window_frames(self) -> int:
        """Frames that one window spans (1 for steady problems)."""
        return (self.input_steps or 0) + (self.target_steps or 0) or 1


def _check_names(role: str, names: Sequence[str], *, required: bool) -> None:
    if required and not names:
        raise ValueError(f"{role} is empty: name at least one variable")
    if len(set(names)) < len(names):
        raise ValueError(f"{role} names a variable twice: {', '.join(names)}")
