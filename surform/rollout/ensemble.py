"""Several rollouts from one start: perturbed initial conditions, several models, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surform.rollout.stepping import Correct, rollout

__all__ = ["Ensemble", "rollout_members"]


@dataclass(frozen=True)
class Ensemble:
    """Members per model: copies of the initial window plus white noise.

    Args:
        members: how many copies each model starts from.
        noise: standard deviation of the noise over that of each variable in the window.
        seed: the same seed, sample and member give the same noise, whatever the batch size.
    """

    members: int = 8
    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"an ensemble needs at least one member, not {self.members}")
        if self.noise < 0:
            raise ValueError(f"the noise of an ensemble must not be negative: {self.noise}")

    def perturb(self, inputs: Tensor, channels: int, first_sample: int = 0) -> Tensor:
        """`(B * members, ...)`, members of a sample side by side; the first channels get noise."""
        copies = inputs.repeat_interleave(self.members, dim=0)
        if self.noise == 0:
            return copies
        state = inputs[..., :channels]
        dims = tuple(range(1, inputs.ndim - 1))
        scale = self.noise * state.std(dims, keepdim=True).repeat_interleave(self.members, dim=0)
        noise = [self._noise(state[b], first_sample + b) for b in range(len(inputs))]
        copies[..., :channels] += scale * torch.cat(noise).to(copies)
        return copies

    def _noise(self, like: Tensor, sample: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + sample)
        return torch.randn(self.members, *like.shape, generator=generator)


def rollout_members(
    models: Sequence[Callable[..., Tensor]],
    inputs: Tensor,
    coordinates: tuple[Tensor, ...],
    steps: int,
    samples: int,
    correct: Correct | None = None,
) -> Iterator[Tensor]:
    """Yield frames `(B, M, *grid, C_out)`: every model from every perturbed copy, in lockstep."""
    runs = [rollout(model, inputs, coordinates, steps, correct=correct) for model in models]
    for frames in zip(*runs, strict=True):
        yield torch.cat([frame.unflatten(0, (samples, -1)) for frame in frames], dim=1)
