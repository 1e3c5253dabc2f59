"""Stochastic depth: residual branches that some samples skip in training.

Huang et al., "Deep Networks with Stochastic Depth", 2016 (arXiv 1603.09382).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import fraction

__all__ = ["DropPath", "drop_rates"]


class DropPath(nn.Module):
    """In training, zero for a share `rate` of the samples, and 1 / (1 - rate) of the others."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        fraction(rate=rate)
        self.rate = rate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if not self.training or not self.rate:
            return x
        kept = x.new_empty((len(x), *[1] * (x.ndim - 1))).bernoulli_(1 - self.rate)
        return x * (kept / (1 - self.rate))

    def add(
        self, x: Float[Tensor, "*shape"], branch: Callable[..., Tensor], *beside: Tensor | None
    ) -> Float[Tensor, "*shape"]:
        """x + drop_path(branch(x, *beside)), the branch made for those samples only that keep it.

        It must treat samples alone (no batch norm inside), and take an empty batch. Compiled
        programs make it for all samples.

        Args:
            beside: what else the branch needs of each sample, (b, ...); None stays None.
        """
        if not self.training or not self.rate or torch.compiler.is_compiling():
            return x + self(branch(x, *beside))
        keep = 1 - self.rate
        # drawn on the CPU: counting them on a GPU would wait for it
        numbers = (torch.rand(len(x)) < keep).nonzero().flatten()
        kept = (v if v is None else v[numbers.to(v.device)] for v in (x, *beside))
        out = branch(*kept)
        return x.index_add(0, numbers.to(x.device), out.to(x.dtype), alpha=1 / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def drop_rates(most: float, depth: int) -> list[float]:
    """The rate of each of `depth` blocks: 0 for the first, `most` for the last, linear between."""
    fraction(drop_path=most)
    return [most * block / max(1, depth - 1) for block in range(depth)]
