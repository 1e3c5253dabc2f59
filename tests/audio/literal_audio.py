"""AST and PaSST as their published formulas read, for comparison in tests and benchmarks.

Every patch is convolved before some are left out, every score is written out. Parameters are those
of `AST` and `PaSST`; nothing is dropped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.audio.ast import AST
from surform.audio.passt import PaSST
from surform.audio.patchout import Kept

__all__ = ["literal_ast", "literal_passt"]


def literal_ast(net: AST, spectrograms: Tensor) -> Tensor:
    """Logits of (b, t, f), read off the two first tokens."""
    x = net.patch(spectrograms.transpose(1, 2)[:, None]).flatten(2).transpose(1, 2)
    tokens = [t.expand(len(x), -1, -1) for t in (net.class_token, net.distillation_token)]
    x = torch.cat([*tokens, x], 1) + net.positions
    for block in net.blocks:
        x = _block(block, x)
    x = net.norm(x)
    return net.head(net.head_norm((x[:, 0] + x[:, 1]) / 2))


def literal_passt(net: PaSST, spectrograms: Tensor, kept: Kept | None = None) -> Tensor:
    """Logits of (b, t, f); columns, then rows, then single patches are left out."""
    kept = kept or Kept()
    x = net.patch(spectrograms.transpose(1, 2)[:, None])  # (b, c, rows, columns)
    time = net.time_positions[..., kept.start : kept.start + x.shape[3]]
    x = x + time + net.frequency_positions
    if kept.columns is not None:
        x = x[:, :, :, kept.columns]
    if kept.rows is not None:
        x = x[:, :, kept.rows]
    x = x.flatten(2).transpose(1, 2)
    if kept.tokens is not None:
        x = x[:, kept.tokens]
    first = [net.class_token + net.token_positions[:, :1]]
    if net.distillation_token is not None:
        first.append(net.distillation_token + net.token_positions[:, 1:])
    x = torch.cat([*(token.expand(len(x), -1, -1) for token in first), x], 1)
    for block in net.blocks:
        x = _block(block, x)
    x = net.norm(x)
    if net.distillation_token is not None:
        x = (x[:, 0] + x[:, 1]) / 2
    else:
        x = x[:, 0] if net.representation is None else net.representation(x[:, 0]).tanh()
    return net.head(net.head_norm(x))


def _block(block: nn.Module, x: Tensor) -> Tensor:
    x = x + _attention(block.attention, block.norm1(x))
    forward = block.feed_forward
    return x + forward.down(F.gelu(forward.up(block.norm2(x))))


def _attention(module: nn.Module, x: Tensor) -> Tensor:
    b, n, c = x.shape
    q, k, v = module.qkv(x).reshape(b, n, 3, module.heads, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return module.out((weights @ v).transpose(1, 2).reshape(b, n, c))
