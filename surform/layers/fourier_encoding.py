"""Positions as random Fourier features of physical coordinates (Tancik et al. 2020, 2006.10739)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import works_in_blocks
from surform.layers.rotary import period

__all__ = ["FourierEncoding"]

_CACHED_BYTES = 1 << 27  # larger encodings are made anew each time


class FourierEncoding(nn.Module):
    """[sin(2 pi x B), cos(2 pi x B)], a fixed Gaussian B ~ N(0, scale^2), then Linear(dim, dim).

    Its fixed features are kept from call to call; without gradients the encoding is, too (CPU).
    What was kept is compared by value with the weights and coordinates of the call, so any change
    of them, by an optimiser, a loaded checkpoint or `.data`, is seen.

    periodic: on these axes B is rounded to whole waves per period.
    """

    def __init__(
        self, rank: int, dim: int, scale: float = 1.0, periodic: Sequence[bool] | None = None
    ) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim = {dim} must be even: half of the features are sines")
        frequencies = torch.randn(rank, dim // 2) * scale
        self.frequencies = nn.Parameter(frequencies, requires_grad=False)
        self.periodic = (False,) * rank if periodic is None else tuple(periodic)
        self.project = nn.Linear(dim, dim)
        self._kept: dict[str, tuple[list[Tensor], Tensor]] = {}

    def forward(self, coordinates: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "*grid dim"]:
        """Encoding of every point of the tensor-product grid; coordinates in physical units."""
        if not self._keeps(coordinates):
            return self.project(self.features(coordinates))
        sources = [self.frequencies, *coordinates]
        if torch.is_grad_enabled():
            return self.project(self.fixed_features(coordinates))
        sources += [self.project.weight, self.project.bias]
        return self._recall("encoding", sources, lambda: self.project(self.features(coordinates)))

    def fixed_features(
        self, coordinates: Sequence[Float[Tensor, " _"]]
    ) -> Float[Tensor, "*grid dim"]:
        """`features`, from the last call where they may be kept."""
        if not self._keeps(coordinates):
            return self.features(coordinates)
        sources = [self.frequencies, *coordinates]
        return self._recall("features", sources, lambda: self.features(coordinates))

    def features(self, coordinates: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "*grid dim"]:
        """The fixed features, before the linear map."""
        rank = len(coordinates)
        phase = coordinates[0].new_zeros([1] * rank + [1])
        for axis, (x, frequencies) in enumerate(zip(coordinates, self.frequencies, strict=True)):
            if self.periodic[axis]:
                frequencies = (frequencies * period(x)).round() / period(x)
            part = 2 * math.pi * x[:, None] * frequencies  # (n, dim / 2)
            phase = phase + part.view(
                [-1 if i == axis else 1 for i in range(rank)] + [len(frequencies)]
            )
        return torch.cat((torch.sin(phase), torch.cos(phase)), dim=-1).to(self.frequencies.dtype)

    def _keeps(self, coordinates: Sequence[Tensor]) -> bool:
        weight = self.project.weight
        if not works_in_blocks(weight):
            return False
        sources = (self.frequencies, *coordinates)
        if torch.is_grad_enabled() and any(x.requires_grad for x in sources):
            return False
        points = math.prod([len(x) for x in coordinates])
        return points * weight.shape[0] * weight.element_size() <= _CACHED_BYTES

    def _recall(self, name: str, sources: list[Tensor], make: Callable[[], Tensor]) -> Tensor:
        known, value = self._kept.get(name, ([], None))
        same = len(known) == len(sources) and all(
            a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(known, sources, strict=True)
        )
        if value is None or not same:
            # not an inference tensor: a later training step saves the features for its backward
            with torch.inference_mode(False), torch.no_grad():
                value = make()
                self._kept[name] = ([x.detach().clone() for x in sources], value)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}
