"""iTransformer as its published formulas read, for comparison in tests and benchmarks.

Three projections per attention, every score written out, the feed-forward block as convolutions of
width one between two transpositions. Parameters are those of `ITransformer`; covariate tokens other
than marks are ours and have no published form.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.forecasting.itransformer import ITransformer
from surform.layers.postnorm_encoder import EncoderLayer

__all__ = ["literal_forward"]


def literal_forward(
    model: ITransformer, history: Tensor, past_marks: Tensor | None = None
) -> Tensor:
    """`ITransformer.forward`, (b, l, v) -> (b, h, v); dropout as the model's mode says."""
    x = history
    if model.normalize:
        mean = x.mean(1, keepdim=True).detach()
        x = x - mean
        deviation = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5)
        x = x / deviation
    x = x.permute(0, 2, 1)
    if past_marks is not None:
        x = torch.cat([x, past_marks.permute(0, 2, 1)], 1)
    share = model.arguments["dropout"] if model.training else 0.0
    x = F.dropout(model.embedding(x), share)
    for layer in model.layers:
        x = literal_layer(layer, x, share, flow=model.arguments["attention"] == "flow")
    y = model.head(model.norm(x)).permute(0, 2, 1)[:, :, : history.shape[2]]
    return y * deviation + mean if model.normalize else y


def literal_layer(layer: EncoderLayer, x: Tensor, share: float, flow: bool) -> Tensor:
    """One encoder layer; `share` is dropped."""
    mix, forward = layer.attention, layer.feed_forward
    maps = zip(mix.qkv.weight.chunk(3), mix.qkv.bias.chunk(3), strict=True)
    q, k, v = (F.linear(x, w, b).unflatten(-1, (mix.heads, -1)) for w, b in maps)  # (b, n, h, d)
    heads = literal_flow(q, k, v) if flow else literal_softmax(q, k, v, share)
    x = layer.norm1(x + F.dropout(mix.out(heads.contiguous().flatten(2)), share))
    function = F.relu if forward.activation == "relu" else F.gelu
    y = F.conv1d(x.transpose(-1, 1), forward.up.weight[..., None], forward.up.bias)
    y = F.dropout(function(y), share)
    y = F.conv1d(y, forward.down.weight[..., None], forward.down.bias).transpose(-1, 1)
    return layer.norm2(x + F.dropout(y, share))


def literal_softmax(q: Tensor, k: Tensor, v: Tensor, share: float) -> Tensor:
    """(b, n, h, d) -> (b, n, h, d)."""
    scores = torch.einsum("blhe,bshe->bhls", q, k)
    weights = F.dropout(torch.softmax(q.shape[-1] ** -0.5 * scores, dim=-1), share)
    return torch.einsum("bhls,bshd->blhd", weights, v)


def literal_flow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Flow-Attention step by step, (b, n, h, d) -> (b, n, h, d)."""
    eps = 1e-6
    q, k = torch.sigmoid(q), torch.sigmoid(k)
    incoming = ((q + eps) * (k.sum(1, keepdim=True) + eps)).sum(-1, keepdim=True)
    outgoing = ((k + eps) * (q.sum(1, keepdim=True) + eps)).sum(-1, keepdim=True)
    conserved_in = ((q + eps) * ((k / outgoing).sum(1, keepdim=True) + eps)).sum(-1, keepdim=True)
    conserved_out = ((k + eps) * ((q / incoming).sum(1, keepdim=True) + eps)).sum(-1, keepdim=True)
    allocation = torch.sigmoid(conserved_in * (q.shape[1] / k.shape[1]))
    competition = torch.softmax(conserved_out, dim=1) * k.shape[1]
    weighted = torch.einsum("bshd,bshe->bhde", k, v * competition)
    return torch.einsum("blhd,bhde->blhe", q, weighted) / incoming * allocation
