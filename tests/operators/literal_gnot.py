"""GNOT and CGPTNO as their official code computes them, for comparison in tests and benchmarks.

Every input function is attended to on its own, every expert evaluated on all points before the gate
mixes what they give, and nothing is masked: zeros of padded batches take part in all sums.
Parameters are those of `GNOT` and `CGPTNO`; without dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.operators.expert_blocks import ACTIVATIONS
from surform.operators.expert_mixture import ExpertMixture
from surform.operators.gnot import CGPTNO, GNOT
from surform.operators.gnot_layers import Layer, ResidualMLP

__all__ = ["literal_forward"]


def literal_forward(
    model: GNOT | CGPTNO, points: Tensor, parameters: Tensor | None, inputs: Sequence[Tensor]
) -> Tensor:
    """The model's forward pass, (b, n, c) -> (b, n, o)."""
    positions = points[:, :, : model.space_dim]
    x = points
    if parameters is not None:
        x = torch.cat([x, parameters.unsqueeze(1).repeat([1, x.shape[1], 1])], dim=-1)
    if model.octaves is not None:
        x = _embedded(x, model.octaves.frequencies)
    x = _mlp(model.trunk, x)
    z = [_mlp(branch, f) for branch, f in zip(model.branches, inputs, strict=True)]
    for layer in model.layers:
        x = (_gated if layer.norm_after else _plain)(layer, x, z, positions)
    return _mlp(model.head, x)


def _gated(layer: Layer, x: Tensor, z: Sequence[Tensor], positions: Tensor) -> Tensor:
    gate = _gate(layer, positions).unsqueeze(2)  # (b, n, 1, m)
    x = x + _cross(layer, layer.cross_norm(x), z)
    experts = torch.stack(_experts(layer.mixture1, x), dim=-1)  # (b, n, c, m)
    x = x + layer.norm1((gate * experts).sum(dim=-1, keepdim=False))
    x = x + _self(layer, layer.self_norm(x))
    experts = torch.stack(_experts(layer.mixture2, x), dim=-1)
    return x + layer.norm2((gate * experts).sum(dim=-1, keepdim=False))


def _plain(layer: Layer, x: Tensor, z: Sequence[Tensor], positions: Tensor) -> Tensor:
    x = x + _cross(layer, layer.cross_norm(x), z)
    x = x + _experts(layer.mixture1, layer.norm1(x))[0]
    x = x + _self(layer, layer.self_norm(x))
    return x + _experts(layer.mixture2, layer.norm2(x))[0]


def _gate(layer: Layer, positions: Tensor) -> Tensor:
    net = layer.gate
    if net is None:  # one expert
        return positions.new_ones(*positions.shape[:2], 1)
    act = ACTIVATIONS[net.rest.activation].function
    return F.softmax(_experts(net.rest, act(net.first(positions)))[0], dim=-1)


def _experts(mixture: ExpertMixture, x: Tensor) -> list[Tensor]:
    up, down = mixture.up_weight.transpose(1, 2), mixture.down_weight.transpose(1, 2)
    weights = (up, mixture.up_bias, down, mixture.down_bias)
    act = ACTIVATIONS[mixture.activation].function
    return [F.linear(act(F.linear(x, *w[:2])), *w[2:]) for w in zip(*weights, strict=True)]


def _cross(layer: Layer, x: Tensor, z: Sequence[Tensor]) -> Tensor:
    attention = layer.cross_attention
    q = _heads(attention.query(x), attention.heads).softmax(dim=-1)
    out = q
    for norm, key_value, features in zip(attention.norms, attention.key_values, z, strict=True):
        y, maps = norm(features), zip(*(p.chunk(2) for p in key_value.parameters()), strict=True)
        k, v = (_heads(F.linear(y, *map), attention.heads) for map in maps)
        k = k.softmax(dim=-1)
        normalizer = 1.0 / (q * k.sum(dim=-2, keepdim=True)).sum(dim=-1, keepdim=True)
        out = out + 1 * (q @ (k.transpose(-2, -1) @ v)) * normalizer
    return attention.out(_merged(out))


def _self(layer: Layer, x: Tensor) -> Tensor:
    attention = layer.self_attention
    maps = zip(*(p.chunk(3) for p in attention.qkv.parameters()), strict=True)
    q, k, v = (_heads(F.linear(x, *map), attention.heads) for map in maps)
    q, k = q.softmax(dim=-1), k.softmax(dim=-1)
    normalizer = 1.0 / (q * k.sum(dim=-2, keepdim=True)).sum(dim=-1, keepdim=True)
    context = k.transpose(-2, -1) @ v
    return attention.out(_merged((q @ context) * normalizer + q))


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _mlp(net: ResidualMLP, x: Tensor) -> Tensor:
    x = net.activation(net.first(x))
    for linear in net.hidden:
        x = net.activation(linear(x)) + x
    return net.last(x)


def _embedded(x: Tensor, frequencies: Tensor) -> Tensor:
    repeated = x.unsqueeze(-1).repeat([1, 1, 1, len(frequencies)])
    cos, sin = torch.cos(frequencies * repeated), torch.sin(frequencies * repeated)
    return torch.cat([x.unsqueeze(-1), cos, sin], dim=-1).view(x.shape[0], x.shape[1], -1)
