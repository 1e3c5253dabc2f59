"""Locality-sensitive attention by sorting: scores within chunks only, never all of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.attention.lsh_hashes import ALONE, by_bucket, hashed, padding
from surform.attention.widths import widened

__all__ = ["gathered_rows", "log_times", "lsh_chunks", "window"]


def lsh_chunks(
    qk: Tensor,
    v: Tensor,
    rotations: Tensor,
    mask: Tensor | None,
    bucket_size: int,
    causal: bool,
    across_buckets: bool,
    duplicates: bool,
    scale: float,
    legacy_count: bool,
) -> Tensor:
    """Tokens sorted by bucket, scores of each chunk with itself and the chunk before."""
    dtype, length = qk.dtype, qk.shape[2]
    qk, v, keep = padding(qk, v, mask, bucket_size)
    buckets = hashed(qk, rotations)
    qk, v = widened(qk, v)
    b, h, rounds, n = buckets.shape
    order = by_bucket(buckets)
    place = order % n

    def chunked(x: Tensor) -> Tensor:
        """(b, h, r n, ...) -> (b, h, chunks, size, ...)."""
        return x.unflatten(2, (-1, bucket_size))

    queries, values = (chunked(gathered_rows(x, place)) for x in (qk, v))
    position = chunked(place)
    scores = queries @ window(F.normalize(queries, dim=-1)).transpose(-2, -1) * scale
    at, of = position[..., :, None], window(position)[..., None, :]
    hidden = at < of if causal else None
    if keep is not None:
        kept = chunked(keep[:, None].expand(b, h, n).gather(2, place))
        out_of_sight = ~(kept[..., :, None] & window(kept)[..., None, :])
        hidden = out_of_sight if hidden is None else hidden | out_of_sight
    if not across_buckets:
        bucket = chunked(buckets.flatten(2).gather(2, order))
        other = bucket[..., :, None] != window(bucket)[..., None, :]
        hidden = other if hidden is None else hidden | other
    own = at == of
    if hidden is not None:
        scores = scores.masked_fill(hidden & ~own, float("-inf"))
    scores = scores.masked_fill(own, ALONE)
    back = order.argsort()
    if not duplicates:
        inner = buckets if not across_buckets else None
        seen = back.view(b, h, rounds, n)
        scores = scores - log_times(seen, place, inner, bucket_size, legacy_count, scores.dtype)
    largest = scores.detach().amax(-1, keepdim=True)  # first: -5e4 has few digits left in float32
    weights = (scores - largest).exp()
    total = weights.sum(-1, keepdim=True)
    rows = (weights @ window(values)) / total
    total = total.log() + largest
    rows = gathered_rows(rows.flatten(2, 3), back).view(b, h, rounds, n, -1)
    share = torch.softmax(total.flatten(2).gather(2, back).view(b, h, rounds, n, 1), 2)
    return (rows * share).sum(2)[:, :, :length].to(dtype)


def gathered_rows(x: Tensor, place: Tensor) -> Tensor:
    """(b, h, n, w) at (b, h, m) -> (b, h, m, w)."""
    return x.gather(2, place[..., None].expand(-1, -1, -1, x.shape[3]))


def window(x: Tensor) -> Tensor:
    """Each chunk and the one before, in a circle: (b, h, c, s, ...) -> (b, h, c, 2 s, ...)."""
    return torch.cat((x, x.roll(1, 2)), 3)


def log_times(
    back: Tensor, place: Tensor, buckets: Tensor | None, size: int, legacy: bool, dtype: torch.dtype
) -> Tensor:
    """What is taken off the scores so that what is seen in several rounds counts once."""
    times = _times_seen(back, place, buckets, size, legacy).to(dtype)
    return (times + 1e-9 if legacy else times.clamp(min=1)).log()


def _times_seen(
    back: Tensor, place: Tensor, buckets: Tensor | None, size: int, legacy: bool
) -> Tensor:
    """How often the tokens of a window see each other in all rounds: (b, h, c, s, 2 s).

    Args:
        back: places of the tokens in sorted order, (b, h, r, n).
        place: (b, h, r n), the token at each place.
        buckets: (b, h, r, n), where only tokens of one bucket see each other.
        legacy: leave out what is seen of the round before.
    """
    rounds, n = back.shape[2:]
    chunks = rounds * n // size
    chunk = (back // size).transpose(2, 3)  # (b, h, n, r)
    following = (chunk + 1) % chunks
    if buckets is not None:  # one number for both
        shift = buckets.transpose(2, 3) * chunks
        chunk, following = chunk + shift, following + shift
    queries = gathered_rows(chunk, place).unflatten(2, (-1, size))[..., :, None, :]
    same, before = (
        window(gathered_rows(x, place).unflatten(2, (-1, size)))[..., None, :, :]
        for x in (chunk, following)
    )
    across = rounds > 1 and buckets is None and not legacy
    times = torch.zeros((), dtype=torch.int64, device=back.device)
    for j in range(rounds):  # one by one: few numbers at a time
        asked = queries[..., j]
        times = times + (asked == same[..., j]).long() + (asked == before[..., j]).long()
        if across:
            times = times + (asked == before[..., j - 1]).long()
    return times
