"""Gradients of latent marching, written out: block by block, hidden layers recomputed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.layers.tokenwise import token_blocks
from surform.operators.point_head import PointHead

__all__ = ["MarchGradient"]

_EPS = 1e-5  # of the LayerNorm
_gelu_backward = torch.ops.aten.gelu_backward
_norm_backward = torch.ops.aten.native_layer_norm_backward


class MarchGradient:
    """Sums of the gradients of [embeddings, scale, shift, up, bias, down, bias, *head], in place.

    `g`, the gradient of one sample's state (n, c), is carried from the last step to the first.
    """

    def __init__(self, head: PointHead, parameters: Sequence[Tensor]) -> None:
        self.head, self.parameters = head, parameters
        self.sums = [torch.zeros_like(p) for p in parameters]

    def step_back(
        self, g: Tensor, before: Tensor, after: Tensor, moments: Tensor, outer: Tensor, index: int
    ) -> None:
        """g: gradient of the state `after` without that of the frame read off it, whose gradient
        is `outer`; becomes the gradient of the state `before`."""
        blocks = list(token_blocks(len(before), before.shape[1], before.element_size()))
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (*moments, *self.parameters[7:10])]
            folded = self.head.fold(*leaves)
        maps = [t.detach() for t in folded]
        totals = [torch.zeros_like(t) for t in maps]
        for block in blocks:
            self._read(g[block], after[block], outer[block], maps, totals)
        dmean, dvariance, *rest = torch.autograd.grad(folded, leaves, totals)
        for total, part in zip(self.sums[7:10], rest, strict=True):
            total.add_(part)
        wide = after.shape[1] // len(dmean)
        slope = 2 * dvariance / (after.shape[0] * wide)
        offset = dmean / (after.shape[0] * wide) - slope * moments[0]
        slope, offset = slope.repeat_interleave(wide), offset.repeat_interleave(wide)
        for block in blocks:
            part = g[block].addcmul_(after[block], slope).add_(offset)
            self._step(part, before[block], index)

    def _read(
        self, g: Tensor, x: Tensor, outer: Tensor, maps: list[Tensor], totals: list[Tensor]
    ) -> None:
        """g += gradient of the head on rows x; `maps`: norm and first map as one."""
        groups = maps[0].shape[0]
        split = x.unflatten(1, (groups, -1)).transpose(0, 1)  # (g, n, i)
        mixed = torch.baddbmm(maps[1][:, None], split, maps[0])
        mixed = mixed.transpose(0, 1).flatten(1)
        *hidden, weight, _ = self.parameters[10:]
        *dhidden, dweight, dbias = self.sums[10:]
        active, raw = F.gelu(mixed), [mixed]
        inputs = []
        for linear in hidden:
            inputs.append(active)
            raw.append(active @ linear.t())
            active = F.gelu(raw[-1])
        dweight.addmm_(outer.t(), active)
        dbias += outer.sum(0)
        d = outer @ weight
        for linear, total in zip(reversed(hidden), reversed(dhidden), strict=True):
            d = _gelu_backward(d, raw.pop())
            total.addmm_(d.t(), inputs.pop())
            d = d @ linear
        d = _gelu_backward(d, raw.pop())
        totals[1] += d.sum(0).view_as(maps[1])
        d = d.unflatten(1, (groups, -1)).transpose(0, 1)
        totals[0].baddbmm_(split.transpose(1, 2), d)
        g.unflatten(1, (groups, -1)).transpose(0, 1).baddbmm_(d, maps[0].transpose(1, 2))

    def _step(self, g: Tensor, before: Tensor, index: int) -> None:
        """g, of the state after one step on these rows -> of the state before it."""
        embeddings, scale, shift, up, bias, down, _ = self.parameters[:7]
        dembeddings, dscale, dshift, dup, dbias, ddown, dlast = self.sums[:7]
        moved = before + embeddings[index]
        normal, mean, rstd = torch.native_layer_norm(moved, scale.shape, scale, shift, _EPS)
        raw = torch.addmm(bias, normal, up.t())
        ddown.addmm_(g.t(), F.gelu(raw))
        dlast += g.sum(0)
        d = _gelu_backward(g @ down, raw)
        dup.addmm_(d.t(), normal)
        dbias += d.sum(0)
        dmoved, first, second = _norm_backward(
            d @ up, moved, scale.shape, mean, rstd, scale, shift, [True, True, True]
        )
        dscale += first
        dshift += second
        g += dmoved
        dembeddings[index] += g.sum(0)
