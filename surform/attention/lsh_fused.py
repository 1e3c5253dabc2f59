"""Locality-sensitive attention whose scores never leave a processor's cache.

Each chunk goes through torch's fused kernel, which gives the logarithm of each row's sum beside the
rows. All rounds of a token together are one softmax over all that it sees; the gradient of a
round's chunk is therefore that of the fused kernel, told the result and the sum of all rounds
instead of its own, as in Ring Attention (Liu et al., arXiv 2310.01889).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.attention.dispatch import Call
from surform.attention.lsh_chunks import gathered_rows, log_times, window
from surform.attention.lsh_hashes import by_bucket, hashed, padding
from surform.attention.rules import cpu_only, not_exporting
from surform.attention.widths import widened

__all__ = ["fused_pays", "fused_supports", "lsh_fused"]

_FAR = 200.0  # how far below all others the score of a token with itself is: exp(-200) is nothing
_fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_fused_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def fused_supports(call: Call) -> str | None:
    """For `register`."""
    if any(0 in shape for shape in call.shapes.values()):
        return "there is nothing to attend to"
    return cpu_only(call)


def fused_pays(call: Call) -> str | None:
    """For `register`."""
    if torch.compiler.is_compiling():
        return "a compiled program holds plain torch operations only"
    return not_exporting(call)


def lsh_fused(
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
    """Tokens sorted by bucket, each chunk with itself and the one before in one fused kernel."""
    dtype, length, width = qk.dtype, qk.shape[2], v.shape[3]
    qk, v, keep = padding(qk, v, mask, bucket_size)
    buckets = hashed(qk, rotations)
    qk, v = widened(qk, v)
    b, h, rounds, n = buckets.shape
    order = by_bucket(buckets)
    place, back = order % n, order.argsort()

    def chunked(x: Tensor) -> Tensor:
        """(b, h, r n, ...) -> (b, h, chunks, size, ...)."""
        return x.unflatten(2, (-1, bucket_size))

    queries, values = (chunked(gathered_rows(x, place)) for x in (qk, v))
    position = chunked(place.int())
    if keep is not None:
        kept = chunked(keep[:, None].expand(b, h, n).gather(2, place))
        gone = torch.where(kept, 0.0, float("-inf")).to(qk.dtype)
        bias = gone[..., :, None] + window(gone)[..., None, :]
    else:
        bias = queries.new_zeros(*position.shape, 2 * bucket_size)
    if not duplicates:
        inner = buckets if not across_buckets else None
        seen = back.view(b, h, rounds, n)
        bias -= log_times(seen, place, inner, bucket_size, legacy_count, qk.dtype)
    if causal:
        later = position[..., :, None] < window(position)[..., None, :]
        bias.masked_fill_(later, float("-inf"))
    if not across_buckets:
        bucket = chunked(buckets.flatten(2).gather(2, order))
        other = bucket[..., :, None] != window(bucket)[..., None, :]
        bias.masked_fill_(other, float("-inf"))
    # no score is larger in size than that of a token with itself: below this, all others are above
    _leave_oneself(bias, position, -2 * abs(scale) * queries.detach().norm(dim=-1) - _FAR, n)
    keys, values = window(F.normalize(queries, dim=-1)), window(values)
    found = _Rounds.apply(queries, keys, values, bias, place, back, n, scale)
    return found[:, :, :length, :width].to(dtype)  # type: ignore[no-any-return]


def _leave_oneself(bias: Tensor, position: Tensor, alone: Tensor, tokens: int) -> None:
    """Tokens with themselves: on the diagonal, and where a round sees the end of the one before."""
    size = position.shape[3]
    bias[..., :size].diagonal(dim1=-2, dim2=-1).copy_(alone)
    first = torch.arange(0, position.shape[2], tokens // size, device=position.device)
    of = position.roll(1, 2)[:, :, first, None, :]
    at = position[:, :, first, :, None]
    part = bias[..., size:]
    part[:, :, first] = torch.where(at == of, alone[:, :, first, :, None], part[:, :, first])


class _Rounds(torch.autograd.Function):
    """Chunks (b, h, c, s, d), windows (b, h, c, 2 s, .) and their bias -> (b, h, n, .)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, place: Tensor, back: Tensor,
        tokens: int, scale: float,
    ) -> Tensor:  # fmt: skip
        rows, total = _fused(*_alike(q, k, v), attn_mask=bias.flatten(0, 1), scale=scale)
        out, whole = _joined(rows.reshape(*q.shape[:4], -1), total.view(q.shape[:4]), back, tokens)
        ctx.save_for_backward(q, k, v, bias, place, back, out, whole)
        ctx.scale = scale
        return out[..., : v.shape[4]]

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, place, back, out, whole = ctx.saved_tensors
        if torch.is_grad_enabled():
            own = _differentiable((q, k, v), bias, back, whole.shape[2], ctx.scale, outer[0])
            return (*own, None, None, None, None, None)
        parts = (q.shape[0] * q.shape[1], *q.shape[2:4])  # (b h, c, s)
        grad = F.pad(outer[0], (0, out.shape[3] - outer[0].shape[3]))
        of_chunks = [gathered_rows(x, place).view(*parts, -1) for x in (grad, out)]
        total = whole.gather(2, place).view(parts)
        to_q, to_k, to_v = _fused_backward(
            of_chunks[0],
            *_alike(q, k, v),
            of_chunks[1],
            total,
            0.0,
            False,
            attn_mask=bias.flatten(0, 1),
            scale=ctx.scale,
        )
        found = (
            x[..., : own.shape[4]].view(own.shape) for x, own in ((to_q, q), (to_k, k), (to_v, v))
        )
        return (*found, None, None, None, None, None)


def _alike(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """(b h, c, tokens, w), of one width, which the kernel wants."""
    width = max(q.shape[4], v.shape[4])
    return tuple(F.pad(x, (0, width - x.shape[4])).flatten(0, 1) for x in (q, k, v))


def _joined(rows: Tensor, total: Tensor, back: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens from those of chunks, and the logarithm of their sums, over all rounds."""
    b, h = rows.shape[:2]
    rows = gathered_rows(rows.flatten(2, 3), back).view(b, h, -1, tokens, rows.shape[4])
    total = total.flatten(2).gather(2, back).view(b, h, -1, tokens)
    whole = total.logsumexp(2)
    return (rows * (total - whole[:, :, None]).exp()[..., None]).sum(2), whole


def _differentiable(
    inputs: tuple[Tensor, ...], bias: Tensor, back: Tensor, tokens: int, scale: float, grad: Tensor
) -> list[Tensor]:
    """The gradients of chunks and windows by plain operations, to be differentiated again."""
    q, k, v = inputs = tuple(x.view_as(x) for x in inputs)  # nodes of their own
    scores = q @ k.transpose(-2, -1) * scale + bias
    out, _ = _joined(scores.softmax(-1) @ v, scores.logsumexp(-1), back, tokens)
    return list(torch.autograd.grad(out, inputs, grad, create_graph=True))
