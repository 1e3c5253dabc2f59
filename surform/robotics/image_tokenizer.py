"""Images and an instruction to the few tokens of a frame: the tokenizer of RT-1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.robotics.film_efficientnet import FilmEfficientNet
from surform.robotics.token_learner import TokenLearner

__all__ = ["ImageTokenizer", "random_crop"]


class ImageTokenizer(nn.Module):
    """Images (b, 3, h, w) and what FiLM makes of an instruction -> tokens (b, n, dim).

    Args:
        encoder, dim, image_size, context_dim: of `FilmEfficientNet`.
        tokens: that TokenLearner makes of an image; 0: no TokenLearner, one for each place.
        bottleneck: of TokenLearner.
    """

    def __init__(
        self,
        encoder: str,
        dim: int,
        image_size: int,
        context_dim: int,
        tokens: int,
        bottleneck: int,
    ) -> None:
        super().__init__()
        self.encoder = FilmEfficientNet(encoder, dim, image_size, context_dim)
        self.learner = TokenLearner(dim, tokens, bottleneck) if tokens else None
        self.tokens = tokens or self.encoder.tokens

    def modulation(self, instruction: Float[Tensor, "b e"]) -> Float[Tensor, "b m"]:
        """What all FiLM layers make of an instruction; it stays the same over an episode."""
        return self.encoder.film(instruction)

    def forward(self, images: Tensor, modulation: Float[Tensor, "b m"]) -> Float[Tensor, "b n d"]:
        """images: (b, 3, h, w), uint8 or numbers from 0 to 1."""
        kind = self.encoder.mean.dtype  # of the weights, whatever autocast makes of them
        images = images.to(kind) / 255 if images.dtype == torch.uint8 else images.to(kind)
        places = self.encoder(images, modulation)
        return places if self.learner is None else self.learner(places)


def random_crop(images: Tensor, *, per_sample: bool = False) -> Tensor:
    """Episodes (b, t, c, h, w) moved by up to 5/64 of the height up or down and 25/128 to a side.

    Black moves in. As published, all are moved alike.

    Args:
        per_sample: each episode by an offset of its own.
    """
    height, width = images.shape[-2:]
    rows, columns = round(height * 20 / 256), round(height * 50 / 256)
    padded = F.pad(images, (columns, columns, rows, rows))
    count = len(images) if per_sample else 1
    tops = torch.randint(2 * rows + 1, (count,)).tolist()
    lefts = torch.randint(2 * columns + 1, (count,)).tolist()
    parts = padded.split(1) if per_sample else (padded,)
    cut = [
        part[..., top : top + height, left : left + width]
        for part, top, left in zip(parts, tops, lefts, strict=True)
    ]
    return torch.cat(cut)
