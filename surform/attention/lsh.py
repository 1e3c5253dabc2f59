"""Attention among tokens that fall into like buckets of a locality-sensitive hash.

Kitaev, Kaiser, Levskaya, "Reformer: The Efficient Transformer", 2020 (arXiv 2001.04451), section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surform.attention.checks import check_key_mask, check_same_numbers, check_tokens
from surform.attention.dispatch import Sizes, dispatch, kind, register
from surform.attention.lsh_chunks import lsh_chunks
from surform.attention.lsh_fused import fused_pays, fused_supports, lsh_fused
from surform.attention.lsh_hashes import ALONE, by_bucket, hashed, padded_length, padding
from surform.attention.widths import widened

__all__ = ["bucket_count", "lsh", "lsh_buckets"]

_BUCKET = 64


def _example(
    sizes: Sizes, make: Callable[..., Tensor]
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    shape = (sizes.batch, sizes.heads, sizes.tokens, sizes.width)
    qk, v = (make(*shape) for _ in range(2))
    half = bucket_count(sizes.tokens, _BUCKET) // 2
    rotations = torch.randn(sizes.width, 4, half, dtype=qk.dtype, device=qk.device)
    return (qk, v, rotations), {}


def bucket_count(tokens: int, bucket_size: int) -> int:
    """How many buckets so many tokens have: an even number, after padding."""
    return padded_length(tokens, bucket_size) // bucket_size


@kind("lsh", _example)
def lsh(
    qk: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    rotations: Float[Tensor, "*bh d r half"],
    *,
    bucket_size: int = _BUCKET,
    mask: Bool[Tensor, "b n"] | None = None,
    causal: bool = False,
    across_buckets: bool = True,
    duplicates: bool = True,
    scale: float | None = None,
    legacy_count: bool = False,
) -> Float[Tensor, "b h n e"]:
    """Softmax attention of each token to those of its chunk and the chunk before, sorted by hash.

    Queries are keys: keys are queries of length one. In each of r rounds tokens are sorted by their
    bucket, then by position, and all rounds, one behind the other, are cut into chunks of
    `bucket_size`, in a circle. Rounds are weighted by how much their softmax adds up to. A token
    attends to itself only where nothing else is left. The hash has no gradient. Tokens that fill up
    the last chunk are left out of everything.

    Args:
        rotations: standard normal numbers that the hash is made of, the same for all heads, or
            (b or 1, h or 1, d, r, half); `half` is `bucket_count(n, bucket_size) / 2`.
        mask: True = keep; other tokens are seen by themselves alone.
        causal: tokens see themselves and what is before them.
        across_buckets: see the tokens of a chunk whatever their bucket.
        duplicates: whether what is seen in several rounds counts as often; otherwise once.
        scale: None = 1/sqrt(d).
        legacy_count: without duplicates, do not count what the first chunk of a round sees of the
            round before, and add 1e-9 to the counts, as the official code does: a token that is
            seen nowhere else then outweighs all others.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("lsh", qk, qk, v)
    check_key_mask("lsh", mask, qk)
    _check_rotations(qk, rotations, bucket_size)
    return dispatch(
        "lsh",
        {"qk": qk, "v": v, "rotations": rotations.detach(), "mask": mask},
        {
            "bucket_size": bucket_size,
            "causal": causal,
            "across_buckets": across_buckets,
            "duplicates": duplicates,
            "scale": qk.shape[3] ** -0.5 if scale is None else scale,
            "legacy_count": legacy_count,
        },
    )


def lsh_buckets(
    qk: Float[Tensor, "b h n d"], rotations: Float[Tensor, "*bh d r half"], bucket_size: int
) -> Int[Tensor, "b h r n"]:
    """The bucket of each token in each round; those of round j begin at j * buckets."""
    _check_rotations(qk, rotations, bucket_size)
    return hashed(qk, rotations)


def _check_rotations(qk: Tensor, rotations: Tensor, bucket_size: int) -> None:
    if not isinstance(bucket_size, int) or bucket_size < 1:
        raise ValueError(
            f"lsh attention: bucket_size is {bucket_size!r}, but must be a whole number of at "
            "least 1"
        )
    check_same_numbers("lsh", qk, rotations)
    half = bucket_count(qk.shape[2], bucket_size) // 2
    shape = rotations.shape
    fits = len(shape) in (3, 5) and (shape[-3], shape[-1]) == (qk.shape[3], half) and shape[-2] > 0
    if len(shape) == 5:
        fits = fits and shape[0] in (1, qk.shape[0]) and shape[1] in (1, qk.shape[1])
    if not fits:
        raise ValueError(
            f"lsh attention: rotations have shape {tuple(shape)}, but {qk.shape[2]} tokens of "
            f"width {qk.shape[3]} in buckets of {bucket_size} need (width, rounds, buckets / 2) = "
            f"({qk.shape[3]}, rounds, {half}), perhaps behind (batch, heads)"
        )


@register("lsh", "reference")
def _reference(
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
    """The definition, literally: all scores, and in which rounds each is seen."""
    dtype, n = qk.dtype, qk.shape[2]
    qk, v, keep = padding(qk, v, mask, bucket_size)
    buckets = hashed(qk, rotations)  # (b, h, r, n)
    qk, v = widened(qk, v)
    b, h, rounds, tokens = buckets.shape
    order = by_bucket(buckets)
    chunk = (order.argsort() // bucket_size).view(b, h, rounds, tokens)
    chunks = rounds * tokens // bucket_size
    before = (chunk - 1) % chunks
    in_same = chunk[..., :, None] == chunk[..., None, :]  # (b, h, r, query, key)
    in_round = in_same.long() + (before[..., :, None] == chunk[..., None, :]).long()
    if across_buckets:  # the first chunk of a round sees the last one of the round before
        anywhere = before[:, :, :, None, :, None] == chunk[:, :, None, :, None, :]
        seen = in_same.long() + anywhere.sum(3)
    else:
        seen = in_round = in_round * (buckets[..., :, None] == buckets[..., None, :])
    allowed = torch.ones(tokens, tokens, dtype=torch.bool, device=qk.device)
    if causal:
        allowed = allowed.tril()
    if keep is not None:
        allowed = allowed & (keep[:, None, :, None] & keep[:, None, None, :])
    own = torch.eye(tokens, dtype=torch.bool, device=qk.device)
    keys = torch.nn.functional.normalize(qk, dim=-1)
    scores = (qk @ keys.transpose(-2, -1) * scale).masked_fill(own, ALONE)
    scores = scores.masked_fill(~(allowed | own), float("-inf"))
    if legacy_count and not duplicates:
        scores = scores - (in_round.sum(2).to(qk.dtype) + 1e-9).log()
    elif not duplicates:
        scores = scores - seen.sum(2).clamp(min=1).to(qk.dtype).log()
    each = scores.unsqueeze(2) + seen.to(qk.dtype).log()  # (b, h, r, query, key)
    rows = torch.softmax(each, -1) @ v.unsqueeze(2)
    share = torch.softmax(each.logsumexp(-1, keepdim=True), 2)
    return (rows * share).sum(2)[:, :, :n].to(dtype)


register("lsh", "chunks", priority=10)(lsh_chunks)
register("lsh", "fused", priority=20, supports=fused_supports, pays=fused_pays)(lsh_fused)
