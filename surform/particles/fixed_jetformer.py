"""JetFormer in fixed-point numbers, emulated: what a circuit of so many bits would answer.

Weights, biases and the results of every operation are numbers of `ap_fixed` types. Batch norms are
folded into maps beforehand, as for hardware. Every channel of a tensor, and every row of a weight,
has its own bits before the binary point, which `calibrate` reads off jets; what is added up inside
a product of matrices is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.multihead import merge_heads, split_heads
from surform.particles.fixed_point import FixedPoint
from surform.particles.jetformer import Activation, JetBlock, JetFormer, Norm

__all__ = ["FixedJetFormer", "Quantizer"]

_CANDIDATES = range(-8, 13)  # bits before the point
_LOOKED_AT = 2**18  # numbers of a tensor


class Quantizer(nn.Module):
    """Rounds one tensor; its bits before the point are a buffer, found by looking at numbers.

    Args:
        width: bits.
        shape: of the bits before the point, which broadcasts against the tensor: () is one type
            for all of it, (c,) one for each channel, (r, 1) one for each row of a weight.
        signed: whether there are negative numbers.
    """

    integer: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        rounding: str,
        overflow: str,
        signed: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("integer", torch.zeros(shape, dtype=torch.int64))
        # ap_fixed<W, I> is ap_fixed<W, 0> times 2^I
        self.unit = FixedPoint(width, 0, rounding, overflow, signed=signed)
        self._errors: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._errors is not None:
            self._look(x.detach(), self._errors)
        return self._at(self.integer, self.unit, x)

    def types(self) -> tuple[FixedPoint, ...]:
        """The types of its numbers, of all channels or rows in order."""
        return tuple(replace(self.unit, integer=int(i)) for i in self.integer.flatten())

    def look(self, now: bool) -> None:
        """Begin to look at the numbers that come, or end it."""
        count = len(_CANDIDATES)
        self._errors = self.integer.new_zeros(count, *self.integer.shape).double() if now else None

    def _look(self, x: Tensor, errors: Tensor) -> None:
        """Take the bits of the least squared error so far: a few cut numbers for finer steps."""
        if self.integer.ndim < 2 and x.ndim > 2:  # some jets tell enough
            x = x[: max(1, _LOOKED_AT * len(x) // x.numel())]
        saturating = replace(self.unit, overflow="AP_SAT")
        for place, integer in enumerate(_CANDIDATES):
            tried = self._at(torch.full_like(self.integer, integer), saturating, x)
            errors[place] += (tried - x).double().square().sum_to_size(self.integer.shape)
        candidates = torch.tensor(_CANDIDATES, device=self.integer.device)
        self.integer.copy_(candidates[errors.argmin(0)])

    @staticmethod
    def _at(integer: Tensor, unit: FixedPoint, x: Tensor) -> Tensor:
        scale = torch.exp2(integer.to(x.dtype))
        return unit.quantize(x / scale) * scale


class _FixedBlock(nn.Module):
    """The types of one block, by the names of its tensors."""

    def __init__(self, dim: int, weights: dict[str, Any], activations: dict[str, Any]) -> None:
        super().__init__()
        rows = {"qkv_weight": 3 * dim, "out_weight": dim, "up_weight": 2 * dim, "down_weight": dim}
        shapes: dict[str, tuple[int, ...]] = {name: (count, 1) for name, count in rows.items()}
        shapes |= {"qkv_bias": (3 * dim,), "out_bias": (dim,), "up_bias": (2 * dim,)}
        shapes |= {"scale": (dim,), "shift": (dim,)}
        self.weights = nn.ModuleDict({n: Quantizer(s, **weights) for n, s in shapes.items()})
        channels = {"qkv": 3 * dim, "hidden": 2 * dim}
        channels |= dict.fromkeys(("mixed", "out", "sum", "normed", "inner", "down", "end"), dim)
        self.results = nn.ModuleDict(
            {n: Quantizer((count,), **activations) for n, count in channels.items()}
        )
        self.results["scores"] = Quantizer((), **activations)
        self.shares = Quantizer((), **activations, signed=False)  # of attention, 0 to 1


class FixedJetFormer(JetFormer):
    """JetFormer whose numbers are fixed-point ones; to train with, or to see what bits cost.

    The network of "JetFormer", 2026 (arXiv 2601.17215), which is made for circuits. Gradients pass
    through the rounding, so that it can be trained as it is (quantisation-aware).

    Args:
        norm: "batch" or "none", which fold into the maps beside them.
        weight_width: bits of weights and biases.
        activation_width: bits of everything else.
        rounding: of `FixedPoint`: AP_RND, AP_RND_CONV, AP_RND_ZERO, AP_TRN, AP_TRN_ZERO.
        overflow: AP_SAT, AP_SAT_ZERO or AP_WRAP.
        others: as in `JetFormer`.
    """

    @record_arguments
    def __init__(
        self,
        in_channels: int = 16,
        num_classes: int = 5,
        dim: int = 128,
        depth: int = 4,
        heads: int = 2,
        activation: Activation = "relu",
        norm: Norm = "batch",
        dropout: float = 0.0,
        mask_padding: bool = False,
        weight_width: int = 8,
        activation_width: int = 8,
        rounding: str = "AP_RND",
        overflow: str = "AP_SAT",
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            num_classes=num_classes,
            dim=dim,
            depth=depth,
            heads=heads,
            activation=activation,
            norm=norm,
            dropout=dropout,
            mask_padding=mask_padding,
        )
        if norm == "layer":
            raise ValueError("norm is 'layer', which does not fold into maps: take batch or none")
        modes = {"rounding": rounding, "overflow": overflow}
        weights, results = {"width": weight_width, **modes}, {"width": activation_width, **modes}
        self.fixed = nn.ModuleList(_FixedBlock(dim, weights, results) for _ in range(depth))
        shapes: dict[str, tuple[int, ...]] = {"cls_token": (dim,), "head_bias": (num_classes,)}
        shapes |= {"embedding_weight": (dim, 1), "head_weight": (num_classes, 1)}
        shapes |= {"embedding_bias": (dim,)}
        self.ends = nn.ModuleDict({n: Quantizer(s, **weights) for n, s in shapes.items()})
        channels = {"input": in_channels, "embedding": dim, "logits": num_classes}
        self.results = nn.ModuleDict(
            {n: Quantizer((count,), **results) for n, count in channels.items()}
        )

    def forward(
        self, x: Float[Tensor, "b p f"], keep: Bool[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b k"]:
        """Logits, from numbers of the given types; batch norms use the statistics they have."""
        self._check(x, keep)
        ends, results = self.ends, self.results
        weight, bias = self.embedding.weight, self.embedding.bias
        tokens = F.linear(
            results["input"](x), ends["embedding_weight"](weight), ends["embedding_bias"](bias)
        )
        tokens = results["embedding"](tokens)
        first = ends["cls_token"](self.cls_token).expand(x.shape[0], -1, -1)
        h, kept = torch.cat((first, tokens), 1), self.kept(keep)
        for block, fixed in zip(self.blocks, self.fixed, strict=True):
            h = _block(block, fixed, h, kept)  # type: ignore[arg-type]
        weight, bias = _folded(self.norm, self.head.weight, self.head.bias)
        h = F.linear(h[:, 0], ends["head_weight"](weight), ends["head_bias"](bias))
        return results["logits"](h)

    def train(self, mode: bool = True) -> FixedJetFormer:
        """As for every module; batch norms keep the statistics that were folded."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def types(self) -> dict[str, tuple[FixedPoint, ...]]:
        """The types of every tensor, by the quantizer's name: one, or one for each channel."""
        return {n: m.types() for n, m in self.named_modules() if isinstance(m, Quantizer)}

    @contextmanager
    def calibrate(self) -> Iterator[None]:
        """Calls in this context set the bits before the point to what their numbers need."""
        quantizers = [m for m in self.modules() if isinstance(m, Quantizer)]
        for each in quantizers:
            each.look(True)
        try:
            yield
        finally:
            for each in quantizers:
                each.look(False)


