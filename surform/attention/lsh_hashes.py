"""Hashes of locality-sensitive attention, and the tokens that fill up its chunks.

Andoni et al., "Practical and Optimal LSH for Angular Distance", 2015 (arXiv 1509.02897).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.attention.widths import widened

__all__ = ["ALONE", "by_bucket", "hashed", "padded_length", "padding"]

ALONE = -5e4  # score of a token with itself: it counts where nothing else is left


def padded_length(tokens: int, bucket_size: int) -> int:
    """Tokens after padding: buckets are full, and their number is even."""
    return max(-(-tokens // (2 * bucket_size)), 1) * 2 * bucket_size


def hashed(qk: Tensor, rotations: Tensor) -> Tensor:
    """(b, h, n, d), (*, d, r, half) -> (b, h, r, n): the direction among 2 * half that is nearest.

    Rounds have numbers of their own: 2 * half * r buckets in all.
    """
    qk, rotations = widened(qk.detach(), rotations)
    if rotations.ndim == 3:
        turned = torch.einsum("bhnd,drf->bhrnf", qk, rotations)
    else:
        whole = rotations.expand(*qk.shape[:2], -1, -1, -1)
        turned = torch.einsum("bhnd,bhdrf->bhrnf", qk, whole)
    place = torch.cat((turned, -turned), -1).argmax(-1)
    rounds = torch.arange(rotations.shape[-2], device=qk.device)
    return place + rounds[:, None] * (2 * rotations.shape[-1])


def by_bucket(buckets: Tensor) -> Tensor:
    """(b, h, r, n) -> (b, h, r n): where each place of the sorted rounds comes from.

    Sorted by bucket, then by position; place % n is the token.
    """
    n = buckets.shape[3]
    return (buckets * n + torch.arange(n, device=buckets.device)).flatten(2).argsort()


def padding(
    qk: Tensor, v: Tensor, mask: Tensor | None, bucket_size: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """qk and v with full buckets, and a mask that leaves out what fills them up."""
    n = qk.shape[2]
    more = padded_length(n, bucket_size) - n
    if more == 0:
        return qk, v, mask
    keep = mask if mask is not None else torch.ones(1, n, dtype=torch.bool, device=qk.device)
    qk, v = (F.pad(x, (0, 0, 0, more)) for x in (qk, v))
    return qk, v, F.pad(keep, (0, more), value=False)
