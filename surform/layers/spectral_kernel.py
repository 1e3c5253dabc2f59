"""Linear attention whose kernel is learned by its spectral distribution.

Chowdhury et al., "On Learning the Transformer Kernel", 2021 (arXiv 2110.08323); official code
cs1160701/OnLearningTheKernel@a8e3d3bb80bd. The generative variant is left out.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.attention.spectral_features import (
    fastfood,
    fourier_features,
    mixture_features,
    positive_features,
)
from surform.layers.checks import at_least, one_of

__all__ = ["Kernel", "SpectralKernel"]

Kernel = Literal["gmm_rks", "gmm_prf", "fastfood_rks", "fastfood_prf"]
_KERNELS = ("gmm_rks", "gmm_prf", "fastfood_rks", "fastfood_prf")


class SpectralKernel(nn.Module):
    """Attention by random features whose distribution is trained, for `SelfAttention`.

    The published code draws new noise in every call of training, and in evaluation, too, where it
    is not told otherwise; here evaluation keeps the last noise.

    Args:
        width: of a head (d).
        heads: each has a distribution of its own.
        kernel: "gmm_rks", cosines and sines of two Gaussians of frequencies; "gmm_prf", positive
            exponentials of one; "fastfood_rks" and "fastfood_prf", structured frequencies, for
            widths that are powers of two.
        features: of a token; None: the published choice for `gmm_rks`, 4 p + 1, and `gmm_prf`, p,
            with p the power of two next to d ln d. Fastfood has 2 d and d.
        redraw: calls in training after which noise is drawn anew; 0: never.
        learned: whether Fastfood's diagonals are trained.
    """

    omega: Tensor
    permutation: Tensor

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kernel: Kernel = "gmm_prf",
        features: int | None = None,
        redraw: int = 1,
        learned: bool = True,
    ) -> None:
        super().__init__()
        at_least(1, width=width, heads=heads)
        at_least(0, redraw=redraw)
        one_of("kernel", kernel, list(_KERNELS))
        self.width, self.heads, self.kernel, self.redraw = width, heads, kernel, redraw
        self.calls = 0
        if kernel.startswith("fastfood"):
            self._add_diagonals(features, learned)
            return
        count = _published(kernel, width) if features is None else features
        at_least(1, features=count)
        if kernel == "gmm_rks" and count % 4 != 1:
            raise ValueError(
                f"features is {count}, but gmm_rks has four for each frequency and a constant: "
                "a multiple of 4, plus 1"
            )
        draws = count // 4 if kernel == "gmm_rks" else count
        if draws < 1:
            raise ValueError(f"features is {count}, but gmm_rks needs at least 5")
        self.register_buffer("omega", torch.randn(width, draws))
        if kernel == "gmm_rks":
            self.spread = nn.Parameter(torch.eye(width).repeat(heads, 1, 1))
            self.mean = nn.Parameter(width**-0.5 * torch.randn(heads, width))
        else:
            self.spread = nn.Parameter(torch.zeros(heads, width))
            self.mean = nn.Parameter(torch.zeros(heads, width))

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m e"],
        *,
        mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b h n e"]:
        """mask: True = keep, over keys."""
        if self.training and self.redraw and self.kernel.startswith("gmm"):
            if self.redraw == 1 or self.calls % self.redraw == 0:
                self.omega = torch.randn_like(self.omega)
            if self.redraw > 1:  # a number that changes would be compiled anew each time
                self.calls += 1
        return attention.spectral(self.features(q), self.features(k), v, mask=mask)

    def features(self, x: Float[Tensor, "b h n d"]) -> Float[Tensor, "b h n f"]:
        """Of queries or keys; in float32 at least."""
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(wide) * self.width**-0.25
            if self.kernel.startswith("gmm"):
                given = (t.to(wide) for t in (self.omega, self.spread, self.mean))
                make = mixture_features if self.kernel == "gmm_rks" else positive_features
                return make(x, *given)
            waves = fastfood(x, self.diagonals.to(wide), self.permutation)
            if self.kernel == "fastfood_rks":
                return fourier_features(waves)
            norm = 0.5 * x.square().sum(-1, keepdim=True)
            return (waves - norm).exp() * self.width**-0.5

    def _add_diagonals(self, features: int | None, learned: bool) -> None:
        width, heads = self.width, self.heads
        own = width if self.kernel == "fastfood_prf" else 2 * width
        if features not in (None, own):
            raise ValueError(
                f"features is {features}, but {self.kernel} of heads of width {width} has {own}"
            )
        if width & (width - 1):
            raise ValueError(
                f"{self.kernel} needs heads whose width is a power of two, not {width}: choose "
                "gmm_rks or gmm_prf"
            )
        diagonals = width**-0.5 * torch.randn(heads, 3, width)
        if learned:
            self.diagonals = nn.Parameter(diagonals)
        else:
            self.register_buffer("diagonals", diagonals)
        order = torch.stack([torch.randperm(width) for _ in range(heads)])
        self.register_buffer("permutation", order)


def _published(kernel: str, width: int) -> int:
    """The number of features in the published experiments on ListOps."""
    power = 2 ** round(math.log2(max(width * math.log(width), 1))) if width > 1 else 1
    return 4 * power + 1 if kernel == "gmm_rks" else power
