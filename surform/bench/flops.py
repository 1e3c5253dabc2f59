"""The fewest operations that a model needs: its products in the cheapest order of association."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from torch import nn

from surform.operators.factformer import FactFormer2d, FactFormerSteady2d
from surform.operators.galerkin import GalerkinTransformer1d, GalerkinTransformer2d
from surform.operators.galerkin_scalers import downscale_sizes, upscale_sizes
from surform.operators.ifactformer import IFactFormer

__all__ = ["minimal_flops"]


def minimal_flops(net: nn.Module, batch: int, grid: Sequence[int]) -> int | None:
    """Floating-point operations of one forward pass of a model on fields of this grid.

    Products and convolutions only: Fourier transforms, norms and activations are not counted.
    None for a model, or options of it, whose count is not written down here.
    """
    if isinstance(net, GalerkinTransformer1d):
        return 2 * batch * _galerkin1d(net, grid[0])
    if isinstance(net, GalerkinTransformer2d):
        count = _galerkin2d(net, *grid)
        return None if count is None else 2 * batch * count
    if isinstance(net, (FactFormer2d, FactFormerSteady2d)):
        return 2 * batch * _factformer2d(net, *grid)
    if isinstance(net, IFactFormer):
        return 2 * batch * _ifactformer(net, grid)
    return None


def _weights(*modules: nn.Module) -> int:
    """Multiplications per point of all linear maps and convolutions inside."""
    inside = (part for module in modules for part in module.modules())
    maps = (part for part in inside if isinstance(part, (nn.Linear, nn.Conv2d)))
    return sum(part.weight.numel() for part in maps)


def _galerkin1d(net: GalerkinTransformer1d, n: int) -> int:
    return n * _weights(net.embed, net.decoder) + _mixing(net, n) + _spectra(net.decoder)


def _galerkin2d(net: GalerkinTransformer2d, n0: int, n1: int) -> int | None:
    given: dict[str, Any] = net.arguments  # type: ignore[assignment]
    coarse = given["coarse_size"]
    by_rule = given["down_sizes"] is None and given["up_sizes"] is None
    if {given["downscaler"], given["upscaler"]} != {"interp"} or not by_rule:
        return None
    pair = (coarse, coarse) if isinstance(coarse, int) else coarse
    down = math.prod(downscale_sizes(n, c)[0] for n, c in zip((n0, n1), pair, strict=True))
    up = math.prod(upscale_sizes(c, n)[0] for n, c in zip((n0, n1), pair, strict=True))
    first, *chain = cast(Any, net.downscaler).convs
    count = n0 * n1 * (_weights(first) + _weights(net.decoder))
    count += down * _weights(*chain) + up * _weights(cast(nn.Module, net.upscaler))
    return count + _mixing(net, math.prod(pair)) + _spectra(net.decoder)


def _mixing(net: GalerkinTransformer1d | GalerkinTransformer2d, tokens: int) -> int:
    """The encoder: its linear maps, and the two products of the attention."""
    given: dict[str, Any] = net.arguments  # type: ignore[assignment]
    width = given["dim"] // given["heads"] + given["position_channels"]
    other = tokens if given["attention"] == "softmax" else min(width, tokens)
    mixing = given["depth"] * given["heads"] * 2 * width * other
    return tokens * (_weights(net.encoder) + mixing)


def _spectra(decoder: nn.Module) -> int:
    """Complex products with the weights of the kept modes, four real ones each."""
    convs = cast(Any, getattr(decoder, "convs", ()))
    return sum(2 * conv.weight.numel() for conv in convs)


def _factformer2d(net: FactFormer2d | FactFormerSteady2d, n0: int, n1: int) -> int:
    """Pooling comes before the maps of the kernels, positions are encoded once and kept."""
    given: dict[str, Any] = net.arguments  # type: ignore[assignment]
    points = n0 * n1
    count = sum(_block(layer.block, (n0, n1), given) for layer in cast(Any, net.layers))
    count += points * _weights(net.lift)
    if isinstance(net, FactFormerSteady2d):
        half = math.ceil(n0 / 2) * math.ceil(n1 / 2)
        skip = half * _weights(net.skip.down) + points * _weights(net.skip.up)
        return count + skip + points * (_weights(net.head) + net.head.grouped.numel())
    marching = net.marching
    step = _weights(marching) + marching.head.grouped.numel()
    return count + points * (_weights(net.expand) + net.max_steps * step)


def _ifactformer(net: IFactFormer, grid: Sequence[int]) -> int:
    given: dict[str, Any] = net.arguments  # type: ignore[assignment]
    blocks = sum(_block(layer.block, grid, given) for layer in cast(Any, net.layers))
    ends = math.prod(grid) * _weights(net.lift, net.hidden, net.out)
    return given["iterations"] * blocks + ends


def _block(block: Any, grid: Sequence[int], given: dict[str, Any]) -> int:
    """One call of a factorised block; two linear maps in a row count as one."""
    maps = _weights(block.to_value, block.to_out, block.mlp_out, *block.second_mlp[1:])
    count = math.prod(grid) * (maps + sum(grid) * given["heads"] * given["head_dim"])
    for n, axis in zip(grid, block.axes, strict=True):
        count += n * (_weights(block.to_axes, axis) + n * axis.to_query.out_features)
    return count
