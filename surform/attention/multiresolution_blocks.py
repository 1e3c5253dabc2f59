"""Attention in two resolutions by gathering blocks: only the scores of chosen blocks exist."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.attention.widths import widened

__all__ = ["EPS", "HIDDEN", "Coarse", "coarse_scores", "multiresolution_blocks", "padded"]

EPS = 1e-6  # beside token counts and sums of weights
HIDDEN = 1e4  # taken off the scores of what a mask leaves out
_PRIOR = 5e3  # added to blocks that are chosen before others


@dataclass(frozen=True)
class Coarse:
    """Blocks in place of tokens.

    scores (b, h, r, r) of means, empty blocks far down; largest (b, h, r, 1) of each row, empty
    blocks at 0; count (b or 1, 1, r) tokens; values (b, h, r, e), means.
    """

    scores: Tensor
    largest: Tensor
    count: Tensor
    values: Tensor

    def chosen(self, number: int, priors: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Numbers (b, h, s) of the chosen blocks, and which blocks (b, h, r, r) are as large as
        the least of them: among equal ones more than are chosen."""
        first, diagonal = priors
        ranked = (self.scores - self.largest).detach()
        if diagonal:
            place = torch.arange(ranked.shape[-1], device=ranked.device)
            near = (place[:, None] - place).abs() <= diagonal // 2
            ranked = ranked + _PRIOR * near.to(ranked.dtype)
        if first:
            ranked = ranked.clone()
            ranked[..., :first, :] += _PRIOR
            ranked[..., :first] += _PRIOR
        best = ranked.flatten(2).topk(number, sorted=False)
        return best.indices, ranked >= best.values.amin(-1)[..., None, None]


def padded(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, block_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """q, k, v in whole blocks, zeros where the mask leaves tokens out, and the mask.

    In float32 at least.
    """
    q, k, v = widened(q, k, v)
    n = q.shape[2]
    more = -n % block_size
    if mask is None and more == 0:
        return q, k, v, None
    keep = mask if mask is not None else torch.ones(1, n, dtype=torch.bool, device=q.device)
    keep = F.pad(keep, (0, more), value=False)
    there = keep[:, None, :, None]
    q, k, v = (F.pad(x, (0, 0, 0, more)).masked_fill(~there, 0.0) for x in (q, k, v))
    return q, k, v, keep


def coarse_scores(
    q: Tensor, k: Tensor, v: Tensor | None, keep: Tensor | None, block_size: int, scale: float
) -> Coarse:
    """Means over blocks, and their scores."""
    side = q.shape[2] // block_size

    def sums(x: Tensor) -> Tensor:
        return x.unflatten(2, (side, block_size)).sum(3)

    if keep is None:
        count = q.new_full((1, 1, side), block_size)
        divisor = count[..., None]
    else:
        count = keep.to(q.dtype).unflatten(1, (side, block_size)).sum(2)[:, None]
        divisor = count[..., None] + EPS
    scores = (sums(q) / divisor) @ (sums(k) / divisor).transpose(-2, -1) * scale
    largest = scores.amax(-1, keepdim=True)
    if keep is not None:
        empty = count[..., :, None] * count[..., None, :] < 0.5
        scores = scores - HIDDEN * empty.to(scores.dtype)
    values = scores[..., :0] if v is None else sums(v) / divisor
    return Coarse(scores, largest, count, values)


def multiresolution_blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    num_blocks: int,
    mode: str,
    block_size: int,
    priors: tuple[int, int],
    scale: float,
) -> Tensor:
    """Chosen blocks gathered, multiplied and added up; the others by their means."""
    dtype, n = q.dtype, q.shape[2]
    if n == 0:
        return v
    q, k, v, keep = padded(q, k, v, mask, block_size)
    coarse = coarse_scores(q, k, v if mode == "full" else None, keep, block_size, scale)
    index, above = coarse.chosen(num_blocks, priors)
    side = coarse.scores.shape[-1]
    row, column = index // side, index % side  # (b, h, s)
    scores = _taken(q, row, block_size) @ _taken(k, column, block_size).transpose(-2, -1) * scale
    # the common shift of each query: the largest of its scores, fine or coarse
    shift = _largest(scores.detach(), row, side)
    if mode == "full":
        shift = torch.maximum(shift, coarse.largest.detach())
    shift = shift.masked_fill(shift.isinf(), 0.0)  # (b, h, r, size)
    if keep is not None:
        hidden = HIDDEN * (~keep).to(q.dtype).unflatten(1, (side, block_size))
        hidden = hidden[:, None].expand(*q.shape[:2], -1, -1)
        scores = scores - _at(hidden, column)[..., None, :]
    weights = (scores - _at(shift, row)[..., None]).exp()
    total = _added(weights.sum(-1), row, side)
    out = _added(weights @ _taken(v, column, block_size), row, side)
    if mode == "full":
        other = coarse.scores.masked_fill(above, float("-inf"))
        means = (other[..., None, :] - shift[..., None]).exp() * coarse.count[..., None, None, :]
        total = total + means.sum(-1)
        out = out + means @ coarse.values[:, :, None]
    out = (out / (total + EPS)[..., None]).flatten(2, 3)
    return (out if keep is None else out * keep[:, None, :, None])[:, :, :n].to(dtype)


def _at(x: Tensor, place: Tensor) -> Tensor:
    """(b, h, r, ...) at (b, h, s) -> (b, h, s, ...)."""
    rest = x.shape[3:]
    return x.gather(2, place.view(*place.shape, *[1] * len(rest)).expand(*place.shape, *rest))


def _taken(x: Tensor, place: Tensor, size: int) -> Tensor:
    """Blocks of tokens: (b, h, r * size, w) at (b, h, s) -> (b, h, s, size, w)."""
    return _at(x.unflatten(2, (-1, size)), place)


def _added(x: Tensor, row: Tensor, side: int) -> Tensor:
    """Sums over the blocks of each row: (b, h, s, ...) -> (b, h, side, ...)."""
    rest = x.shape[3:]
    place = row.view(*row.shape, *[1] * len(rest)).expand_as(x)
    return x.new_zeros(*x.shape[:2], side, *rest).scatter_add(2, place, x)


def _largest(scores: Tensor, row: Tensor, side: int) -> Tensor:
    """The largest score of each query over its blocks, (b, h, side, size)."""
    each = scores.amax(-1)
    start = each.new_full((*each.shape[:2], side, each.shape[3]), float("-inf"))
    return start.scatter_reduce(2, row[..., None].expand_as(each), each, "amax")
