"""Diffusion policy with a U-Net along the chunk, beside the same observations as DiT's.

Chi et al., "Diffusion Policy: Visuomotor Policy Learning via Action Diffusion", 2023
(arXiv 2303.04137).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.robotics.action_unet import ActionUNet
from surform.robotics.diffusion import Diffusion, Predicts
from surform.robotics.frame_history import FrameHistory
from surform.robotics.observation_tokens import Observation, ObservationTokens
from surform.robotics.policy_net import Window

__all__ = ["UNetPolicy"]


class UNetPolicy(FrameHistory, nn.Module):
    """Chunks of actions from images, state and an instruction, denoised by a U-Net.

    Chi et al., 2023 (arXiv 2303.04137), with the observation tokens of `DiTPolicy`, whose mean the
    U-Net is told: a baseline for it. Observations and actions as there.

    Args:
        action_dim: numbers in an action.
        chunk: actions that are predicted together; a multiple of 2 for each channel but the first.
        cameras: their names; may be empty where there is a state.
        frames: images of each camera.
        features: "resnet18", "resnet26", "resnet34", "resnet50" (group norm), or "patches".
        average_pool: one token for each image; ResNets only.
        state_dim: numbers in the state; None: not seen.
        state_frames: states that are seen, side by side.
        state_dropout: of the state's numbers.
        language_dim: width of the instruction's embedding; None: not told.
        language_as: "film" in the ResNets, or a "token".
        dim: width of the tokens.
        unet_channels: of each resolution, multiples of `unet_groups`.
        unet_kernel: actions that a convolution sees; odd.
        unet_groups: of the group norms.
        unet_time_dim: width of the diffusion time's embedding; even.
        diffusion_steps: in training.
        sampling_steps: when acting.
        predicts: what the network estimates, the "noise", as in the paper, or the clean "actions",
            from which few demonstrations are learnt in far fewer steps.
    """

    images: ClassVar[Literal["floats", "bytes"]] = "floats"
    in_units: ClassVar[bool] = False
    draws_noise: ClassVar[bool] = True
    compiled_parts: ClassVar[tuple[str, ...]] = ("net.forward",)

    @record_arguments
    def __init__(
        self,
        action_dim: int,
        chunk: int,
        cameras: Sequence[str] = (),
        frames: int = 1,
        features: Literal["resnet18", "resnet26", "resnet34", "resnet50", "patches"] = "resnet18",
        average_pool: bool = True,
        state_dim: int | None = None,
        state_frames: int = 1,
        state_dropout: float = 0.0,
        language_dim: int | None = None,
        language_as: Literal["film", "token"] = "film",
        dim: int = 256,
        unet_channels: Sequence[int] = (128, 256),
        unet_kernel: int = 5,
        unet_groups: int = 8,
        unet_time_dim: int = 128,
        diffusion_steps: int = 100,
        sampling_steps: int = 8,
        predicts: Predicts = "noise",
    ) -> None:
        super().__init__()
        self.diffusion, self.sampling_steps = Diffusion(diffusion_steps, predicts), sampling_steps
        self.diffusion.times(sampling_steps)  # says what is wrong with their number
        self.action_dim, self.chunk = action_dim, chunk
        self.cameras, self.frames, self.state_frames = tuple(cameras), frames, state_frames
        self.state_dim, self.language_dim = state_dim, language_dim
        self.tokens = ObservationTokens(
            dim,
            cameras,
            frames=frames,
            early_fusion=False,
            shared_features=False,
            features=features,
            feature_dim=None,
            patch_size=4,
            average_pool=average_pool,
            state_dim=None if state_dim is None else state_dim * state_frames,
            state_as="token",
            state_dropout=state_dropout,
            language_dim=language_dim,
            language_as=language_as,
            norm="none",
            dropout=0.0,
        )
        self.net = ActionUNet(
            action_dim, dim, unet_channels, unet_kernel, unet_groups, unet_time_dim
        )

    def forward(
        self, observation: Observation, actions: Float[Tensor, "b c a"], time: Tensor
    ) -> Float[Tensor, "b c a"]:
        """What `predicts` says of noisy actions at diffusion times."""
        return self.net(actions, time, self.tokens(observation).mean(1))

    def learn(self, window: Window) -> Float[Tensor, ""]:
        """The mean squared error of what is predicted, in the actions that count."""
        actions = window.actions
        noise = torch.randn_like(actions)
        time = torch.randint(self.diffusion.steps, (len(actions),), device=actions.device)
        noisy = self.diffusion.add_noise(actions, noise, time)
        found = self(self.at_once(window.observation), noisy, time)
        errors = (found - self.diffusion.target(actions, noise)).square()
        weight = window.mask[..., None].to(errors.dtype)
        return (errors * weight).sum() / (weight.sum() * self.action_dim).clamp(min=1)

    def answer(
        self, window: Window, start: Float[Tensor, "b c a"] | None = None
    ) -> Float[Tensor, "b c a"]:
        """Chunks of actions in [-1, 1]; `start` as for `sample`."""
        return self.sample(self.at_once(window.observation), start)

    def sample(
        self, observation: Observation, start: Float[Tensor, "b c a"] | None = None
    ) -> Float[Tensor, "b c a"]:
        """Chunks of actions in [-1, 1]; `start`: standard normal numbers, instead of drawn ones."""
        told = self.tokens(observation).mean(1)
        drawn = told.new_empty(told.shape[0], self.chunk, self.action_dim).normal_()
        times = self.diffusion.times(self.sampling_steps)

        def estimate(x: Tensor, step: int) -> Tensor:
            return self.net(x, torch.full((x.shape[0],), times[step], device=x.device), told)

        return self.diffusion.sample(
            estimate, drawn if start is None else start, self.sampling_steps
        )

    @torch.no_grad()
    def act(
        self, observation: Mapping[str, Tensor], memory: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "b c a"], dict[str, Tensor]]:
        """The next chunk of actions, and the last frames and states."""
        memory = self.observe(observation, memory)
        return self.sample(self.at_once({**observation, **memory})), memory
