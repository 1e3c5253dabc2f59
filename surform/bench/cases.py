"""The published sizes that `surform bench` measures, and a peer of the same task beside each."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surform.registry import create_model

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One model at one size.

    Args:
        model: registered name; arguments: of its constructor.
        grid: points per axis; batch: samples per call; channels: of the input.
        length: of the domain along each axis, for the coordinates.
        modes: Fourier modes per axis of the peer, neuraloperator's FNO of 4 layers, width 64.
    """

    model: str
    arguments: dict[str, Any]
    grid: tuple[int, ...]
    batch: int = 1
    channels: int = 1
    length: float = 1.0
    modes: int = 16
    paper: str = field(default="")

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return create_model(self.model, **self.arguments)

    def inputs(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Random fields in the layout of the model, and the coordinates."""
        steps = self.arguments.get("input_steps")
        frames = () if steps is None else (steps,)
        u = torch.randn(self.batch, *frames, *self.grid, self.channels)
        return u, tuple(torch.linspace(0, self.length, n) for n in self.grid)

    def peer(self) -> tuple[nn.Module, Tensor] | None:
        """neuraloperator's FNO with its input, or None where it is not installed."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from neuralop.models import FNO
        except ImportError:
            return None
        channels = self.channels * self.arguments.get("input_steps", 1)
        out = self.arguments.get("max_steps", 1) * self.arguments.get("out_channels", 1)
        fno = FNO(
            n_modes=(self.modes,) * len(self.grid),
            in_channels=channels,
            out_channels=out,
            hidden_channels=64,
            n_layers=4,
        )
        return fno, torch.randn(self.batch, channels, *self.grid)


_DARCY = {
    "dim": 128, "depth": 6, "heads": 4, "mlp_ratio": 2.0, "attention": "galerkin",
    "coarse_size": 43, "decoder": "spectral", "decoder_dim": 32, "decoder_depth": 2, "modes": 12,
}  # fmt: skip
_BURGERS = {
    "dim": 96, "depth": 4, "heads": 1, "mlp_ratio": 2.0, "attention": "fourier",
    "decoder": "spectral", "decoder_dim": 48, "decoder_depth": 2, "modes": 16,
}  # fmt: skip

CASES: dict[str, Case] = {
    "galerkin-burgers": Case("galerkin1d", _BURGERS, (2048,), batch=2),
    "galerkin-burgers-8192": Case("galerkin1d", _BURGERS | {"attention": "galerkin"}, (8192,)),
    "galerkin-darcy": Case("galerkin2d", _DARCY, (141, 141), modes=12),
    "factformer-darcy": Case("factformer2d_steady", {}, (141, 141), modes=12),
    "factformer-kolmogorov": Case(
        "factformer2d", {"input_steps": 10, "max_steps": 4}, (128, 128), length=6.2832, modes=32
    ),
    "ifactformer-channel": Case(
        "ifactformer",
        {"input_steps": 1, "out_channels": 3},
        (32, 33, 16),
        channels=3,
        length=4.0,
        modes=8,
    ),
}
