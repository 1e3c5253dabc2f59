"""Diffusion transformer policy: chunks of actions denoised from what a robot observes.

Dasari et al., "The Ingredients for Robotic Diffusion Transformers", 2024 (arXiv 2410.10088);
official code SudeepDasari/dit-policy@ba22ee3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.robotics.diffusion import Diffusion, Predicts
from surform.robotics.dit_noise_net import DiTNoiseNet
from surform.robotics.frame_history import FrameHistory
from surform.robotics.observation_tokens import Observation, ObservationTokens
from surform.robotics.policy_net import Window

__all__ = ["DiTPolicy", "masked_chunk_loss"]

Memory = dict[str, Tensor]  # frames of every camera, (b, frames, 3, h, w); empty at the start


class DiTPolicy(FrameHistory, nn.Module):
    """Chunks of actions from images, state and an instruction, by denoising diffusion.

    Dasari et al., "The Ingredients for Robotic Diffusion Transformers", 2024 (arXiv 2410.10088).
    Observations are a dict: each camera (b, 3, h, w) or (b, frames, 3, h, w), normalised; "state"
    (b, state_dim); "language" (b, language_dim), an embedding. Actions are normalised to [-1, 1].

    Args:
        action_dim: numbers in an action.
        chunk: actions that are predicted together.
        cameras: their names; may be empty where there is a state.
        frames: images of each camera, oldest first.
        early_fusion: frames side by side in the channels instead of as tokens of their own.
        shared_features: one feature network for all cameras.
        features: "resnet18", "resnet26", "resnet34", "resnet50" (group norm), or "patches".
        feature_dim: width of patches; None: `dim`.
        patch_size: side of a patch [pixels].
        average_pool: one token for each image; ResNets only.
        state_dim: numbers in the state; None: the policy does not see it.
        state_as: "token" (the last one), or "pad" (beside the features of every image token).
        state_dropout: of the state's numbers.
        state_frames: states that are seen, side by side.
        language_dim: width of the instruction's embedding; None: not told.
        language_as: "film" in the ResNets, or a "token", the last one.
        token_norm: of the tokens: "none", "layer", "batch".
        token_dropout: of the tokens.
        dim: width of the tokens; features of another width are mapped to it.
        depth: layers of the encoder, and of the decoder.
        hidden: width of the feed-forward blocks.
        time_dim: width of the diffusion time's cosines and sines.
        dropout: in the layers.
        activation: "gelu" (the approximation by tanh) or "relu".
        diffusion_steps: in training.
        sampling_steps: when acting.
        predicts: what the network estimates, the "noise", as in the paper, or the clean "actions",
            from which few demonstrations are learnt in far fewer steps.
    """

    images: ClassVar[Literal["floats", "bytes"]] = "floats"
    in_units: ClassVar[bool] = False
    draws_noise: ClassVar[bool] = True
    compiled_parts: ClassVar[tuple[str, ...]] = ("noise_net.denoise",)

    @record_arguments
    def __init__(
        self,
        action_dim: int,
        chunk: int,
        cameras: Sequence[str] = ("cam0",),
        frames: int = 1,
        early_fusion: bool = False,
        shared_features: bool = False,
        features: Literal["resnet18", "resnet26", "resnet34", "resnet50", "patches"] = "resnet18",
        feature_dim: int | None = None,
        patch_size: int = 4,
        average_pool: bool = False,
        state_dim: int | None = None,
        state_as: Literal["token", "pad"] = "token",
        state_dropout: float = 0.2,
        state_frames: int = 1,
        language_dim: int | None = None,
        language_as: Literal["film", "token"] = "film",
        token_norm: Literal["none", "layer", "batch"] = "none",
        token_dropout: float = 0.0,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        hidden: int = 2048,
        time_dim: int = 256,
        dropout: float = 0.1,
        activation: Literal["gelu", "relu"] = "gelu",
        diffusion_steps: int = 100,
        sampling_steps: int = 8,
        predicts: Predicts = "noise",
    ) -> None:
        super().__init__()
        self.diffusion, self.sampling_steps = Diffusion(diffusion_steps, predicts), sampling_steps
        self.diffusion.times(sampling_steps)  # says what is wrong with their number
        at_least(1, state_frames=state_frames)
        self.action_dim, self.chunk = action_dim, chunk
        self.frames, self.cameras, self.state_frames = frames, tuple(cameras), state_frames
        self.state_dim, self.language_dim = state_dim, language_dim
        self.tokens = ObservationTokens(
            dim,
            cameras,
            frames=frames,
            early_fusion=early_fusion,
            shared_features=shared_features,
            features=features,
            feature_dim=feature_dim,
            patch_size=patch_size,
            average_pool=average_pool,
            state_dim=None if state_dim is None else state_dim * state_frames,
            state_as=state_as,
            state_dropout=state_dropout,
            language_dim=language_dim,
            language_as=language_as,
            norm=token_norm,
            dropout=token_dropout,
        )
        self.noise_net = DiTNoiseNet(
            action_dim, chunk, dim, depth, heads, hidden, time_dim, dropout, activation
        )

    def forward(
        self, observation: Observation, actions: Float[Tensor, "b c a"], time: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c a"]:
        """What `predicts` says of noisy actions at diffusion times 0 .. diffusion_steps - 1.

        Raises:
            ValueError: an observation is missing, or anything has another shape.
        """
        return self.noise_net(actions, time, self.tokens(observation))

    def loss(
        self,
        observation: Observation,
        actions: Float[Tensor, "b c a"],
        mask: Bool[Tensor, "b c"] | Bool[Tensor, "b c a"] | None = None,
        *,
        noise: Float[Tensor, "b c a"] | None = None,
        time: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, ""]:
        """The masked error of what is predicted (`masked_chunk_loss`).

        Args:
            mask: True = an action of the episode, False = padding beyond its end.
            noise, time: instead of drawn ones.

        Raises:
            ValueError: as `forward`; actions outside [-1, 1].
        """
        self.noise_net.check_actions(actions)
        _check_range(actions, mask)
        if noise is None:
            noise = torch.randn_like(actions)
        if time is None:
            time = torch.randint(self.diffusion.steps, (len(actions),), device=actions.device)
        noisy = self.diffusion.add_noise(actions, noise, time)
        found = self(observation, noisy, time)
        return masked_chunk_loss(found, self.diffusion.target(actions, noise), mask)

    def sample(
        self,
        observation: Observation,
        start: Float[Tensor, "b c a"] | None = None,
        steps: int | None = None,
    ) -> Float[Tensor, "b c a"]:
        """Chunks of actions in [-1, 1]; compiles as one program, steps and all.

        Args:
            start: standard normal numbers, instead of drawn ones.
            steps: instead of `sampling_steps`.
        """
        tokens = self.tokens(observation)
        steps, net = self.sampling_steps if steps is None else steps, self.noise_net
        if start is None:
            drawn = tokens.new_empty(tokens.shape[0], net.chunk, net.action_dim).normal_()
            return net.sample(tokens, drawn, self.diffusion, steps)
        return net.sample(tokens, start, self.diffusion, steps)

    def learn(self, window: Window) -> Float[Tensor, ""]:
        """The loss of a window of normalised observations and actions."""
        return self.loss(self.at_once(window.observation), window.actions, window.mask)

    def answer(
        self, window: Window, start: Float[Tensor, "b c a"] | None = None
    ) -> Float[Tensor, "b c a"]:
        """Chunks of actions in [-1, 1]; `start` as for `sample`."""
        return self.sample(self.at_once(window.observation), start)

    @torch.no_grad()
    def act(
        self, observation: Observation, memory: Memory
    ) -> tuple[Float[Tensor, "b c a"], Memory]:
        """The next chunk of actions, and the last frames and states; the first one is repeated.

        Args:
            observation: cameras (b, 3, h, w), the newest frame; state and language as `forward`.
            memory: of `start`, or of the step before.
        """
        memory = self.observe(observation, memory)
        return self.sample(self.at_once({**observation, **memory})), memory


def masked_chunk_loss(
    estimate: Float[Tensor, "b c a"],
    target: Float[Tensor, "b c a"],
    mask: Bool[Tensor, "b c"] | Bool[Tensor, "b c a"] | None = None,
) -> Float[Tensor, ""]:
    """Squared errors summed over the chunk's actions that count, then their mean over the rest.

    Raises:
        ValueError: a target or a mask of another shape.
    """
    if target.shape != estimate.shape:
        raise ValueError(
            f"the target has shape {tuple(target.shape)}, but must be {tuple(estimate.shape)}"
        )
    errors = (estimate - target).square()
    if mask is not None:
        errors = errors * _spread(mask, errors)
    return errors.sum(1).mean()


def _spread(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape not in (like.shape[:2], like.shape):
        raise ValueError(
            f"the mask is {mask.dtype} of shape {tuple(mask.shape)}, but must be bool (True = "
            f"counts) of shape {tuple(like.shape[:2])} or {tuple(like.shape)}"
        )
    return mask if mask.ndim == like.ndim else mask[..., None]


def _check_range(actions: Tensor, mask: Tensor | None) -> None:
    """Sampling clips to [-1, 1]: a policy could never learn what lies outside."""
    if torch.compiler.is_compiling():
        return
    outside = (actions.detach().abs() > 1 + 1e-4) | actions.detach().isnan()
    if mask is not None:
        outside = outside & _spread(mask, actions)
    if bool(outside.any()):
        found = actions.detach()[outside][0].item()
        raise ValueError(
            f"an action is {found:g}, but must lie in [-1, 1]: normalise actions by their limits"
        )
