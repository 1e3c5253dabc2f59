"""Compact transformers as their published formulas read, for comparison in tests and benchmarks.

Convolution, ReLU and maximum in this order, every score written out, drop path by multiplication,
sequence pooling by a score per token. Parameters are those of `CCT`, `CVT` and `ViTLite`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.vision.cct import ConvTokenizer
from surform.vision.compact_encoder import CompactBlock

__all__ = ["literal_forward"]


def literal_forward(model: nn.Module, x: Tensor) -> Tensor:
    """Logits of images (b, c, h, w); dropout and drop path as the model's mode says."""
    tokenizer, encoder, given = model.tokenizer, model.encoder, model.arguments
    for layer in tokenizer.layers:
        x = layer(x)
        if isinstance(tokenizer, ConvTokenizer):
            x = F.max_pool2d(F.relu(x), *tokenizer.pooling)
    x = x.flatten(2, 3).transpose(-2, -1)
    if encoder.class_token is not None:
        x = torch.cat((encoder.class_token.expand(x.shape[0], -1, -1), x), dim=1)
    if encoder.positions is not None:
        x = x + encoder.positions
    x = F.dropout(x, given["dropout"], training=model.training)
    for block in encoder.blocks:
        x = _block(block, x, given)
    x = encoder.norm(x)
    if encoder.pool is None:
        return encoder.head(x[:, 0])
    scores = F.linear(x, encoder.pool, encoder.pool_bias)  # (b, n, 1)
    pooled = F.softmax(scores, dim=1).transpose(-1, -2) @ x
    return encoder.head(pooled.squeeze(-2))


def _block(block: CompactBlock, x: Tensor, given: dict) -> Tensor:
    share = given["dropout"]

    def drop(y: Tensor) -> Tensor:
        return F.dropout(y, share, training=block.training)

    mixed = drop(_attention(block, block.pre_norm(x), given["attention_dropout"]))
    x = block.norm(x + _drop_path(block, mixed))
    forward = block.feed_forward
    hidden = drop(F.gelu(forward.up(x)))
    return x + _drop_path(block, drop(forward.down(hidden)))


def _attention(block: CompactBlock, x: Tensor, share: float) -> Tensor:
    b, n, c = x.shape
    heads = block.attention.heads
    q, k, v = block.attention.qkv(x).reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1)) * (c // heads) ** -0.5
    weights = F.dropout(weights.softmax(dim=-1), share, training=block.training)
    return block.attention.out((weights @ v).transpose(1, 2).reshape(b, n, c))


def _drop_path(block: CompactBlock, x: Tensor) -> Tensor:
    rate = block.drop_path.rate
    if not block.training or not rate:
        return x
    kept = (1 - rate + torch.rand(x.shape[0], 1, 1, dtype=x.dtype)).floor()
    return x.div(1 - rate) * kept
