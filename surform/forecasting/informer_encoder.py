"""The Informer's encoder: attention layers that halve the series between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.circular_conv import CircularConv

__all__ = ["Distil", "DistillingEncoder", "EncoderStack"]

Samples = Iterator[Int[Tensor, "n s"] | None] | None
Maps = list[Tensor] | None


class Distil(nn.Module):
    """Convolution, batch norm, ELU, maximum over three steps at every second one.

    Zhou et al., 2021 (arXiv 2012.07436), equation 5: (b, l, dim) -> (b, (l - 1) // 2 + 1, dim).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = CircularConv(dim, dim)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, x: Float[Tensor, "b l c"]) -> Float[Tensor, "b k c"]:
        x = self.norm(self.conv(x).flatten(0, 1)).view_as(x)
        return F.elu(_max_of_three(x))  # ELU rises: it commutes with the maximum, at half the cost


def _max_of_three(x: Tensor) -> Tensor:
    """max(x_{2t-1}, x_{2t}, x_{2t+1}) as far as they exist, without moving time to the end."""
    even, odd = x[:, ::2], x[:, 1::2]
    most = even.shape[1]
    if odd.shape[1] == 0:
        return even
    right = torch.maximum(even[:, : odd.shape[1]], odd)
    right = torch.cat((right, even[:, odd.shape[1] :]), 1)
    left = odd[:, : most - 1]
    return torch.cat((right[:, :1], torch.maximum(right[:, 1:], left)), 1)


class DistillingEncoder(nn.Module):
    """`depth` layers, `Distil` after each but the last (if `distil`), and a norm.

    Args:
        layer: makes one attention layer; it is told its number.
    """

    def __init__(
        self, dim: int, depth: int, layer: Callable[[int], nn.Module], *, distil: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(i) for i in range(depth))
        self.distil = nn.ModuleList(Distil(dim) for _ in range(depth - 1 if distil else 0))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Float[Tensor, "b l c"], samples: Samples = None, maps: Maps = None
    ) -> Float[Tensor, "b k c"]:
        """samples: sampled keys of each layer, instead of drawn ones; maps: gets each attention's
        weights (b, heads, n, n) appended."""
        for i, layer in enumerate(self.layers):
            options = {} if samples is None else {"sample_index": next(samples)}
            if maps is None:
                x = layer(x, **options)
            else:
                x, weights = layer.forward_with_map(x, **options)  # type: ignore[operator]
                maps.append(weights)
            if i < len(self.distil):
                x = self.distil[i](x)
        return self.norm(x)


class EncoderStack(nn.Module):
    """Encoder i reads the last n // 2^i steps; the outputs follow one another in time.

    Args:
        depths: layers of each encoder.
        layer: makes one attention layer; it is told its number, counted over all encoders.
    """

    def __init__(
        self, dim: int, depths: Sequence[int], layer: Callable[[int], nn.Module], *, distil: bool
    ) -> None:
        super().__init__()
        numbers = iter(range(sum(depths)))
        self.encoders = nn.ModuleList(
            DistillingEncoder(dim, depth, lambda _: layer(next(numbers)), distil=distil)
            for depth in depths
        )

    def forward(
        self, x: Float[Tensor, "b l c"], samples: Samples = None, maps: Maps = None
    ) -> Float[Tensor, "b k c"]:
        parts = [
            encoder(x[:, -(x.shape[1] // 2**i) :], samples, maps)
            for i, encoder in enumerate(self.encoders)
        ]
        return torch.cat(parts, 1)
