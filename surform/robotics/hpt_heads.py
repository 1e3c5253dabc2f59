"""Heads of HPT: a chunk of normalised actions from the trunk's features.

Wang et al., 2024 (arXiv 2409.20537); official code liruiw/HPT@549433f.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surform.layers.checks import at_least, fraction
from surform.robotics.action_unet import ActionUNet
from surform.robotics.diffusion import Diffusion
from surform.robotics.hpt_stem import Queries

__all__ = ["DecoderHead", "DiffusionHead", "MLPHead"]

Mask = Bool[Tensor, "b t"] | None

_BETA = 0.05  # below it, errors count squared


class MLPHead(nn.Module):
    """Maps of each feature vector alone: (..., dim) -> (..., out)."""

    def __init__(
        self, dim: int, out: int, hidden: Sequence[int], tanh: bool, dropout: float, norm: bool
    ) -> None:
        super().__init__()
        fraction(head_dropout=dropout)
        if not hidden:
            raise ValueError("head_hidden is empty, but must name at least one width")
        at_least(1, **{f"head_hidden[{i}]": each for i, each in enumerate(hidden)})
        layers: list[nn.Module] = [nn.Linear(dim, hidden[0]), nn.SiLU()]
        for before, after in itertools.pairwise(hidden):
            layers.append(nn.Linear(before, after))
            layers += [nn.Dropout(dropout)] if dropout else []
            layers += [nn.LayerNorm(after)] if norm else []
            layers.append(nn.SiLU())
        layers.append(nn.Linear(hidden[-1], out))
        self.net = nn.Sequential(*layers, *([nn.Tanh()] if tanh else []))

    def forward(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b o"]:
        return self.net(features)

    def loss(
        self, features: Tensor, target: Float[Tensor, "b t a"], mask: Mask = None
    ) -> Float[Tensor, ""]:
        """Smooth L1 of normalised actions that count."""
        return chunk_error(self(features), target, mask)


class DecoderHead(nn.Module):
    """One learned query for each action attends to all tokens: (b, n, dim) -> (b, horizon, out)."""

    def __init__(
        self, dim: int, out: int, horizon: int, heads: int, head_dim: int, dropout: float
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.context = nn.Sequential(nn.Linear(dim, inner), nn.SiLU(), nn.Linear(inner, out))
        self.queries = Queries(horizon, out, out, heads, head_dim, dropout)

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b t a"]:
        return self.queries(self.context(features))

    def loss(
        self, features: Tensor, target: Float[Tensor, "b t a"], mask: Mask = None
    ) -> Float[Tensor, ""]:
        """Smooth L1 of normalised actions that count."""
        return chunk_error(self(features), target, mask)


class DiffusionHead(nn.Module):
    """Actions denoised by a U-Net that is told the pooled features: (b, dim) -> (b, horizon, a)."""

    def __init__(self, net: ActionUNet, diffusion: Diffusion, shape: tuple[int, int], steps: int):
        super().__init__()
        diffusion.times(steps)  # says what is wrong with their number
        net.check_length(shape[0])
        self.net, self.diffusion, self.shape, self.steps = net, diffusion, shape, steps

    def forward(
        self, features: Float[Tensor, "b d"], start: Float[Tensor, "b t a"] | None = None
    ) -> Float[Tensor, "b t a"]:
        """start: standard normal numbers, instead of drawn ones."""
        if start is not None and start.shape != (features.shape[0], *self.shape):
            raise ValueError(
                f"start has shape {tuple(start.shape)}, but must be {(len(features), *self.shape)}"
            )
        if start is None:
            start = features.new_empty(features.shape[0], *self.shape).normal_()
        times = self.diffusion.times(self.steps)

        def noise_of(x: Tensor, step: int) -> Tensor:
            return self.net(x, torch.full((x.shape[0],), times[step], device=x.device), features)

        return self.diffusion.sample(noise_of, start, self.steps)

    def loss(
        self,
        features: Float[Tensor, "b d"],
        target: Float[Tensor, "b t a"],
        mask: Mask = None,
        noise: Float[Tensor, "b t a"] | None = None,
        time: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean squared error of the noise; `noise` and `time` instead of drawn ones."""
        noise = torch.randn_like(target) if noise is None else noise
        if time is None:
            time = torch.randint(self.diffusion.steps, (len(target),), device=target.device)
        noisy = self.diffusion.add_noise(target, noise, time)
        return _mean(F.mse_loss(self.net(noisy, time, features), noise, reduction="none"), mask)


def chunk_error(found: Tensor, target: Tensor, mask: Mask = None) -> Tensor:
    """Smooth L1 over all numbers of the actions that count, whichever of them share an axis."""
    found = found.reshape(target.shape)
    return _mean(F.smooth_l1_loss(found, target, beta=_BETA, reduction="none"), mask)


def _mean(errors: Tensor, mask: Mask) -> Tensor:
    if mask is None:
        return errors.mean()
    if mask.dtype != torch.bool or mask.shape != errors.shape[:2]:
        raise ValueError(
            f"the mask is {mask.dtype} of shape {tuple(mask.shape)}, but must be bool (True = "
            f"counts) of shape {tuple(errors.shape[:2])}"
        )
    weight = mask[..., None].to(errors.dtype)
    return (errors * weight).sum() / (weight.sum() * errors.shape[-1]).clamp(min=1)
