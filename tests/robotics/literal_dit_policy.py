"""The diffusion transformer policy as its formulas stand, from weights under the official names.

Tokens come first, the modulations are linear maps of their own, made anew in every step.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def literal_noise(
    w: State, actions: Tensor, time: Tensor, tokens: Tensor, heads: int, activation: str = "gelu"
) -> Tensor:
    """The noise in actions (b, c, a) at times (b,), told by tokens (b, s, d)."""
    return _decoded(w, actions, time, _encoded(w, tokens, heads, activation), heads, activation)


def literal_sample(
    w: State, tokens: Tensor, start: Tensor, steps: int, heads: int, trained: int = 100
) -> Tensor:
    """DDIM without noise of its own; the encoder runs once, the whole decoder in every step."""
    kept, layers = literal_schedule(trained), _encoded(w, tokens, heads, "gelu")
    stride = trained // steps
    x = start
    for time in range((steps - 1) * stride, -1, -stride):
        noise = _decoded(w, x, torch.full((len(x),), time), layers, heads, "gelu")
        now = kept[time]
        before = kept[time - stride] if time - stride >= 0 else torch.tensor(1.0)
        clean = torch.clip((x - (1 - now) ** 0.5 * noise) / now**0.5, -1, 1)
        x = before**0.5 * clean + (1 - before) ** 0.5 * noise
    return x


def _encoded(w: State, tokens: Tensor, heads: int, activation: str) -> list[Tensor]:
    """The tokens after every layer of the encoder."""
    x, layers = tokens.transpose(0, 1), []
    for layer in range(_depth(w)):
        x = _encoder_layer(w, f"encoder.layers.{layer}", x, heads, activation)
        layers.append(x)
    return layers


def _decoded(
    w: State, actions: Tensor, time: Tensor, layers: list[Tensor], heads: int, activation: str
) -> Tensor:
    means = [x.mean(0) for x in layers]
    angles = time[:, None] * w["time_net.w"]
    known = torch.cat((torch.cos(angles), torch.sin(angles)), 1)
    known = _linear(w, "time_net.out_net.2", F.silu(_linear(w, "time_net.out_net.0", known)))
    hidden = F.gelu(_linear(w, "ac_proj.0", actions), approximate="tanh")
    y = _linear(w, "ac_proj.2", hidden).transpose(0, 1) + w["dec_pos"]
    for layer, mean in enumerate(means):
        y = _decoder_layer(w, f"decoder.layers.{layer}", y, mean + known, heads, activation)
    both = _linear(w, "eps_out.adaLN_modulation.1", F.silu(means[-1] + known))
    shift, scale = both.chunk(2, dim=1)
    return _linear(w, "eps_out.linear", y * scale + shift).transpose(0, 1)


def _depth(w: State) -> int:
    return len({key.split(".")[2] for key in w if key.startswith("encoder.layers.")})


def literal_schedule(steps: int) -> Tensor:
    """Products of the shares of signal that steps keep, float32."""

    def left(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - left((i + 1) / steps) / left(i / steps), 0.999) for i in range(steps)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32), 0)


def _encoder_layer(w: State, key: str, x: Tensor, heads: int, activation: str) -> Tensor:
    length, _, dim = x.shape
    table = torch.zeros(length, 1, dim, dtype=torch.float32)
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * -(math.log(10000.0) / dim))
    table[:, 0, 0::2] = torch.sin(position * rates)
    table[:, 0, 1::2] = torch.cos(position * rates)[:, : dim // 2]
    placed = x + table.to(x.dtype)
    x = _norm(w, f"{key}.norm1", x + _attention(w, key, placed, placed, x, heads))
    return _norm(w, f"{key}.norm2", x + _feed_forward(w, key, x, activation))


def _decoder_layer(
    w: State, key: str, x: Tensor, known: Tensor, heads: int, activation: str
) -> Tensor:
    y = _modulated(w, f"{key}.attn_mod1", _norm(w, f"{key}.norm1", x), known)
    y = _attention(w, key, y, y, y, heads)
    x = x + _linear(w, f"{key}.attn_mod2.scale", F.silu(known)) * y
    y = _modulated(w, f"{key}.mlp_mod1", _norm(w, f"{key}.norm2", x), known)
    y = _feed_forward(w, key, y, activation)
    return x + _linear(w, f"{key}.mlp_mod2.scale", F.silu(known)) * y


def _modulated(w: State, key: str, x: Tensor, known: Tensor) -> Tensor:
    known = F.silu(known)
    return x * _linear(w, f"{key}.scale", known) + _linear(w, f"{key}.shift", known)


def _feed_forward(w: State, key: str, x: Tensor, activation: str) -> Tensor:
    x = _linear(w, f"{key}.linear1", x)
    x = F.relu(x) if activation == "relu" else F.gelu(x, approximate="tanh")
    return _linear(w, f"{key}.linear2", x)


def _attention(w: State, key: str, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """torch's own, by which the official code attends, weights of the attention returned."""
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    packed, packed_bias, out, bias = (w[f"{key}.self_attn.{name}"] for name in names)
    return F.multi_head_attention_forward(
        q, k, v, q.shape[-1], heads, packed, packed_bias, None, None, False, 0.0, out, bias
    )[0]


def _norm(w: State, key: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"], 1e-5)


def _linear(w: State, key: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{key}.weight"], w[f"{key}.bias"])
