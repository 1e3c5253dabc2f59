"""Attention of the Galerkin Transformer: norms per head, coordinates in every head."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform import attention

__all__ = ["ATTENTION_KINDS", "GalerkinAttention"]

ATTENTION_KINDS = ("galerkin", "linear", "fourier", "softmax")
_LINEAR_KINDS = ("galerkin", "linear")


class HeadNorm(nn.Module):
    """Norm of (b, n, heads, width) with weights of its own for every head.

    kind "layer" normalises the features of each token, "instance" each feature over the tokens.
    """

    def __init__(self, heads: int, width: int, kind: str, eps: float) -> None:
        super().__init__()
        self.kind, self.eps = kind, eps
        self.weight = nn.Parameter(torch.ones(heads, width))
        self.bias = nn.Parameter(torch.zeros(heads, width))

    def forward(self, x: Float[Tensor, "b n h d"]) -> Float[Tensor, "b n h d"]:
        if self.kind == "instance":
            var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
            return torch.addcmul(self.bias, (x - mean) * torch.rsqrt(var + self.eps), self.weight)
        heads, width = self.weight.shape
        if heads == 1:
            return F.layer_norm(x, (width,), self.weight[0], self.bias[0], self.eps)
        return torch.addcmul(self.bias, F.layer_norm(x, (width,), eps=self.eps), self.weight)


class GalerkinAttention(nn.Module):
    """Self-attention whose heads see the coordinates of the nodes (Cao 2021, section 3).

    kind: "galerkin" q (k^T v) / n, "linear" the same after softmaxes of q over features and of k
        over tokens, "fourier" (q k^T) v / (sqrt(width) n), "softmax" the classic one.
    position_channels: raw coordinates put in front of every head of q, k and v after the norms;
        with 0 there are none, and then no output projection either.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kind: str,
        position_channels: int,
        head_norm: str | None,
        norm_eps: float,
        score_dropout: float,
        legacy_score_dropout: bool,
    ) -> None:
        super().__init__()
        self.heads, self.kind, self.layer_norms = heads, kind, head_norm == "layer"
        self.score_dropout, self.legacy_score_dropout = score_dropout, legacy_score_dropout
        self.qkv = nn.Linear(dim, 3 * dim)

        def norm(wanted: bool) -> nn.Module:
            if head_norm is None or not wanted:
                return nn.Identity()
            return HeadNorm(heads, dim // heads, head_norm, norm_eps)

        self.query_norm = norm(kind not in _LINEAR_KINDS)
        self.key_norm = norm(True)
        self.value_norm = norm(kind in _LINEAR_KINDS)
        self.out = nn.Linear(dim + heads * position_channels, dim) if position_channels else None

    def reset_parameters(self, gain: float, diagonal: float, symmetric: bool) -> None:
        """Xavier-uniform with a small gain plus a multiple of the identity; gain 0: torch's own."""
        if gain <= 0:
            return
        with torch.no_grad():
            for weight in self.qkv.weight.chunk(3):
                nn.init.xavier_uniform_(weight, gain=gain)
                weight.diagonal().add_(diagonal)
                if symmetric:
                    weight.add_(weight.T.clone())
            self.qkv.bias.zero_()

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        positions: Float[Tensor, "b n p"] | None = None,
        weight: Tensor | None = None,
        score_mask: Tensor | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Args: weight scales the inputs of q and k; score_mask multiplies the scores."""
        q, k, v = self._project(x, weight)  # 3 x (b, n, h, d)
        if self.kind == "galerkin" and self.layer_norms:
            mixed = self._mix_normalized(q, k, v, positions, score_mask)
        else:
            mixed = self._mix_written(q, k, v, positions, score_mask)
        mixed = mixed.transpose(1, 2).flatten(2)  # (b, n, h (p + d))
        return mixed if self.out is None else self.out(mixed)

    def _mix_normalized(
        self, q: Tensor, k: Tensor, v: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Norms and coordinates inside of the attention, which need not write them out."""
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (b, h, n, d)
        x = None if self.out is None or positions is None else positions.to(q.dtype)
        norm_k, norm_v = cast(HeadNorm, self.key_norm), cast(HeadNorm, self.value_norm)
        p = 0 if x is None else x.shape[2]
        return attention.normalized_linear(
            q,
            k,
            v,
            norm_k=(norm_k.weight, norm_k.bias),
            norm_v=(norm_v.weight, norm_v.bias),
            eps=norm_k.eps,
            coordinates=x,
            score_dropout=self._random_mask(q, p + k.shape[3], p + v.shape[3])
            if mask is None
            else mask,
        )

    def _mix_written(
        self, q: Tensor, k: Tensor, v: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        q, k, v = self.query_norm(q), self.key_norm(k), self.value_norm(v)
        if self.out is not None and positions is not None:
            front = positions[:, :, None].expand(-1, -1, self.heads, -1)
            q, k, v = (torch.cat((front.to(t.dtype), t), dim=-1) for t in (q, k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (b, h, n, p + d)
        if mask is None:
            linear = self.kind in _LINEAR_KINDS
            sizes = (k.shape[3], v.shape[3]) if linear else (q.shape[2], k.shape[2])
            mask = self._random_mask(q, *sizes)
        return self._mix(q, k, v, mask)

    def _project(self, x: Tensor, weight: Tensor | None) -> list[Tensor]:
        scaled = x if weight is None else weight * x
        # Three products of one stored matrix: what the norms read is then contiguous.
        maps = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        tokens = (F.linear(t, *map) for t, map in zip((scaled, scaled, x), maps, strict=True))
        return [t.unflatten(-1, (self.heads, -1)) for t in tokens]

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if self.kind == "linear":
            q, k = q.softmax(dim=-1), k.softmax(dim=-2)
        if self.kind in _LINEAR_KINDS:
            return attention.linear(q, k, v, normalizer="length", score_dropout=mask)
        if mask is not None:
            return _masked_scores(q, k, self.kind == "softmax") * mask @ v
        if self.kind == "fourier":
            return attention.fourier(q, k, v)
        return attention.softmax(q, k, v)

    def _random_mask(self, q: Tensor, rows: int, columns: int) -> Tensor | None:
        p = 0.5 if self.legacy_score_dropout else self.score_dropout * self.training
        return F.dropout(q.new_ones(*q.shape[:2], rows, columns), p, training=True) if p else None


def _masked_scores(q: Tensor, k: Tensor, softmax: bool) -> Tensor:
    """All n x n scores, for dropout on them: no factored form exists then."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.softmax(dim=-1) if softmax else scores / k.shape[-2]
