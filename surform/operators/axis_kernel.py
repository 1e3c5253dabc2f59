"""The n x n attention kernel of one axis of a grid, from features pooled over the others."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.rotary import period, rotary_angles, rotary_frequencies, rotate_halves
from surform.operators.native_axis_kernel import native_kernels, turns_natively

__all__ = ["AxisKernel"]


class AxisKernel(nn.Module):
    """Gated MLP on pooled features, then K = (rotary(z Wq)) (rotary(z Wk))^T * scaling per head.

    No softmax and no 1/n: entries grow with the features (FactFormer, Li et al. 2023, 2305.17560,
    section 3). scaling is 1/sqrt(head_dim * kernel_multiplier) when kernel_multiplier > 4.

    periodic: the angles are 0, 1, 2, ... turns per period, so that equal z give a convolution on
    the circle (ours; the paper turns by 64 x 10000^(-2j/width), which knows no period).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        latent_dim: int,
        kernel_multiplier: int = 3,
        scaling_factor: float = 1.0,
        rotary: bool = True,
        periodic: bool = False,
    ) -> None:
        super().__init__()
        width = head_dim * kernel_multiplier
        if rotary and width % 2:
            raise ValueError(
                f"head_dim * kernel_multiplier = {width} must be even for rotary positions"
            )
        self.heads, self.rotary, self.periodic = heads, rotary, periodic
        self.scaling = width**-0.5 if kernel_multiplier > 4 else scaling_factor
        self.pool = nn.Linear(dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.reduce = nn.Linear(dim, latent_dim)
        self.to_query = nn.Linear(latent_dim, heads * width, bias=False)
        self.to_key = nn.Linear(latent_dim, heads * width, bias=False)
        if rotary:
            self.register_buffer("frequencies", self._frequencies(width))
        for linear in (self.to_query, self.to_key):
            nn.init.xavier_uniform_(linear.weight, gain=0.02)

    def forward(
        self, pooled: Float[Tensor, "b n c"], coordinate: Float[Tensor, " n"]
    ) -> Float[Tensor, "b h n n"]:
        """pooled: bias-free linear features averaged over the other axes; coordinate: physical."""
        hidden, gate = self.gate(self.norm(self.pool(pooled))).chunk(2, dim=-1)
        z = self.reduce(F.gelu(hidden) * gate)
        angles = self._angles(coordinate) if self.rotary else None
        if turns_natively(z, self.to_query, self.to_key, self.heads, angles):
            weights = (self.to_query.weight, self.to_key.weight)
            return native_kernels(z, *weights, self.heads, self.scaling, angles)
        q = self.to_query(z).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (b, h, n, d)
        k = self.to_key(z).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if angles is not None:
            q, k = (rotate_halves(x, *angles).to(x.dtype) for x in (q, k))
        if q.dtype == torch.float16:  # the sums are not normalised and would overflow
            with torch.autocast(q.device.type, enabled=False):
                return (q.float() * self.scaling) @ k.float().transpose(-2, -1)
        return (q * self.scaling) @ k.transpose(-2, -1)

    def _frequencies(self, width: int) -> Tensor:
        if self.periodic:
            return torch.arange(width // 2, dtype=torch.float32)
        return rotary_frequencies(width)

    def _angles(self, coordinate: Tensor) -> tuple[Tensor, Tensor]:
        frequencies = self.get_buffer("frequencies")
        if frequencies.itemsize < 4:  # rounded with the model; angles need their digits
            frequencies = self._frequencies(2 * len(frequencies)).to(frequencies.device)
        if not self.periodic:
            return rotary_angles(coordinate, frequencies)
        phase = 2 * math.pi / period(coordinate) * (coordinate - coordinate[0])
        return rotary_angles(phase, frequencies, scale=1.0)
