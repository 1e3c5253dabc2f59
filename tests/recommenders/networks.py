"""Small networks of rankers and inputs for them, with every kind of feature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform import create_model

SMALL: dict[str, Any] = {
    "vocab_sizes": (5, 3), "multi_vocab_sizes": (4, 6), "dense_features": 3, "dense_tokens": 2,
    "dense_hidden": 7, "tasks": 2, "dim": 6, "heads": 2, "key_dim": 3, "value_dim": 5,
    "key_rank": 4, "value_rank": 6,
}  # fmt: skip


def hiformer(dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """A Hiformer all of whose parameters matter."""
    return drawn(create_model("hiformer", **SMALL | options), dtype)


def drawn(net: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """`net` with parameters drawn anew from normals."""
    torch.manual_seed(1)
    net = net.to(dtype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.5)
    return net.eval()


def inputs(batch: int = 4, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Rows for `SMALL`, some without any value of a multi-valued feature."""
    torch.manual_seed(2)
    lengths = torch.randint(0, 4, (batch, 2))
    lengths[0] = 0
    of = torch.arange(2).repeat(batch).repeat_interleave(lengths.flatten())
    return {
        "categorical": torch.stack([torch.randint(size, (batch,)) for size in (5, 3)], 1),
        "dense": torch.randn(batch, 3, dtype=dtype),
        "values": torch.randint(4, (len(of),)) + of * torch.randint(3, (len(of),)),
        "lengths": lengths,
    }
