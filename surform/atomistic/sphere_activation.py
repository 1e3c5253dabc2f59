"""Activations of equivariant features: on the grid of a sphere, or by gates.

Liao et al., "EquiformerV2", 2023 (arXiv 2306.12059), section 4.2. Values on the grid are hundreds
of times as many as coefficients; they live for a few edges at a time, in the processor's caches,
and are made again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from surform.layers.blocking import works_in_blocks

__all__ = ["gated", "on_the_sphere", "separable"]

_CACHED = 1 << 18  # numbers on the grid that are worked on at a time, on a CPU
_MOST = 1 << 25  # elsewhere


def on_the_sphere(
    x: Float[Tensor, "n r c"], forth: Float[Tensor, "g r"], back: Float[Tensor, "q g"]
) -> Float[Tensor, "n q c"]:
    """back SiLU(forth x): SiLU of the values on the grid, as coefficients."""
    forth, back = forth.to(x.dtype), back.to(x.dtype)  # x has autocast's, if any
    if torch.compiler.is_compiling():
        return back @ F.silu(forth @ x)
    return _OnTheSphere.apply(x, forth, back)  # type: ignore[no-any-return]


def separable(
    x: Float[Tensor, "n r c"],
    gate: Float[Tensor, "n c"],
    forth: Float[Tensor, "g r"],
    back: Float[Tensor, "q g"],
) -> Float[Tensor, "n q c"]:
    """SiLU of the gate for degree 0, `on_the_sphere` for the others."""
    return torch.cat((F.silu(gate)[:, None], on_the_sphere(x, forth, back[1:])), dim=1)


def gated(
    x: Float[Tensor, "n r c"], gates: Float[Tensor, "n lc"], degrees: Tensor
) -> Float[Tensor, "n r c"]:
    """SiLU for degree 0; every other degree times the sigmoid of its own gates.

    Args:
        gates: of degrees 1 ... lmax, channels innermost. degrees: of the rows, 0 once and first.
    """
    count = gates.shape[1] // x.shape[2]
    gates = torch.sigmoid(gates).view(x.shape[0], count, x.shape[2])[:, degrees[1:] - 1]
    return torch.cat((F.silu(x[:, :1]), x[:, 1:] * gates), dim=1)


class _OnTheSphere(torch.autograd.Function):
    """Keeps coefficients only; derivatives of every order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(x, forth, back)
        out = x.new_empty(x.shape[0], len(back), x.shape[2])
        for part in _parts(x, forth):
            torch.matmul(back, F.silu(forth @ x[part], inplace=True), out=out[part])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, forth, back = ctx.saved_tensors
        (grad,) = grads
        if torch.is_grad_enabled():  # to be differentiated again
            return _slope(x, grad, forth, back), None, None
        out = torch.empty_like(x)
        for part in _parts(x, forth):
            out[part] = _slope(x[part], grad[part], forth, back)
        return out, None, None


def _slope(x: Tensor, grad: Tensor, forth: Tensor, back: Tensor) -> Tensor:
    values = forth @ x
    share = torch.sigmoid(values)
    return forth.t() @ ((back.t() @ grad) * (share * (1 + values * (1 - share))))


def _parts(x: Tensor, forth: Tensor) -> list[slice]:
    most = _CACHED * torch.get_num_threads() if works_in_blocks(x) else _MOST
    step = max(1, most // max(1, len(forth) * x.shape[2]))
    return [slice(start, start + step) for start in range(0, x.shape[0], step)]
