"""Notice when a rollout has blown up, and say where and why."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["Watch"]


class Watch:
    """Checks every frame: not finite, or larger than `factor` times the initial size.

    The size of a variable is its root mean square over the grid; the first predicted frame counts
    where the initial field is zero. A blown-up run stays blown up.

    Args:
        initial: the last known frame, `(B, 1, *grid, C)`.
        variables: names of the C variables.
        factor: allowed growth; infinity watches for NaN and Inf only.
    """

    def __init__(self, initial: Tensor, variables: tuple[str, ...], factor: float) -> None:
        if not factor > 1:
            raise ValueError(f"the growth that counts as a blow-up must exceed 1, not {factor}")
        self.variables = variables
        self.factor = factor
        self.reference = _size(initial)
        self.ended: dict[tuple[int, int], tuple[int, str]] = {}
        self._fine: Tensor | None = None

    def check(self, frame: Tensor, step: int) -> Tensor:
        """Whether each run `(B, M)` is still fine after this frame `(B, M, *grid, C)`."""
        size = _size(frame)
        if self._fine is None:
            self.reference = torch.where(self.reference > 0, self.reference, size)
            self._fine = torch.ones(size.shape[:2], dtype=torch.bool, device=size.device)
        finite = torch.isfinite(frame).flatten(2).all(2)
        growth = size / self.reference.clamp_min(torch.finfo(size.dtype).tiny)
        bad = ~finite | (growth > self.factor).any(2)
        for sample, member in torch.nonzero(bad & self._fine).tolist():
            reason = self._reason(bool(finite[sample, member]), growth[sample, member])
            self.ended[sample, member] = step, reason
        self._fine = self._fine & ~bad
        return self._fine

    def steps(self) -> np.ndarray:
        """The step that ended each run, `(B, M)`; -1 for runs that did not end."""
        shape = () if self._fine is None else tuple(self._fine.shape)
        found = np.full(shape, -1)
        for run, (step, _) in self.ended.items():
            found[run] = step
        return found

    def _reason(self, finite: bool, growth: Tensor) -> str:
        if not finite:
            return "values that are not finite"
        worst = int(growth.argmax())
        return (
            f"{self.variables[worst]} is {float(growth[worst]):.3g} times its initial size "
            f"(allowed: {self.factor:g})"
        )


def _size(frame: Tensor) -> Tensor:
    """Root mean square over the grid, (B, M, C)."""
    return frame.square().flatten(2, -2).mean(2).sqrt()
