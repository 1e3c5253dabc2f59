"""Which queries of ProbSparse attention are active, without a copy of k for every query.

The sampled products q_i . k_s are read off q k^T where that costs less than gathering keys, which
it does up to some thousand tokens; blocks of queries bound the memory. Only row numbers come out,
so nothing here has a derivative, and nothing is kept for a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["top_in_blocks", "top_queries"]

_MOST_SCORES = 2**27  # at a time, for all samples and heads: 512 MB of float32
_CACHED_SCORES = 2**20  # of one sample; fewer rows slow the products down more than caches help
_GATHERED_ROWS = 128  # of one head, some hundred kB of keys
_GATHERED_COST = 50  # one product with a gathered key costs as much as so many of q k^T (measured)


def top_queries(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    sample_index: Int[Tensor, "n s"],
    count: int,
) -> Int[Tensor, "b h u"]:
    """The `count` queries of largest max - sum / m over their sampled keys, in no order."""
    q, k = q.detach(), k.detach()
    b, h, n, m = *q.shape[:3], k.shape[2]
    rows = n
    if not torch.compiler.is_compiling():  # the number of blocks would tie a graph to one batch
        rows = max(1, min(n, _MOST_SCORES // max(b * h * m, 1)))
    measures = []
    for start in range(0, n, rows):
        index = sample_index[start : start + rows]
        scores = q[:, :, start : start + rows] @ k.transpose(-2, -1)
        sampled = scores.gather(-1, index.expand(b, h, *index.shape))
        measures.append(sampled.amax(-1) - sampled.sum(-1) / m)
    measure = measures[0] if len(measures) == 1 else torch.cat(measures, -1)
    return measure.topk(count, sorted=False).indices


def top_in_blocks(q: Tensor, k: Tensor, sample_index: Tensor, count: int) -> Tensor:
    """The same for CPUs: one sample or head after the other, in buffers that stay cached."""
    return _measure(q.detach(), k.detach(), sample_index).topk(count, sorted=False).indices


@torch.library.custom_op(
    "surform::probsparse_measure",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor sample_index) -> Tensor",
)
def _measure(q: Tensor, k: Tensor, sample_index: Tensor) -> Tensor:
    m, s = k.shape[2], sample_index.shape[1]
    products = _of_gathered if m > _GATHERED_COST * s else _of_all
    measure = q.new_empty(q.shape[:3])

    def keep(out: Tensor, sampled: Tensor) -> None:
        torch.sub(sampled.amax(-1), sampled.sum(-1) / m, out=out)

    products(q, k, sample_index, measure, keep)
    return measure


@_measure.register_fake
def _measure_shape(q: Tensor, k: Tensor, sample_index: Tensor) -> Tensor:
    return q.new_empty(q.shape[:3])


Keep = Callable[[Tensor, Tensor], None]


def _of_all(q: Tensor, k: Tensor, sample_index: Tensor, measure: Tensor, keep: Keep) -> None:
    """Samples picked from the products of a block of queries with all keys."""
    h, n, m, s = *q.shape[1:3], k.shape[2], sample_index.shape[1]
    rows = max(1, min(n, _CACHED_SCORES // max(h * m, 1)))
    for start in range(0, n, rows):
        here = slice(start, min(start + rows, n))
        count = here.stop - start
        within = torch.arange(count, device=q.device)[:, None] * m
        flat = (within + sample_index[here]).flatten()
        scores, sampled = q.new_empty(h, count, m), q.new_empty(h, count * s)
        for one, keys, out in zip(q, k, measure, strict=True):
            torch.bmm(one[:, here], keys.transpose(-2, -1), out=scores)
            torch.index_select(scores.view(h, count * m), 1, flat, out=sampled)
            keep(out[:, here], sampled.view(h, count, s))


def _of_gathered(q: Tensor, k: Tensor, sample_index: Tensor, measure: Tensor, keep: Keep) -> None:
    """Products with the sampled keys alone: linear in the number of tokens, up to its logarithm."""
    s, d = sample_index.shape[1], q.shape[3]
    parts = sample_index.split(_GATHERED_ROWS)
    for one, keys, out in zip(q.flatten(0, 1), k.flatten(0, 1), measure.flatten(0, 1), strict=True):
        keys = keys.contiguous()
        blocks = zip(parts, one.split(_GATHERED_ROWS), out.split(_GATHERED_ROWS), strict=True)
        for index, queries, kept in blocks:
            sampled = keys.index_select(0, index.flatten()).view(-1, s, d)
            keep(kept, torch.bmm(sampled, queries[..., None])[..., 0])
