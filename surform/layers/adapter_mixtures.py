"""Several adapters as one module, (b, n, dim) -> same: each token's answer is a mixture of theirs.

Cappellazzo et al., "Efficient Fine-tuning of Audio Spectrogram Transformers via Soft Mixture of
Adapters" (Interspeech 2024), arXiv 2402.00828; Soft MoE: Puigcerver et al., 2023 (arXiv
2308.00951).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, one_of

__all__ = ["NORMALIZE", "DenseMixture", "Normalize", "SoftMixture"]

Normalize = Literal["no", "soft_moe", "official"]
NORMALIZE = ("no", "soft_moe", "official")


class SoftMixture(nn.Module):
    """Soft-MoA: each adapter works on a few slots, averages of all tokens, instead of tokens.

    logits = X . slots; slot inputs are means of the tokens weighted by a softmax over tokens; each
    token's output is a mean of the slots' outputs weighted by a softmax over slots.

    Args:
        make: makes an adapter.
        count: adapters.
        slots: of each adapter.
        normalize: "no"; "soft_moe": in the logits tokens have length 1, and each slot's parameters
            a learned length; "official": as the official code does, tokens of length 1 are also
            what the slots average, and slots have length 1 along the adapters, not the channels.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        dim: int,
        count: int,
        slots: int,
        *,
        normalize: Normalize = "no",
    ) -> None:
        super().__init__()
        at_least(1, count=count, slots=slots)
        one_of("normalize", normalize, NORMALIZE)
        self.normalize = normalize
        self.adapters = nn.ModuleList(make() for _ in range(count))
        self.slots = nn.Parameter(torch.empty(dim, count, slots))
        nn.init.normal_(self.slots, std=dim**-0.5)
        self.scale = nn.Parameter(torch.ones(())) if normalize != "no" else None

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        slots, tokens = self.slots, x
        if self.scale is not None:
            tokens = _unit(x, -1)
            slots = self.scale * _unit(slots, 1 if self.normalize == "official" else 0)
        if self.normalize == "official":
            x = tokens
        logits = tokens @ slots.flatten(1)  # (b, n, count * slots)
        given = logits.softmax(1).transpose(1, 2) @ x  # (b, count * slots, c)
        parts = given.chunk(len(self.adapters), 1)
        made = [adapter(part) for adapter, part in zip(self.adapters, parts, strict=True)]
        return logits.softmax(2) @ torch.cat(made, 1)


class DenseMixture(nn.Module):
    """Dense-MoA: all adapters answer every token, weighted by a softmax over a map of the token.

    The outputs are added up one after the other: they are never held side by side.

    Args:
        make: makes an adapter.
        count: adapters.
    """

    def __init__(self, make: Callable[[], nn.Module], dim: int, count: int) -> None:
        super().__init__()
        at_least(1, count=count)
        self.adapters = nn.ModuleList(make() for _ in range(count))
        self.router = nn.Linear(dim, count)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        weights = self.router(x).softmax(-1)
        out = torch.zeros_like(x)
        for number, adapter in enumerate(self.adapters):
            out = out + weights[..., number, None] * adapter(x)
        return out


def _unit(x: Tensor, axis: int) -> Tensor:
    return x / (x.norm(dim=axis, keepdim=True) + 1e-6)
