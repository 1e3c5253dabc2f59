"""JetFormer as its published formulas read, for comparison in tests and benchmarks.

Every norm by itself, every score written out, every token computed. Parameters are those of
`JetFormer`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.particles.jetformer import JetBlock, JetFormer

__all__ = ["literal_forward", "literal_heads"]


def literal_forward(model: JetFormer, x: Tensor, keep: Tensor | None = None) -> Tensor:
    """Logits of jets (b, p, f); norms and dropout as the model's mode says."""
    given = model.arguments
    h = F.linear(x, model.embedding.weight, model.embedding.bias)
    h = torch.cat((model.cls_token.expand(h.shape[0], -1, -1), h), dim=1)
    if keep is not None:
        keep = torch.cat((keep.new_ones(len(keep), 1), keep), dim=1)
    for block in model.blocks:
        h = _block(block, h, keep, given)
    return model.head(_norm(model.norm, h[:, :1], None)[:, 0])


def literal_heads(x: Tensor, heads: int) -> Tensor:
    """(b, n, heads * d) -> (b, heads, n, d)."""
    return x.reshape(*x.shape[:2], heads, -1).permute(0, 2, 1, 3)


def _block(block: JetBlock, h: Tensor, keep: Tensor | None, given: dict) -> Tensor:
    activate = {"relu": F.relu, "silu": F.silu}[given["activation"]]
    normed = _norm(block.norm, h, keep)
    q, k, v = (
        literal_heads(normed @ weight.T, block.heads) for weight in block.qkv.weight.chunk(3)
    )
    scores = torch.einsum("bhnd,bhmd->bhnm", q, k) / (h.shape[-1] / block.heads) ** 0.5
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None, :], float("-inf"))
    mixed = torch.einsum("bhnm,bhmd->bhnd", scores.softmax(-1), v)
    h = h + block.out(mixed.permute(0, 2, 1, 3).reshape(h.shape))
    f = block.up(activate(_norm(block.norm1, h, keep)))
    f = block.down(activate(_norm(block.norm2, f, keep)))
    return F.dropout(h + f, given["dropout"], training=block.training)


def _norm(norm: nn.Module, x: Tensor, keep: Tensor | None) -> Tensor:
    if isinstance(norm, nn.LayerNorm):
        return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    if not isinstance(norm, nn.BatchNorm1d):
        return x
    if keep is not None and norm.training:  # statistics of the kept tokens alone
        kept = x[keep]
        mean, variance = kept.mean(0), kept.var(0, unbiased=False)
        return (x - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
    channels_first = x.transpose(1, 2)
    normed = F.batch_norm(
        channels_first,
        norm.running_mean.clone(),
        norm.running_var.clone(),
        norm.weight,
        norm.bias,
        norm.training,
        norm.momentum,
        norm.eps,
    )
    return normed.transpose(1, 2)
