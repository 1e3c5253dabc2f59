"""Small networks whose numbers all matter, and jets for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surform.particles.jetformer import JetFormer

__all__ = ["particles", "small_net"]


def small_net(**options: Any) -> JetFormer:
    """In float64; statistics of batch norms are drawn, too."""
    torch.manual_seed(0)
    given = {"in_channels": 3, "dim": 8, "depth": 2, "heads": 2} | options
    net = JetFormer(**given).double()
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(0.4 * torch.randn_like(value))
        if name.endswith("running_var"):
            value.abs_().add_(0.5)
    return net


def particles(jets: int = 5, most: int = 7, features: int = 3) -> tuple[Tensor, Tensor]:
    """(jets, most, features) in float64, and which of them are there: 1 ... most of each jet."""
    torch.manual_seed(1)
    x = torch.randn(jets, most, features, dtype=torch.float64)
    counts = torch.arange(jets) % most + 1
    return x, torch.arange(most) < counts[:, None]
