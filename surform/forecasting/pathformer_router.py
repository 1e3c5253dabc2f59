"""Pathformer's multi-scale router: which patch sizes a sample takes, and how much of each.

Noisy top-k gating as in Shazeer et al., "Outrageously Large Neural Networks" (2017), arXiv
1701.06538, section 3 and appendix A, on the series plus its seasonality and trend.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.forecasting.pathformer_decomposition import Trend, seasonality

__all__ = ["Router", "Routes"]

NOISE_FLOOR = 1e-2
BALANCE = 1e-2


class Routes(NamedTuple):
    """Who goes where; e experts, k of them per sample.

    experts: (b, k) int64; log_gates: (b, k), logarithms of positive numbers that sum to 1; load:
    (e,), samples per expert (expected ones in training); penalty: scalar, what imbalance costs.
    """

    experts: Tensor
    log_gates: Tensor
    load: Tensor
    penalty: Tensor

    def dense(self, experts: int) -> Float[Tensor, "b e"]:
        """The gates with zeros for the experts that a sample does not take."""
        zeros = self.log_gates.new_zeros(len(self.log_gates), experts)
        return zeros.scatter(1, self.experts, self.log_gates.exp())


class Router(nn.Module):
    """Chooses `top_k` of `experts`, or all of fewer, for each sample from series (l, v, b).

    The series may have any scale. Computes in float32 at least: a routing that rounding decides is
    none.
    """

    def __init__(self, lookback: int, variates: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.experts, self.top_k = experts, min(top_k, experts)
        self.trend = Trend()
        self.merge = nn.Linear(variates, 1)
        self.gate = nn.Linear(lookback, experts)
        self.noise = nn.Linear(lookback, experts)

    def forward(
        self, s: Float[Tensor, "l v b"], noise: Float[Tensor, "b e"] | None = None
    ) -> Routes:
        """noise: standard normal numbers in place of drawn ones (training only)."""
        with torch.autocast(s.device.type, enabled=False):
            s = s.to(torch.promote_types(s.dtype, torch.float32))
            return self._route(s, noise)

    def _route(self, s: Tensor, noise: Tensor | None) -> Routes:
        mixed = s + seasonality(s) + self.trend(s)
        weight = self.merge.weight.to(s.dtype)
        g = torch.einsum("lvb,v->bl", mixed, weight[0]) + self.merge.bias.to(s.dtype)
        clean = _linear(self.gate, g)
        if not self.training:
            return self._routes(clean, None, None)
        deviation = F.softplus(_linear(self.noise, g)) + NOISE_FLOOR
        noise = torch.randn_like(clean) if noise is None else noise.to(clean)
        return self._routes(clean, clean + noise * deviation, deviation)

    def _routes(self, clean: Tensor, noisy: Tensor | None, deviation: Tensor | None) -> Routes:
        logits = clean if noisy is None else noisy
        top, chosen = logits.topk(min(self.top_k + 1, self.experts), dim=1)
        experts = chosen[:, : self.top_k]
        log_gates = torch.log_softmax(top[:, : self.top_k], dim=1)
        gates = torch.zeros_like(logits).scatter(1, experts, log_gates.exp())
        if noisy is None or deviation is None or self.top_k == self.experts:
            load = (gates > 0).sum(0)
        else:
            load = _expected_load(clean, noisy, deviation, top, self.top_k)
        penalty = BALANCE * (squared_variation(gates.sum(0)) + squared_variation(load.to(gates)))
        return Routes(experts, log_gates, load, penalty)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _expected_load(
    clean: Tensor, noisy: Tensor, deviation: Tensor, top: Tensor, top_k: int
) -> Float[Tensor, " e"]:
    """Samples per expert if their noise were drawn again, all others' noise as it is."""
    last_in, first_out = top[:, top_k - 1 : top_k], top[:, top_k : top_k + 1]
    threshold = torch.where(noisy > first_out, first_out, last_in)
    z = (clean - threshold) / deviation
    return (0.5 * (1 + torch.erf(z / math.sqrt(2)))).sum(0)


def squared_variation(x: Float[Tensor, " e"]) -> Float[Tensor, ""]:
    """Squared coefficient of variation, unbiased variance; 0 for a single number."""
    if x.numel() == 1:
        return x.new_zeros(())
    return x.var() / (x.mean().square() + 1e-10)
