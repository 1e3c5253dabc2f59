"""HPT as its formulas stand, from weights under the official names of the robot "dom".

The trunk has its tokens first; heads are done one by one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def literal_features(w: State, observation: State, heads: int, stem_heads: int) -> Tensor:
    """The trunk's tokens (b, n, dim), from observations in the order of their tokens."""
    parts = []
    for name, x in observation.items():
        if name == "state":
            key = "normalizer.dom.params_dict.state"
            x = x * w[f"{key}.scale"] + w[f"{key}.offset"]
        x = _placed(x.reshape(len(x), -1, x.shape[-1]))
        parts.append(_stem(w, f"stems.dom_{name}", x, stem_heads))
    if "action_tokens.dom" in w:
        parts.append(w["action_tokens.dom"].repeat(len(parts[0]), 1, 1))
    x = _placed(torch.cat(parts, 1)).transpose(0, 1)
    depth = len({key.split(".")[3] for key in w if key.startswith("trunk.trunk.blocks.")})
    for number in range(depth):
        x = _block(w, f"trunk.trunk.blocks.{number}", x, heads)
    return x.transpose(0, 1)


def _placed(x: Tensor) -> Tensor:
    table = torch.zeros(x.shape[1:], dtype=torch.float32)
    for i in range(x.shape[2]):
        power = torch.tensor(2 * (i // 2) / x.shape[2], dtype=torch.float32)
        rate = 1 / torch.pow(torch.tensor(10000.0, dtype=torch.float32), power)
        angle = torch.arange(x.shape[1], dtype=torch.float32) * rate
        table[:, i] = angle.cos() if i % 2 else angle.sin()
    return x + table.to(x.dtype)


def _stem(w: State, key: str, x: Tensor, heads: int) -> Tensor:
    x = F.silu(_linear(w, f"{key}.net.0", x))
    layer = 2
    while f"{key}.net.{layer + 3}.weight" in w:  # Linear, LayerNorm, SiLU
        x = _linear(w, f"{key}.net.{layer}", x)
        x = F.layer_norm(x, x.shape[-1:], *_pair(w, f"{key}.net.{layer + 1}"), 1e-5)
        x, layer = F.silu(x), layer + 3
    return literal_queries(w, key, _linear(w, f"{key}.net.{layer}", x), heads)


def literal_queries(w: State, key: str, x: Tensor, heads: int) -> Tensor:
    """Learned queries attend to x."""
    tokens = w[f"{key}.tokens"].repeat(len(x), 1, 1)
    q = tokens @ w[f"{key}.cross_attention.to_q.weight"].T
    k, v = (x @ w[f"{key}.cross_attention.to_kv.weight"].T).chunk(2, -1)
    return _linear(w, f"{key}.cross_attention.to_out", _attend(q, k, v, heads))


def _block(w: State, key: str, x: Tensor, heads: int) -> Tensor:
    y = F.layer_norm(x, x.shape[-1:], *_pair(w, f"{key}.norm_1"), 1e-6)
    q, k, v = F.linear(y, w[f"{key}.attn.in_proj_weight"], w[f"{key}.attn.in_proj_bias"]).chunk(
        3, -1
    )
    k = torch.cat((k, w[f"{key}.attn.bias_k"].repeat(1, x.shape[1], 1)))
    v = torch.cat((v, w[f"{key}.attn.bias_v"].repeat(1, x.shape[1], 1)))
    y = _attend(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), heads).transpose(0, 1)
    x = x + _linear(w, f"{key}.attn.out_proj", y)
    y = F.layer_norm(x, x.shape[-1:], *_pair(w, f"{key}.norm_2"), 1e-6)
    return x + _linear(w, f"{key}.mlp.fc2", F.gelu(_linear(w, f"{key}.mlp.fc1", y)))


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    parts = []
    size = q.shape[-1] // heads
    for head in range(heads):
        one = slice(head * size, (head + 1) * size)
        scores = q[..., one] @ k[..., one].transpose(1, 2) / math.sqrt(size)
        parts.append(torch.softmax(scores, -1) @ v[..., one])
    return torch.cat(parts, -1)


def _linear(w: State, key: str, x: Tensor) -> Tensor:
    return F.linear(x, *_pair(w, key))


def _pair(w: State, key: str) -> tuple[Tensor, Tensor]:
    return w[f"{key}.weight"], w[f"{key}.bias"]
