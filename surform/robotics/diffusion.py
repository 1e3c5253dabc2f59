"""Denoising diffusion of action chunks: a squared-cosine schedule and tabulated DDIM steps.

Ho et al., "Denoising Diffusion Probabilistic Models", 2020 (arXiv 2006.11239); Nichol and Dhariwal,
2021 (arXiv 2102.09672), equation 17; Song et al., "Denoising Diffusion Implicit Models", 2021
(arXiv 2010.02502), equation 12 with eta = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surform.layers.checks import at_least, one_of

__all__ = ["Diffusion", "Predicts", "StepTable"]

Predicts = Literal["noise", "actions"]

_MOST_BETA = 0.999
_OFFSET = 0.008  # keeps the first betas from vanishing

# of each step: how much noise and signal there are before it, how much signal and noise after it
StepTable = tuple[tuple[float, float, float, float], ...]


class Diffusion:
    """Clean actions lie in [-1, 1] and are clipped to it in every step.

    The schedule is held in float32, in which published policies were trained.

    Args:
        steps: of training; time 0 is the least noisy one.
        predicts: what networks estimate: the noise, or the clean actions (Salimans and Ho,
            2022, arXiv 2202.00512, section 4).
    """

    def __init__(self, steps: int = 100, predicts: Predicts = "noise") -> None:
        at_least(1, diffusion_steps=steps)
        one_of("predicts", predicts, ("noise", "actions"))
        self.steps, self.predicts = steps, predicts
        betas = [
            min(1 - _signal((i + 1) / steps) / _signal(i / steps), _MOST_BETA) for i in range(steps)
        ]
        kept = 1 - torch.tensor(betas, dtype=torch.float32, device="cpu")
        self.alphas_cumprod: Float[Tensor, " t"] = kept.cumprod(0)
        # plain floats, so that no sampling step waits for a device; their roots are rounded to
        # float32, too, as in the sampler that published policies run with
        self._signals: list[float] = self.alphas_cumprod.sqrt().tolist()
        self._noises: list[float] = (1 - self.alphas_cumprod).sqrt().tolist()

    def add_noise(
        self,
        actions: Float[Tensor, "b c a"],
        noise: Float[Tensor, "b c a"],
        time: Int[Tensor, " b"],
    ) -> Float[Tensor, "b c a"]:
        """Actions as they are at the times, 0 .. steps - 1.

        Raises:
            ValueError: noise of another shape, other times, or not one for each chunk.
        """
        if noise.shape != actions.shape or time.shape != actions.shape[:1]:
            raise ValueError(
                f"noise of shape {tuple(noise.shape)} and times of shape {tuple(time.shape)} do "
                f"not fit actions of shape {tuple(actions.shape)}"
            )
        if time.device.type == "cpu" and not torch.compiler.is_compiling():  # waits for no GPU
            wrong = time[(time < 0) | (time >= self.steps)]
            if len(wrong):
                raise ValueError(f"a time is {wrong[0]}, but must be 0 to {self.steps - 1}")
        kept = self.alphas_cumprod.to(actions.device, actions.dtype)[time][:, None, None]
        return kept.sqrt() * actions + (1 - kept).sqrt() * noise

    def target(
        self, actions: Float[Tensor, "b c a"], noise: Float[Tensor, "b c a"]
    ) -> Float[Tensor, "b c a"]:
        """What the network is to say of the actions with this noise."""
        return noise if self.predicts == "noise" else actions

    def times(self, count: int) -> list[int]:
        """The times of so many sampling steps, evenly spaced, noisiest first, down to 0.

        Raises:
            ValueError: fewer than one, or more steps than in training.
        """
        at_least(1, sampling_steps=count)
        if count > self.steps:
            raise ValueError(
                f"sampling_steps is {count}, but there are {self.steps} steps in training: take at "
                "most so many"
            )
        stride = self.steps // count
        return [stride * i for i in reversed(range(count))]

    def table(self, count: int) -> StepTable:
        """The numbers of each sampling step."""
        before = [(self._noises[time], self._signals[time]) for time in self.times(count)]
        after = [(signal, noise) for noise, signal in before[1:]] + [(1.0, 0.0)]
        return tuple((*a, *b) for a, b in zip(before, after, strict=True))

    def sample(
        self,
        estimate: Callable[[Tensor, int], Tensor],
        start: Float[Tensor, "b c a"],
        count: int,
    ) -> Float[Tensor, "b c a"]:
        """Actions from pure noise, without further randomness.

        Args:
            estimate: (noisy actions, number of the step) -> the noise in them, or the clean ones.
            start: standard normal numbers.
            count: how many steps.
        """
        x = start
        for step, (noisy, signal, signal_after, noisy_after) in enumerate(self.table(count)):
            found = estimate(x, step)
            if self.predicts == "noise":
                noise, clean = found, (x - noisy * found) / signal
            else:
                noise, clean = (x - signal * found) / noisy, found
            x = signal_after * clean.clamp(-1.0, 1.0) + noisy_after * noise
        return x


def _signal(share: float) -> float:
    """How much of the signal's power is left after a share of the steps."""
    return math.cos((share + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2
