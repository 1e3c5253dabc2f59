"""The Informer taken literally: channel-first convolutions, sampled keys expanded for every query.

A function of the official state dict and the official constructor, so that it checks the converter
as well. Without dropout.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["literal_informer", "samples_for"]

State = dict[str, Tensor]


def literal_informer(
    state: State,
    constructor: dict[str, Any],
    inputs: tuple[Tensor, Tensor, Tensor, Tensor],
    samples: list[Tensor] | None,
    training: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Forecast (B, out_len, c_out) and the encoder's maps; inputs as the official model's."""
    return _Literal(state, constructor, samples, training).forward(*inputs)


class _Literal:
    def __init__(
        self, state: State, given: dict[str, Any], samples: list[Tensor] | None, training: bool
    ) -> None:
        self.state, self.given, self.training = state, given, training
        self.samples = iter(samples or [])
        self.maps: list[Tensor] = []

    def forward(self, x: Tensor, marks: Tensor, start: Tensor, start_marks: Tensor):
        x = self.embedding("enc_embedding", x, marks)
        if isinstance(self.given["e_layers"], int):
            memory = self.encoder("encoder", x, self.given["e_layers"])
        else:
            parts = [
                self.encoder(f"encoder.encoders.{i}", x[:, -(x.shape[1] // 2**i) :], depth)
                for i, depth in enumerate(self.given["e_layers"])
            ]
            memory = torch.cat(parts, 1)
        x = self.embedding("dec_embedding", start, start_marks)
        for i in range(self.given["d_layers"]):
            x = self.decoder_layer(f"decoder.layers.{i}", x, memory)
        x = self.linear("projection", self.norm("decoder.norm", x))
        return x[:, -self.given["out_len"] :], self.maps

    def weights(self, name: str) -> tuple[Tensor, Tensor]:
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, *self.weights(name))

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights(name)
        return F.layer_norm(x, weight.shape, weight, bias)

    def conv(self, name: str, x: Tensor) -> Tensor:
        """(B, L, C): kernel 3 on a ring, or kernel 1."""
        weight, bias = self.weights(name)
        x = x.transpose(1, 2)
        if weight.shape[-1] == 3:
            x = F.pad(x, (1, 1), mode="circular")
        return F.conv1d(x, weight, bias).transpose(1, 2)

    def embedding(self, name: str, x: Tensor, marks: Tensor) -> Tensor:
        calendar = f"{name}.temporal_embedding"
        if self.given["embed"] == "timeF":
            time = self.linear(f"{calendar}.embed", marks)
        else:
            inner = ".emb" if self.given["embed"] == "fixed" else ""
            columns = ["month", "day", "weekday", "hour"]
            columns += ["minute"] if self.given["freq"] == "t" else []
            time = sum(
                self.state[f"{calendar}.{column}_embed{inner}.weight"][marks[..., i].long()]
                for i, column in enumerate(columns)
            )
        values = self.conv(f"{name}.value_embedding.tokenConv", x)
        return values + _positions(x.shape[1], values.shape[2]).to(values) + time

    def encoder(self, name: str, x: Tensor, depth: int) -> Tensor:
        for i in range(depth):
            layer = f"{name}.attn_layers.{i}"
            new, weights = self.attend(f"{layer}.attention", x, x, self.given["attn"])
            self.maps.append(weights)
            x = self.norm(f"{layer}.norm1", x + new)
            x = self.norm(f"{layer}.norm2", x + self.feed_forward(layer, x))
            if self.given["distil"] and i < depth - 1:
                x = self.distil(f"{name}.conv_layers.{i}", x)
        return self.norm(f"{name}.norm", x)

    def distil(self, name: str, x: Tensor) -> Tensor:
        x = self.conv(f"{name}.downConv", x).transpose(1, 2)
        running = [self.state[f"{name}.norm.running_{part}"] for part in ("mean", "var")]
        mean, var = (value.detach() for value in running)  # moved in training
        x = F.batch_norm(x, mean, var, *self.weights(f"{name}.norm"), training=self.training)
        return F.max_pool1d(F.elu(x), 3, 2, 1).transpose(1, 2)

    def feed_forward(self, name: str, x: Tensor) -> Tensor:
        activation = F.relu if self.given["activation"] == "relu" else F.gelu
        return self.conv(f"{name}.conv2", activation(self.conv(f"{name}.conv1", x)))

    def decoder_layer(self, name: str, x: Tensor, memory: Tensor) -> Tensor:
        attn, mix = self.given["attn"], self.given["mix"]
        new, _ = self.attend(f"{name}.self_attention", x, x, attn, causal=True, mix=mix)
        x = self.norm(f"{name}.norm1", x + new)
        new, _ = self.attend(f"{name}.cross_attention", x, memory, "full")
        x = self.norm(f"{name}.norm2", x + new)
        return self.norm(f"{name}.norm3", x + self.feed_forward(name, x))

    def attend(
        self, name: str, x: Tensor, y: Tensor, kind: str, causal: bool = False, mix: bool = False
    ) -> tuple[Tensor, Tensor]:
        def heads(part: str, tokens: Tensor) -> Tensor:
            projected = self.linear(f"{name}.{part}_projection", tokens)
            return projected.unflatten(-1, (self.given["n_heads"], -1)).transpose(1, 2)

        q, k, v = heads("query", x), heads("key", y), heads("value", y)
        if kind == "prob":
            index = next(self.samples)
            out, weights = _probsparse(q, k, v, index, self.given["factor"], causal)
        else:
            scores = q @ k.transpose(-2, -1)
            if causal:
                future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
                scores = scores.masked_fill(future, -math.inf)
            weights = torch.softmax(scores / math.sqrt(q.shape[-1]), -1)
            out = weights @ v
        if not mix:
            out = out.transpose(1, 2)
        out = out.contiguous().view(x.shape[0], x.shape[1], -1)
        return self.linear(f"{name}.out_projection", out), weights


def _probsparse(q: Tensor, k: Tensor, v: Tensor, index: Tensor, factor: int, causal: bool):
    b, h, n, d = q.shape
    u = min(factor * math.ceil(math.log(n)), n)
    each = torch.arange(n)[:, None]
    sampled = k[:, :, None].expand(b, h, n, n, d)[:, :, each, index]
    scores = (q[..., None, :] @ sampled.transpose(-2, -1))[..., 0, :]
    rows = (scores.max(-1)[0] - scores.sum(-1) / n).topk(u, sorted=False)[1]
    at = torch.arange(b)[:, None, None], torch.arange(h)[None, :, None], rows
    scores = q[at] @ k.transpose(-2, -1) / math.sqrt(d)
    if causal:
        scores = scores.masked_fill(torch.arange(n) > rows[..., None], -math.inf)
    weights = torch.softmax(scores, -1)
    out = v.cumsum(-2) if causal else v.mean(-2, keepdim=True).expand(b, h, n, d).clone()
    out = out.index_put(at, weights @ v)
    return out, torch.full_like(q @ k.transpose(-2, -1), 1 / n).index_put(at, weights)


def _positions(length: int, dim: int) -> Tensor:
    """Float32, as the official code builds it."""
    table = torch.zeros(length, dim, dtype=torch.float32)
    t = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * -(math.log(10000.0) / dim))
    table[:, 0::2], table[:, 1::2] = torch.sin(t * rate), torch.cos(t * rate)
    return table


def samples_for(given: dict[str, Any], lookback: int, seed: int = 0) -> list[Tensor]:
    """Sampled keys of every attention, as the official code would draw them."""
    generator = torch.Generator().manual_seed(seed)
    e_layers = given["e_layers"]
    lengths = []
    for i, depth in enumerate([e_layers] if isinstance(e_layers, int) else e_layers):
        n = lookback // 2**i
        for _ in range(depth):
            lengths.append(n)
            n = (n - 1) // 2 + 1 if given["distil"] else n
    lengths += [given["label_len"] + given["out_len"]] * given["d_layers"]
    found = []
    for n in lengths:
        count = min(given["factor"] * math.ceil(math.log(n)), n)
        found.append(torch.randint(n, (n, count), generator=generator))
    return found
