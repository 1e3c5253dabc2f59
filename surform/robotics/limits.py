"""Numbers brought into [-1, 1] by their smallest and largest values."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Limits"]

_LEAST_RANGE = 1e-4  # what varies less is only moved to -1


class Limits(nn.Module):
    """x * scale + offset for each number of the last axis; saved with the network.

    Not fitted, it changes nothing. What never varied is moved to 0 and not scaled.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        kind = torch.get_default_dtype()
        self.register_buffer("scale", torch.ones(width, dtype=kind))
        for name in ("offset", "minimum", "maximum", "mean", "deviation"):
            self.register_buffer(name, torch.zeros(width, dtype=kind))

    @torch.no_grad()
    def fit(self, values: Float[Tensor, "*n w"]) -> None:
        """Take the limits of some values.

        Raises:
            ValueError: none, of another width, or not finite.
        """
        if values.ndim < 2 or values.shape[-1] != len(self.scale) or not values.numel():
            raise ValueError(
                f"values have shape {tuple(values.shape)}, but must be (one or more, "
                f"{len(self.scale)})"
            )
        if not bool(values.isfinite().all()):
            raise ValueError("values to take limits of are not all finite")
        rows = values.flatten(0, -2).to(self.scale)
        low, high = rows.amin(0), rows.amax(0)
        constant = high - low < _LEAST_RANGE
        scale = torch.where(constant, 1.0, 2 / (high - low).clamp(min=_LEAST_RANGE))
        offset = torch.where(constant, -low, -1 - scale * low)
        found = {
            "scale": scale,
            "offset": offset,
            "minimum": low,
            "maximum": high,
            "mean": rows.mean(0),
            "deviation": rows.std(0, correction=0),
        }
        for name, value in found.items():
            getattr(self, name).copy_(value)

    def normalize(self, x: Float[Tensor, "*n w"]) -> Float[Tensor, "*n w"]:
        """Into [-1, 1]."""
        return x * self.scale + self.offset

    def denormalize(self, x: Float[Tensor, "*n w"]) -> Float[Tensor, "*n w"]:
        """Back to units."""
        return (x - self.offset) / self.scale
