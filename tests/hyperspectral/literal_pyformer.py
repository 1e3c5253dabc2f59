"""PyFormer as its formulas say, on the weights of ours: what the tests compare with.

Convolutions over three axes with kernels of one row, padded as Keras pads; every score of every
head written out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["literal_forward"]


def literal_forward(net: nn.Module, x: Tensor) -> Tensor:
    """Logits of patches (b, k, rows, columns)."""
    cube = x.permute(0, 2, 3, 1).unsqueeze(1)  # (b, 1, rows, columns, components)
    levels, level = [], cube
    for pair in net.pyramid:
        for layer in pair:
            level = _convolved(layer, level)
        levels.append(level)
    x = F.relu(torch.cat(levels, 1))
    for block in net.blocks:
        x = _attended(block, x.movedim(1, -1)).movedim(-1, 1) + cube
        y = x
        for layer in block.convolutions:
            y = _convolved(layer, y)
        x = x + y
    hidden = x.movedim(1, -1).flatten(1) @ net.hidden.weight.T + net.hidden.bias
    return hidden.clamp(min=0) @ net.head.weight.T + net.head.bias


def _convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
    size = layer.weight.shape[-1]
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    padded = F.pad(x, (before, after, before, after, 0, 0))
    return F.conv3d(padded, layer.weight[:, :, None], layer.bias).clamp(min=0)


def _attended(block: nn.Module, x: Tensor) -> Tensor:
    """(b, rows, columns, components, channels) among all positions."""
    mean = x.mean(-1, keepdim=True)
    deviation = (x - mean).square().mean(-1, keepdim=True).add(1e-3).sqrt()
    tokens = ((x - mean) / deviation * block.norm.weight + block.norm.bias).flatten(1, 3)
    qkv = tokens @ block.attention.qkv.weight.T + block.attention.qkv.bias
    heads = block.attention.heads
    q, k, v = (part.unflatten(-1, (heads, -1)) for part in qkv.chunk(3, -1))
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / q.shape[-1] ** 0.5
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    mixed = torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2)
    out = mixed @ block.attention.out.weight.T + block.attention.out.bias
    return out.unflatten(1, x.shape[1:4])