def _block(block: JetBlock, fixed: _FixedBlock, h: Tensor, keep: Tensor | None) -> Tensor:
    weights, results = fixed.weights, fixed.results
    weight, bias = _folded(block.norm, block.qkv.weight, None)
    qkv = F.linear(h, weights["qkv_weight"](weight), weights["qkv_bias"](bias))
    q, k, v = split_heads(results["qkv"](qkv), 3, block.heads)
    scores = results["scores"](q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5)
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None, :], float("-inf"))
    mixed = results["mixed"](merge_heads(fixed.shares(scores.softmax(-1)) @ v))
    out, bias = weights["out_weight"](block.out.weight), weights["out_bias"](block.out.bias)
    h = results["sum"](h + results["out"](F.linear(mixed, out, bias)))
    scale, shift = _affine(block.norm1, h.shape[-1], h)
    normed = results["normed"](h * weights["scale"](scale) + weights["shift"](shift))
    inner = results["inner"](block.activate(normed))
    weight, bias = _folded_after(block.norm2, block.up.weight)
    hidden = F.linear(inner, weights["up_weight"](weight), weights["up_bias"](bias))
    hidden = results["hidden"](block.activate(hidden))
    down = results["down"](F.linear(hidden, weights["down_weight"](block.down.weight)))
    return block.dropout(results["end"](h + down))


def _affine(norm: Any, dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """What a norm does with fixed statistics; nothing where there is none."""
    fixed = norm.as_map()
    return (like.new_ones(dim), like.new_zeros(dim)) if fixed is None else fixed


def _folded(norm: Any, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a map behind a norm."""
    scale, shift = _affine(norm, weight.shape[1], weight)
    moved = weight @ shift
    return weight * scale, moved if bias is None else bias + moved


def _folded_after(norm: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a map before a norm."""
    scale, shift = _affine(norm, weight.shape[0], weight)
    return weight * scale[:, None], shift
