"""ProbSparse attention: only the queries whose scores stand out attend, the others give a default.

Zhou et al., "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting",
AAAI 2021 (arXiv 2012.07436), algorithm 1; zhouhaoyi/Informer2020@29f2a739226a, whose maths differs
from the paper's in what is noted at `probsparse`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surform.attention.active_queries import top_in_blocks, top_queries
from surform.attention.checks import check_tokens
from surform.attention.dispatch import Call, dispatch, kind, register
from surform.attention.key_samples import draw_keys, sampled_count
from surform.attention.rules import cpu_only, not_exporting, qkv
from surform.attention.softmax import softmax

__all__ = ["probsparse"]


@kind("probsparse", qkv)
def probsparse(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    factor: int = 5,
    causal: bool = False,
    sample_index: Int[Tensor, "n s"] | None = None,
    seed: int = 0,
) -> Float[Tensor, "b h n e"]:
    """softmax(q k^T / sqrt(d)) v for the active queries; for the others, the mean of v.

    Query i is measured by max_s(q_i . k_s) - sum_s(q_i . k_s) / m over sampled keys s (divided by
    m, not by their number; the paper has the mean). The u = min(factor ceil(ln n), n) queries of
    the largest measure are active, per sample and head. Where u = n, this is softmax attention
    whatever was sampled. The choice of the active queries has no derivative.

    Args:
        factor: c of the paper; u as above, and min(factor ceil(ln m), m) keys are sampled.
        causal: active query i sees keys 0..i; the others give the running sum of v, not the mean.
        sample_index: keys that each query samples, shared by all samples and heads; None = drawn
            uniformly with replacement from `seed`, hence the same in every call of these lengths.
        seed: of the sample.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together; indices that are
            no keys; causal attention between different numbers of queries and keys.
    """
    check_tokens("probsparse", q, k, v)
    n, m = q.shape[2], k.shape[2]
    if not isinstance(factor, int) or factor < 1:
        raise ValueError(f"probsparse attention: factor is {factor!r}, expected 1 or more")
    if causal and n != m:
        raise ValueError(
            f"probsparse attention: causal needs as many queries as keys, not {n} and {m}"
        )
    if sample_index is not None:
        _check_samples(sample_index, q, m)
    elif not _all_active(n, m, factor):
        sample_index = draw_keys(n, m, sampled_count(m, factor), seed, q.device)
    return dispatch(
        "probsparse",
        {"q": q, "k": k, "v": v, "sample_index": sample_index},
        {"factor": factor, "causal": causal},
    )


def _check_samples(index: Tensor, q: Tensor, keys: int) -> None:
    if index.dtype != torch.int64 or index.device != q.device:
        raise TypeError(
            f"probsparse attention: sample_index is {index.dtype} on {index.device}, expected "
            f"int64 on {q.device}"
        )
    if index.ndim != 2 or index.shape[0] != q.shape[2] or index.shape[1] == 0:
        raise ValueError(
            f"probsparse attention: sample_index has shape {tuple(index.shape)}, expected "
            f"(queries, samples) with {q.shape[2]} queries and a sample or more"
        )
    if torch.compiler.is_compiling() or index.device.type != "cpu":
        return  # a look at the values would break the graph, or wait for the device
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < keys:
        raise ValueError(
            f"probsparse attention: sample_index holds {int(index.min())} to {int(index.max())}, "
            f"expected keys 0 to {keys - 1}"
        )


def _all_active(n: int, m: int, factor: int) -> bool:
    """Whether every query attends, or there is nothing to attend to."""
    return sampled_count(n, factor) >= n or m == 0


@register("probsparse", "reference", priority=0)
def _reference(
    q: Tensor, k: Tensor, v: Tensor, sample_index: Tensor | None, factor: int, causal: bool
) -> Tensor:
    """The definition, literally: the sampled keys are gathered for every query."""
    b, h, n, d = q.shape
    m = k.shape[2]
    if _all_active(n, m, factor):
        rows = torch.arange(n, device=q.device).expand(b, h, n)
    else:
        assert sample_index is not None  # drawn by the public function
        each = torch.arange(n, device=q.device)[:, None]
        sampled = k[:, :, None].expand(b, h, n, m, d)[:, :, each, sample_index]  # (b, h, n, s, d)
        scores = (q[..., None, :] @ sampled.transpose(-2, -1)).squeeze(-2)
        measure = scores.amax(-1) - scores.sum(-1) / m
        rows = measure.topk(sampled_count(n, factor), sorted=False).indices
    u = rows.shape[2]
    active = q.gather(2, rows[..., None].expand(b, h, u, d))
    scores = active @ k.transpose(-2, -1) * d**-0.5
    if causal:
        later = torch.arange(m, device=q.device) > rows[..., None]
        scores = scores.masked_fill(later, float("-inf"))
    attended = torch.softmax(scores, -1) @ v
    return _default(v, n, causal).scatter(
        2, rows[..., None].expand(b, h, u, v.shape[3]), attended.to(v.dtype)
    )


def _default(v: Tensor, n: int, causal: bool) -> Tensor:
    """What the inactive queries give: (b, h, n, e)."""
    if causal:
        return v.cumsum(2).to(v.dtype)  # autocast sums in float32
    return v.mean(2, keepdim=True).expand(-1, -1, n, -1)


def _needs_all(call: Call) -> str | None:
    n, m = call.shapes["q"][2], call.shapes["k"][2]
    if _all_active(n, m, call.options["factor"]):
        return None
    return f"only {sampled_count(n, call.options['factor'])} of {n} queries are active"


@register("probsparse", "softmax", priority=30, supports=_needs_all)
def _softmax(
    q: Tensor, k: Tensor, v: Tensor, sample_index: Tensor | None, factor: int, causal: bool
) -> Tensor:
    """Every query is active: softmax attention by its own kernels."""
    return softmax(q, k, v, causal=causal)


def _finish(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, causal: bool) -> Tensor:
    """Softmax attention of the active rows, (b, h, u), over the default of all others."""
    active = q.gather(2, rows[..., None].expand(-1, -1, -1, q.shape[3]))
    earlier = None
    if causal:
        earlier = torch.arange(k.shape[2], device=k.device) <= rows[..., None]
    attended = softmax(active, k, v, mask=earlier).to(v.dtype)
    rows = rows[..., None].expand(-1, -1, -1, v.shape[3])
    return _default(v, q.shape[2], causal).scatter(2, rows, attended)


def _needs_some(call: Call) -> str | None:
    return None if _needs_all(call) else "every query is active: softmax attention does it"


def _blocks_supports(call: Call) -> str | None:
    return _needs_some(call) or cpu_only(call)


@register("probsparse", "blocks", priority=20, supports=_blocks_supports, pays=not_exporting)
def _blocks(
    q: Tensor, k: Tensor, v: Tensor, sample_index: Tensor, factor: int, causal: bool
) -> Tensor:
    """Sampled products in blocks that stay in the cache: read off q k^T, or of gathered keys where
    there are many.  Keys are never expanded."""
    rows = top_in_blocks(q, k, sample_index, sampled_count(q.shape[2], factor))
    return _finish(q, k, v, rows, causal)


@register("probsparse", "scores", priority=10, supports=_needs_some)
def _scores(
    q: Tensor, k: Tensor, v: Tensor, sample_index: Tensor, factor: int, causal: bool
) -> Tensor:
    """Samples are read off q k^T by plain torch operations, some rows at a time."""
    rows = top_queries(q, k, sample_index, sampled_count(q.shape[2], factor))
    return _finish(q, k, v, rows, causal)
