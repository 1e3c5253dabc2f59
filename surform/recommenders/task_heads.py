"""From what is known of a sample to one logit per task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least
from surform.layers.dropout import Dropout
from surform.recommenders.token_maps import TokenMaps

__all__ = ["TaskHeads", "deep_tower"]


class TaskHeads(nn.Module):
    """A logit per task token: (T, B, dim) -> (B, T).

    Args:
        tower: widths of hidden layers, exact GELU after each, of which every task has its own; ()
            is one linear map per task.
    """

    def __init__(self, tasks: int, dim: int, tower: Sequence[int] = ()) -> None:
        super().__init__()
        at_least(1, **{f"tower[{i}]": width for i, width in enumerate(tower)})
        widths = (dim, *tower)
        self.tower = nn.ModuleList(
            TokenMaps(tasks, widths[i], widths[i + 1]) for i in range(len(tower))
        )
        self.weight = nn.Parameter(torch.randn(tasks, widths[-1]) * widths[-1] ** -0.5)
        self.bias = nn.Parameter(torch.zeros(tasks))

    def forward(self, x: Float[Tensor, "t b c"]) -> Float[Tensor, "b t"]:
        for layer in self.tower:
            x = F.gelu(layer(x))
        return (x * self.weight[:, None]).sum(-1).transpose(0, 1) + self.bias


def deep_tower(inputs: int, widths: Sequence[int], tasks: int, dropout: float) -> nn.Sequential:
    """A multilayer perceptron with ReLU, (B, inputs) -> (B, tasks)."""
    at_least(1, **{f"deep[{i}]": width for i, width in enumerate(widths)})
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU(), Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, tasks))
