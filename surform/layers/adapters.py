"""Small modules that are trained beside the branches of a frozen transformer.

Bottleneck: Houlsby et al., 2019 (arXiv 1902.00751); Convpass: Jie and Deng, 2022 (arXiv
2207.07039); Conformer: Cappellazzo et al., 2023 (arXiv 2312.03694). Each is (b, n, dim) -> same,
and begins as zero.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, one_of
from surform.layers.dropout import Dropout

__all__ = ["ADAPTERS", "AdapterKind", "Bottleneck", "ConformerAdapter", "Convpass", "make_adapter"]

AdapterKind = Literal["bottleneck", "convpass", "conformer"]
ADAPTERS = ("bottleneck", "convpass", "conformer")


class Bottleneck(nn.Module):
    """up(gelu(down(x))).

    Args:
        legacy_zero: both maps begin as zero, as in the official code. Then neither ever has a
            gradient, and only the last bias learns.
    """

    def __init__(self, dim: int, hidden: int, *, legacy_zero: bool = False) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        _begin(self.down, self.up)
        if legacy_zero:
            nn.init.zeros_(self.down.weight)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        return self.up(F.gelu(self.down(x)))


class Convpass(nn.Module):
    """up(dropout(act(conv(act(down(x)))))), act(x) = x sigmoid(1.702 x), conv along the tokens.

    Args:
        apply_conv: as written above. The official code throws the convolution's output away and
            applies the activation twice to what went in, which is the default.
    """

    def __init__(self, dim: int, hidden: int, *, apply_conv: bool = False) -> None:
        super().__init__()
        self.apply_conv = apply_conv
        self.down, self.up = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.conv = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.conv.requires_grad_(apply_conv)
        self.dropout = Dropout(0.1)
        _begin(self.down, self.up)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        hidden = _quick_gelu(self.down(x))
        if self.apply_conv:
            hidden = self.conv(hidden.transpose(1, 2)).transpose(1, 2)
        return self.up(self.dropout(_quick_gelu(hidden)))


class ConformerAdapter(nn.Module):
    """Pointwise map, GLU, a convolution of each channel along the tokens, norm, SiLU, map.

    Args:
        kernel_size: of that convolution, odd.
        apply_norm: normalise the tokens first; the official code computes that norm and does not
            use it, which is the default.
    """

    def __init__(
        self, dim: int, hidden: int, *, kernel_size: int = 31, apply_norm: bool = False
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, but must be odd")
        self.apply_norm = apply_norm
        self.norm = nn.LayerNorm(dim)
        self.norm.requires_grad_(apply_norm)
        self.down, self.up = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)
        self.conv = nn.Conv1d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden)
        self.batch_norm = nn.BatchNorm1d(hidden)
        self.dropout = Dropout(0.1)
        _begin(self.down, self.up)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        x = self.norm(x) if self.apply_norm else x
        hidden = F.glu(self.down(x), -1).transpose(1, 2)  # (b, hidden, n)
        hidden = F.silu(self.batch_norm(self.conv(hidden))).transpose(1, 2)
        return self.dropout(self.up(hidden))


def make_adapter(kind: AdapterKind, dim: int, hidden: int, **options: Any) -> nn.Module:
    """An adapter of a kind, `hidden` channels wide.

    Args:
        options: legacy_zero, apply_conv, kernel_size, apply_norm; those of other kinds are ignored.
    """
    one_of("adapter", kind, ADAPTERS)
    at_least(1, dim=dim, hidden=hidden)
    if kind == "bottleneck":
        return Bottleneck(dim, hidden, legacy_zero=options.get("legacy_zero", False))
    if kind == "convpass":
        return Convpass(dim, hidden, apply_conv=options.get("apply_conv", False))
    kernel, norm = options.get("kernel_size", 31), options.get("apply_norm", False)
    return ConformerAdapter(dim, hidden, kernel_size=kernel, apply_norm=norm)


def _begin(down: nn.Linear, up: nn.Linear) -> None:
    """An adapter that changes nothing yet, but whose maps have gradients."""
    nn.init.xavier_uniform_(down.weight)
    for zero in (down.bias, up.weight, up.bias):
        nn.init.zeros_(zero)


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)
