"""Mixtures of perceptrons by torch, in blocks of points that stay in the cache.

Shapes: x (n, c), gates (n, m) or None for a single expert, up (m, c, h), down (m, h, o).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.layers.scratch import scratch
from surform.layers.tokenwise import token_blocks

__all__ = ["ACTIVATIONS", "Activation", "BlockedMixture"]

_aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A function of numbers: `into(x, y)` writes its values at x to y, `slope_into(g, x, y)`
    multiplies g by its derivative at x, where its values are y."""

    function: Callable[[Tensor], Tensor]
    into: Callable[[Tensor, Tensor], object]
    slope_into: Callable[[Tensor, Tensor, Tensor], object]


ACTIVATIONS = {
    "gelu": Activation(
        F.gelu,
        lambda x, y: _aten.gelu.out(x, out=y),
        lambda g, x, y: _aten.gelu_backward.grad_input(g, x, grad_input=g),
    ),
    "relu": Activation(
        F.relu,
        lambda x, y: torch.clamp(x, min=0, out=y),
        lambda g, x, y: _aten.threshold_backward.grad_input(g, y, 0, grad_input=g),
    ),
    "tanh": Activation(
        torch.tanh,
        lambda x, y: torch.tanh(x, out=y),
        lambda g, x, y: _aten.tanh_backward.grad_input(g, y, grad_input=g),
    ),
    "sigmoid": Activation(
        torch.sigmoid,
        lambda x, y: torch.sigmoid(x, out=y),
        lambda g, x, y: _aten.sigmoid_backward.grad_input(g, y, grad_input=g),
    ),
}


class BlockedMixture:
    """sum_i g_i (down_i activation(up_i x)) of every row of x, and its gradients."""

    def __init__(
        self, activation: Activation, x: Tensor, gates: Tensor | None, weights: list[Tensor]
    ) -> None:
        self.activation, self.x, self.gates, self.weights = activation, x, gates, weights

    def forward(self, raw: Tensor | None) -> Tensor:
        """(n, o); raw (m, n, h), if given, takes what the activation is applied to."""
        up, up_bias, down, down_bias = self.weights
        out = self.x.new_empty(len(self.x), down.shape[2])
        for part, (own, hidden) in self._blocks(2):
            for i in range(len(up)):
                before = own if raw is None else raw[i, part]
                torch.addmm(up_bias[i], self.x[part], up[i], out=before)
                self.activation.into(before, hidden)
                self._add(out[part], hidden, down[i], down_bias[i], part, i)
        return out

    def backward(
        self, raw: Tensor | None, outer: Tensor
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Gradients of x, of the gates and of the weights; raw as `forward` filled it, or None."""
        up, up_bias, down, down_bias = self.weights
        sums = [torch.zeros_like(w) for w in self.weights]
        dx = torch.zeros_like(self.x)
        dgates = None if self.gates is None else torch.empty_like(self.gates)
        for part, (own, hidden, slope, product) in self._blocks(4):
            for i in range(len(up)):
                before = own if raw is None else raw[i, part]
                if raw is None:
                    torch.addmm(up_bias[i], self.x[part], up[i], out=before)
                self.activation.into(before, hidden)
                g = outer[part]
                torch.mm(g, down[i].t(), out=slope)
                if self.gates is not None and dgates is not None:
                    share = self.gates[part, i : i + 1]
                    along = torch.mul(hidden, slope, out=product).sum(-1)
                    dgates[part, i] = torch.addmv(along, g, down_bias[i])
                    g = g * share
                    slope.mul_(share)
                self.activation.slope_into(slope, before, hidden)
                sums[0][i].addmm_(self.x[part].t(), slope)
                sums[1][i] += slope.sum(0)
                sums[2][i].addmm_(hidden.t(), g)
                sums[3][i] += g.sum(0)
                dx[part].addmm_(slope, up[i].t())
        return dx, dgates, sums

    def _blocks(self, count: int) -> Iterator[tuple[slice, list[Tensor]]]:
        """Blocks of rows, each with `count` buffers of its hidden values."""
        hidden = self.weights[0].shape[2]
        for part in token_blocks(len(self.x), hidden, self.x.element_size()):
            yield part, scratch(self.x, *[(part.stop - part.start, hidden)] * count)

    def _add(
        self, out: Tensor, hidden: Tensor, down: Tensor, bias: Tensor, part: slice, i: int
    ) -> None:
        """out (+)= g_i (hidden down + bias); the first expert overwrites."""
        if self.gates is None:
            torch.addmm(bias, hidden, down, out=out)
            return
        share = self.gates[part, i : i + 1]
        if i == 0:
            torch.addmm(bias, hidden, down, out=out).mul_(share)
        else:
            out.addcmul_(torch.addmm(bias, hidden, down), share)
