"""The feed-forward block of a transformer layer."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, fraction, one_of
from surform.layers.dropout import Dropout

__all__ = ["Activation", "FeedForward"]

Activation = Literal["gelu", "gelu_tanh", "relu"]
_FUNCTIONS = {"gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh"), "relu": F.relu}


class FeedForward(nn.Module):
    """dropout(down(dropout(activation(up(x))))), each token alone: (..., dim) -> (..., dim).

    Args:
        hidden: width between the two maps.
        activation: "gelu" is the exact one (erf), "gelu_tanh" its usual approximation.
    """

    def __init__(
        self, dim: int, hidden: int, *, dropout: float = 0.0, activation: Activation = "gelu"
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, hidden=hidden)
        fraction(dropout=dropout)
        one_of("activation", activation, list(_FUNCTIONS))
        self.activation = activation
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        hidden = self.dropout(_FUNCTIONS[self.activation](self.up(x)))
        return self.dropout(self.down(hidden))
