"""Pathformer as its formulas read, for comparison in tests and benchmarks.

Tensors are (batch, time, variates, features), experts run one by one on the samples they were sent,
patches in a loop whose results are appended one by one, keys and values are projected for each
token, exponentials are taken as they are. Parameters are those of `Pathformer`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["literal_expert", "literal_forward"]


def literal_forward(model: Any, history: Tensor, noise: list[Tensor] | None = None) -> Any:
    """`Pathformer.forecast_and_penalty`, in the model's mode."""
    x = history
    mean = x.mean(1, keepdim=True).detach()
    deviation = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5).detach()
    if model.revin is not None:
        x = (x - mean) / deviation
    u = model.lift(x.unsqueeze(-1))
    penalty = u.new_zeros(())
    for number, layer in enumerate(model.layers):
        out, cost = _layer(layer, u, None if noise is None else noise[number])
        u, penalty = (u + out if layer.residual else out), penalty + cost
    y = model.head(u.permute(0, 2, 1, 3).flatten(2)).transpose(1, 2)
    return (y * deviation + mean if model.revin is not None else y), penalty


def _layer(layer: Any, u: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    gates, penalty = _route(layer.router, u[..., 0], noise)
    total = torch.zeros_like(u)
    weights = layer.node_weights
    for e, expert in enumerate(layer.experts):
        samples = gates[:, e].nonzero().flatten()
        out = literal_expert(expert, weights, e, u[samples])
        total = total.index_add(0, samples, out.exp() * gates[samples, e, None, None, None])
    eps = torch.finfo(torch.float64).eps
    return torch.where(total == 0, torch.full_like(total, eps), total).log(), penalty


def _route(router: Any, s: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gates (b, e) from series (b, l, v)."""
    g = router.merge(s + _seasonality(s) + _trend(router.trend, s)).squeeze(-1)
    clean = router.gate(g)
    deviation = F.softplus(router.noise(g)) + 1e-2
    logits = clean
    if router.training:
        logits = clean + (torch.randn_like(clean) if noise is None else noise) * deviation
    k, count = router.top_k, router.experts
    top, chosen = logits.topk(min(k + 1, count), dim=1)
    shares = torch.softmax(top[:, :k], dim=1)
    gates = torch.zeros_like(logits).scatter(1, chosen[:, :k], shares)
    if router.training and k < count:
        normal = torch.distributions.Normal(torch.zeros(()).to(s), torch.ones(()).to(s))
        inside = normal.cdf((clean - top[:, k : k + 1]) / deviation)
        outside = normal.cdf((clean - top[:, k - 1 : k]) / deviation)
        load = torch.where(logits > top[:, k : k + 1], inside, outside).sum(0)
    else:
        load = (gates > 0).sum(0).to(gates)
    importance = gates.sum(0)
    terms = [v.var() / (v.mean() ** 2 + 1e-10) for v in (importance, load)]
    return gates, 0.01 * (terms[0] + terms[1])


def _seasonality(s: Tensor) -> Tensor:
    length = s.shape[1]
    spectrum = torch.fft.rfft(s, dim=1)
    waves = spectrum[:, 1:-1] if length % 2 == 0 else spectrum[:, 1:]
    frequency = torch.fft.rfftfreq(length, dtype=s.dtype)[1 : 1 + waves.shape[1]]
    chosen = waves.abs().topk(3, dim=1).indices
    strongest = waves.gather(1, chosen)  # (b, 3, v)
    t = torch.arange(length, dtype=s.dtype)
    phase = 2 * math.pi * frequency[chosen].unsqueeze(-1) * t + strongest.angle().unsqueeze(-1)
    return (2 * strongest.abs().unsqueeze(-1) / length * torch.cos(phase)).sum(1).transpose(1, 2)


def _trend(trend: Any, s: Tensor) -> Tensor:
    averages = []
    for kernel in (4, 8, 12):
        back = (kernel - 1) // 2
        front = s[:, :1].repeat(1, kernel - 1 - back, 1)
        padded = torch.cat((front, s, s[:, -1:].repeat(1, back, 1)), dim=1)
        averages.append(F.avg_pool1d(padded.transpose(1, 2), kernel, 1).transpose(1, 2))
    shares = torch.softmax(trend.mix(s.unsqueeze(-1)), dim=-1)
    return (torch.stack(averages, dim=-1) * shares).sum(-1)


def literal_expert(expert: Any, weights: Any, e: int, u: Tensor) -> Tensor:
    """One expert on (b, l, v, d)."""
    x = u + _intra(expert, weights, e, u) + _inter(expert.inter, u)
    rate = expert.dropout if expert.training else 0.0
    x = _norm(expert.norm_in, x)
    x = F.dropout(x, rate)
    hidden = F.dropout(F.gelu(expert.up(x)), expert.ffn_dropout if expert.training else 0.0)
    return _norm(expert.norm_out, expert.down(hidden) + x)


def _norm(norm: Any, x: Tensor) -> Tensor:
    if norm is None:
        return x
    rows = x.reshape(-1, x.shape[-1])
    out = F.batch_norm(
        rows,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        0.1,
        1e-5,
    )
    return out.view(x.shape)


def _intra(expert: Any, w: Any, e: int, u: Tensor) -> Tensor:
    b, _, v, d = u.shape
    p = expert.patch_size
    start = sum(w.patches[:e])
    collected = None
    for i in range(w.patches[e]):
        query = F.linear(w.embedding[start + i], w.query_weight[start + i], w.query_bias[start + i])
        query = query.expand(b, 1, v, d)
        tokens = torch.cat((query, u[:, i * p : (i + 1) * p]), dim=1)
        key, value = (_node_map(w, e, j, tokens) for j in (0, 1))
        z = _one_query(query, key, value)
        for j in (0, 1):
            z = z @ w.shared_weight[e, j] + w.shared_bias[e, j]
            z = torch.relu(z) if j == 0 else z
        collected = z if collected is None else torch.cat((collected, z), dim=1)
    return expert.intra.spread(collected.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)


def _node_map(w: Any, e: int, j: int, tokens: Tensor) -> Tensor:
    """Keys (j = 0) or values (1) with weights of each node's own."""
    core = w.memory[e]
    for level in range(3):
        core = F.linear(core, w.weights[level][e], w.biases[level][e])
        core = torch.tanh(core) if level < 2 else core
    matrices = w.left[e, j] @ core.unflatten(-1, (10, 10)) @ w.right[e, j]  # (v, d, d)
    return (tokens.unsqueeze(-2) @ matrices).squeeze(-2) + core @ w.bias[e, j]


def _one_query(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with two heads of one query (b, 1, v, d) over tokens (b, t, v, d)."""
    half = q.shape[-1] // 2
    heads = []
    for part in (slice(0, half), slice(half, None)):
        a, b, c = (x[..., part].transpose(1, 2) for x in (q, k, v))  # (b, v, t, half)
        heads.append(torch.softmax(a @ b.transpose(-2, -1) / math.sqrt(half), dim=-1) @ c)
    return torch.cat(heads, dim=-1).transpose(1, 2)


def _inter(inter: Any, u: Tensor) -> Tensor:
    b, length, v, d = u.shape
    p = inter.patch_size
    n = length // p
    patches = u.unfold(1, p, p).permute(0, 2, 1, 3, 4).reshape(b * v, n, d * p)
    rate = inter.dropout if inter.training else 0.0
    x = F.dropout(inter.embed(patches) + inter.position, rate)
    weight, bias = inter.qkv.weight.chunk(3), inter.qkv.bias.chunk(3)
    q, k, w = (
        F.linear(x, weight[i], bias[i]).view(b * v, n, d, p).transpose(1, 2) for i in range(3)
    )
    y = torch.softmax(q @ k.transpose(-2, -1) * p**-0.5, dim=-1) @ w
    y = F.dropout(inter.out(y.transpose(1, 2).reshape(b * v, n, d * p)), rate)
    if inter.restore_order:
        return y.view(b, v, n, d, p).permute(0, 2, 4, 1, 3).reshape(b, length, v, d)
    return y.view(b, v, n, p, d).reshape(b, n * p, v, d)
