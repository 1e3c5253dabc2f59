"""CARD's formulas taken literally, on the parameters of our `Card`: the reference of the fast path.

Every attention written out with `einsum` and torch's softmax, every batch norm between two
transpositions, the smoothing matrix with a row for every channel, two feed-forward maps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.forecasting.card import Card
from surform.forecasting.card_attention import CardAttention

__all__ = ["literal_forward"]


def literal_forward(net: Card, history: Tensor, observed: Tensor | None = None) -> Tensor:
    """history (B, L, N); observed: True = given. As `net(history, observed=observed)`."""
    z = history.permute(0, 2, 1)
    if observed is None:
        m, s = z.mean(-1, keepdim=True), z.std(-1, keepdim=True)
        normal = (z - m) / (s + 1e-4)
    else:
        mask = observed.permute(0, 2, 1)
        count = mask.sum(-1, keepdim=True)
        m = (z if net.legacy_mask else z * mask).sum(-1, keepdim=True) / count
        centred = (z - m) * mask
        s = ((centred**2).sum(-1, keepdim=True) / count + 1e-5).sqrt()
        normal = centred / (s + 1e-4)
    u = embed(net, z if net.num_classes is not None else normal, m, s)
    for layer in net.layers:
        u = literal_layer(layer, u, net.training)
    if net.num_classes is not None:
        return net.head(u.mean(dim=-2).reshape(len(u), -1))
    return (net.head(u.reshape(*u.shape[:2], -1)) * (s + 1e-4) + m).permute(0, 2, 1)


def embed(net: Card, z: Tensor, m: Tensor, s: Tensor) -> Tensor:
    e = net.embedding
    patches = F.dropout(
        e.project(z.unfold(dimension=-1, size=e.patch_size, step=e.stride)),
        e.dropout.p,
        net.training,
    )
    patches = patches + e.positions
    if e.statistic is None:
        first = e.first.repeat(z.shape[0], z.shape[1], 1, 1)
    else:
        pair = torch.cat((m, s), dim=-1)
        if pair.shape[-2] > 1:
            pair = (pair - pair.mean(-2, keepdim=True)) / (pair.std(-2, keepdim=True) + 1e-4)
        first = e.statistic(pair).unsqueeze(-2)
    return torch.cat((first, patches), dim=-2)


def literal_layer(layer: nn.Module, u: Tensor, training: bool) -> Tensor:
    b, n, t, d = u.shape
    o1 = literal_attention(layer.over_variates, u.permute(0, 2, 1, 3), training)
    o1 = o1.permute(0, 2, 1, 3)
    o2 = literal_attention(layer.over_tokens, o1, training)
    out = F.dropout(layer.mix(o1 + o2), layer.dropout.p, training) + u
    return batch_norm(layer.norm, out.reshape(b * n, t, d)).reshape(b, n, t, d)


def literal_attention(block: CardAttention, src: Tensor, training: bool) -> Tensor:
    b, n, s, d = src.shape
    h, e = block.heads, block.width
    qkv = block.qkv(src).reshape(b, n, s, 3, h, e).permute(3, 0, 1, 4, 2, 5)
    q, k, v = qkv[0], qkv[1], qkv[2]
    keys, values = k, v
    if block.summarize_keys is not None:
        keys = torch.einsum("bnhsr,bnhse->bnhre", block.summarize_keys(k).softmax(-1), k)
        values = torch.einsum("bnhsr,bnhse->bnhre", block.summarize_values(v).softmax(-1), v)
    scores = torch.einsum("bnhae,bnhce->bnhac", ema(block, q), ema(block, keys)) / e**-0.5
    weights = F.dropout(scores.softmax(-1), block.dropout, training)
    out1 = torch.einsum("bnhac,bnhce->bnhae", weights, values)
    scores = torch.einsum("bnhae,bnhaf->bnhef", q, k) / s**-0.5
    weights = F.dropout(scores.softmax(-1), block.dropout, training)
    out2 = torch.einsum("bnhef,bnhaf->bnhae", weights, v)
    pair, total = block.feed_forward, 0
    for index, out in enumerate((out1, out2)):
        tokens = literal_blend(out.reshape(b * n, h, s, e), block.merge)
        hidden = F.gelu(pair.up[index](batch_norm(pair.norms[index], tokens)))
        total = total + pair.down[index](F.dropout(hidden, pair.dropout.p, training))
    return batch_norm(block.norm, src.reshape(b * n, s, d) + total).reshape(b, n, s, d)


def ema(block: CardAttention, y: Tensor) -> Tensor:
    """Rows beyond the number of tokens are zero, as in the official buffer, unless corrected."""
    length, size, alpha = y.shape[-2], block.smoothing.size, block.smoothing.alpha
    matrix = torch.zeros(length, length, dtype=torch.float32)
    matrix[0][0] = 1
    for i in range(1, length if block.smoothing.everywhere else min(length, size)):
        matrix[i] = matrix[i - 1] * (1 - alpha)
        matrix[i][i] = alpha
    return torch.einsum("bnhae,ga->bnhge", y, matrix.to(y))


def literal_blend(x: Tensor, merge: int) -> Tensor:
    """(B, h, S, e) -> (B, S, h e)."""
    b, h, s, e = x.shape
    groups = x.reshape(b, h // merge, s, merge, e)
    return torch.einsum("bcpme->bpmce", groups).reshape(b, s, h * e)


def batch_norm(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    return nn.BatchNorm1d.forward(norm, x.transpose(1, 2)).transpose(1, 2)
