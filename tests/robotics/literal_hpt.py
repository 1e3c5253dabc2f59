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


def literal_mlp_head(w: State, x: Tensor, dropout: bool, norm: bool, tanh: bool) -> Tensor:
    """The "mlp" head in evaluation; dropout has a number in the names all the same."""
    x, layer, norms = F.silu(_linear(w, "heads.dom.net.0", x)), 2, 1 if norm else 0
    step = 2 + norms + (1 if dropout else 0)  # Linear, (Dropout), (LayerNorm), SiLU
    while f"heads.dom.net.{layer + step}.weight" in w:
        x = _linear(w, f"heads.dom.net.{layer}", x)
        if norm:
            pair = _pair(w, f"heads.dom.net.{layer + step - 2}")
            x = F.layer_norm(x, x.shape[-1:], *pair, 1e-5)
        x, layer = F.silu(x), layer + step
    x = _linear(w, f"heads.dom.net.{layer}", x)
    return torch.tanh(x) if tanh else x


def literal_unet(w: State, x: Tensor, time: Tensor, known: Tensor, groups: int) -> Tensor:
    """The noise in actions (b, t, a) at times (b,), told a vector (b, c)."""
    key = "heads.dom.model"
    half = w[f"{key}.diffusion_step_encoder.1.weight"].shape[1] // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
    angles = time[:, None].to(x.dtype) * rates.to(x.dtype)
    told = _linear(w, f"{key}.diffusion_step_encoder.1", torch.cat((angles.sin(), angles.cos()), 1))
    told = _linear(w, f"{key}.diffusion_step_encoder.3", F.mish(told))
    told = F.mish(torch.cat((told, known), 1))
    levels = len({name.split(".")[4] for name in w if name.startswith(f"{key}.down_modules.")})
    x, kept = x.transpose(1, 2), []
    for level in range(levels):
        place = f"{key}.down_modules.{level}"
        x = _residual(w, f"{place}.1", _residual(w, f"{place}.0", x, told, groups), told, groups)
        kept.append(x)
        if level < levels - 1:
            x = F.conv1d(x, *_pair(w, f"{place}.2.conv"), stride=2, padding=1)
    for part in range(2):
        x = _residual(w, f"{key}.mid_modules.{part}", x, told, groups)
    for level in range(levels - 1):
        place = f"{key}.up_modules.{level}"
        x = torch.cat((x, kept[levels - 1 - level]), 1)
        x = _residual(w, f"{place}.1", _residual(w, f"{place}.0", x, told, groups), told, groups)
        x = F.conv_transpose1d(x, *_pair(w, f"{place}.2.conv"), stride=2, padding=1)
    x = _convolved(w, f"{key}.final_conv.0", x, groups)
    return F.conv1d(x, *_pair(w, f"{key}.final_conv.1")).transpose(1, 2)


def _residual(w: State, key: str, x: Tensor, told: Tensor, groups: int) -> Tensor:
    y = _convolved(w, f"{key}.blocks.0", x, groups)
    scale, shift = _linear(w, f"{key}.cond_encoder.1", told)[..., None].chunk(2, 1)
    y = _convolved(w, f"{key}.blocks.1", scale * y + shift, groups)
    if f"{key}.residual_conv.weight" in w:
        x = F.conv1d(x, *_pair(w, f"{key}.residual_conv"))
    return x + y


def _convolved(w: State, key: str, x: Tensor, groups: int) -> Tensor:
    weight, bias = _pair(w, f"{key}.block.0")
    x = F.conv1d(x, weight, bias, padding=weight.shape[2] // 2)
    return F.mish(F.group_norm(x, groups, *_pair(w, f"{key}.block.1")))


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
