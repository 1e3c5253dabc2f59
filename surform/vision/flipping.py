"""Mirrored images: their heatmaps turned back, and averaged with those of the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["check_pairs", "flip_back", "flip_test"]

Pairs = Sequence[tuple[int, int]]


def flip_test(
    net: Callable[..., Tensor],
    images: Float[Tensor, "b c H W"],
    pairs: Pairs,
    *beside: Tensor | int,
    offsets: bool = False,
    shift: bool = False,
) -> Float[Tensor, "b k h w"]:
    """The mean of the heatmaps of images and of their mirror images, made in one batch.

    Args:
        net: (images, *beside) -> heatmaps.
        pairs: numbers of (left, right) joints.
        beside: what the network wants besides; tensors have one entry per image.
        offsets: see `flip_back`.
        shift: move the mirrored heatmaps by a pixel to the right, the first column staying; for
            networks that were trained on targets of the encoding "msra".
    """
    more = [torch.cat((b, b)) if isinstance(b, Tensor) else b for b in beside]
    heatmaps, mirrored = net(torch.cat((images, images.flip(-1))), *more).chunk(2)
    mirrored = flip_back(mirrored, pairs, offsets=offsets)
    if shift:
        mirrored = torch.cat((mirrored[..., :1], mirrored[..., :-1]), -1)
    return (heatmaps + mirrored) / 2


def flip_back(
    heatmaps: Float[Tensor, "b c h w"], pairs: Pairs, *, offsets: bool = False
) -> Float[Tensor, "b c h w"]:
    """Heatmaps of mirror images as those of the images: left and right joints swap.

    Args:
        pairs: numbers of (left, right) joints.
        offsets: whether each joint has three channels, the second of them the offset in x.

    Raises:
        ValueError: a pair that names no joint, or a joint twice.
    """
    channels = 3 if offsets else 1
    if heatmaps.shape[1] % channels:
        raise ValueError(
            f"heatmaps with offsets have three channels per joint, not {heatmaps.shape[1]} in all"
        )
    count = heatmaps.shape[1] // channels
    check_pairs(pairs, count)
    order = list(range(count))
    for left, right in pairs:
        order[left], order[right] = right, left
    numbers = [joint * channels + part for joint in order for part in range(channels)]
    turned = heatmaps[:, torch.tensor(numbers, device=heatmaps.device)].flip(-1)
    if offsets:
        signs = torch.tensor([1.0, -1.0, 1.0], dtype=turned.dtype, device=turned.device)
        turned = turned * signs.repeat(count)[:, None, None]
    return turned


def check_pairs(pairs: Pairs, joints: int) -> None:
    """ValueError unless pairs name joints below `joints`, each one at most once."""
    named = [joint for pair in pairs for joint in pair]
    wrong = [pair for pair in pairs if len(pair) != 2 or not all(0 <= j < joints for j in pair)]
    if wrong:
        raise ValueError(f"flip pair {tuple(wrong[0])} must name two joints from 0 to {joints - 1}")
    if len(set(named)) < len(named):
        twice = next(joint for joint in named if named.count(joint) > 1)
        raise ValueError(f"flip pairs name joint {twice} more than once")
