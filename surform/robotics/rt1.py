"""RT-1: frames and an instruction in, the tokens of the next action out.

Brohan et al., "RT-1: Robotics Transformer for Real-World Control at Scale", 2022 (arXiv
2212.06817); official code google-research/robotics_transformer@4569641.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.robotics.action_tokens import PUBLISHED_FIELDS, ActionTokens, action_loss
from surform.robotics.action_transformer import ActionTransformer
from surform.robotics.image_tokenizer import ImageTokenizer, random_crop
from surform.robotics.policy_net import Window

__all__ = ["RT1", "RT1Memory", "remember"]


@dataclass(frozen=True)
class RT1Memory:
    """What RT-1 keeps between the steps of an episode: one image is encoded in a step, not six.

    Args:
        batch: episodes.
        tokens: of the last frames, (b, t, n, dim), the newest last; None before the first.
        instruction, modulation: the last instruction, and what FiLM made of it.
        actions: tokens of the actions that followed the frames, (b, t, a), where they are fed.
    """

    batch: int
    tokens: Tensor | None = None
    instruction: Tensor | None = None
    modulation: Tensor | None = None
    actions: Tensor | None = None


class RT1(nn.Module):
    """Robotics Transformer 1: a FiLM-EfficientNet, TokenLearner, a decoder of action tokens.

    Brohan et al., "RT-1: Robotics Transformer for Real-World Control at Scale", 2022 (arXiv
    2212.06817). The defaults are those of the published 35 M network.

    Args:
        fields: parts of an action in the order of their tokens: (name, size, low, high) of numbers
            [the robot's units], (name, size) of a choice among `size`, given as one-hot.
        dim, depth, heads: width, layers and heads of the transformer.
        head_dim: width of each head.
        vocab_size: tokens of actions, that is bins of a number.
        token_dim: width of the tokens of images.
        frames: the longest history [steps].
        dropout: of the transformer.
        encoder: one of timm's `tf_efficientnet_...`.
        image_size: side to which images are resized [pixels].
        image_tokens: of a frame; 0: without TokenLearner, one for each 32 x 32 pixels.
        bottleneck: hidden width of TokenLearner.
        instruction_dim: width of the sentence's embedding.
        crop: images are moved at random in training (`random_crop`).
        crop_per_sample: each episode by an offset of its own; published: all of a batch alike.
        feed_action_tokens: the policy sees the actions before, token by token, as the paper can be
            read; acting takes a pass of the transformer for each token. Published networks, and
            their weights, see none.
    """

    images: ClassVar[Literal["floats", "bytes"]] = "bytes"
    in_units: ClassVar[bool] = False
    compiled_parts: ClassVar[tuple[str, ...]] = ("tokenizer.forward", "transformer.last")
    takes: ClassVar[tuple[str, ...]] = ("image", "language")
    chunk: ClassVar[int] = 1

    @record_arguments
    def __init__(
        self,
        fields: tuple[tuple[Any, ...], ...] | None = None,
        dim: int = 512,
        depth: int = 8,
        heads: int = 8,
        head_dim: int = 128,
        vocab_size: int = 256,
        token_dim: int = 512,
        frames: int = 6,
        dropout: float = 0.1,
        encoder: str = "tf_efficientnet_b3",
        image_size: int = 300,
        image_tokens: int = 8,
        bottleneck: int = 64,
        instruction_dim: int = 512,
        crop: bool = True,
        crop_per_sample: bool = False,
        feed_action_tokens: bool = False,
    ) -> None:
        super().__init__()
        at_least(0, image_tokens=image_tokens)
        self.actions = ActionTokens(PUBLISHED_FIELDS if fields is None else fields, vocab_size)
        self.instruction_dim, self.crop, self.crop_per_sample = (
            instruction_dim,
            crop,
            crop_per_sample,
        )
        self.tokenizer = ImageTokenizer(
            encoder, token_dim, image_size, instruction_dim, image_tokens, bottleneck
        )
        self.transformer = ActionTransformer(
            frames,
            self.tokenizer.tokens,
            self.actions.count,
            vocab_size,
            token_dim,
            dim,
            depth,
            heads,
            head_dim,
            dropout,
            feed_action_tokens,
        )

    def forward(
        self,
        images: Tensor,
        instruction: Float[Tensor, "b e"],
        actions: Int[Tensor, "b t a"] | None = None,
    ) -> Float[Tensor, "b t a v"]:
        """Logits of the tokens of all steps' actions; each sees its own and earlier frames.

        Args:
            images: (b, t, 3, h, w), uint8 or numbers from 0 to 1; t up to `frames`.
            instruction: embedding of the sentence.
            actions: tokens of all steps' actions, where `feed_action_tokens` is True.

        Raises:
            ValueError: images, instructions or actions of another shape or kind.
        """
        return self.transformer.action_logits(self._tokens(images, instruction), actions)

    def _tokens(self, images: Tensor, instruction: Tensor) -> Float[Tensor, "b t n d"]:
        self._check(images, instruction, steps=True)
        steps = images.shape[1]
        if not 1 <= steps <= self.transformer.frames:
            most = self.transformer.frames
            raise ValueError(f"there are {steps} frames, but must be 1 to {most}")
        if self.training and self.crop:
            images = random_crop(images, per_sample=self.crop_per_sample)
        modulation = self.tokenizer.modulation(instruction)
        every = modulation.repeat_interleave(images.shape[1], 0)
        return self.tokenizer(images.flatten(0, 1), every).unflatten(0, images.shape[:2])

    @property
    def action_dim(self) -> int:
        """Numbers in an action."""
        return self.actions.width

    @property
    def history(self) -> int:
        """Frames that it sees."""
        return self.transformer.frames

    def learn(self, window: Window) -> Float[Tensor, ""]:
        """The mean cross-entropy of the tokens of all steps of an episode in the window."""
        images, done, real = _from_the_first(window, self.history)
        labels = self.actions.encode(done)
        fed = labels if self.transformer.feed else None
        loss = action_loss(self(images, window.observation["language"], fed), labels, last=~real)
        return loss.sum() / real.sum().clamp(min=1)

    def answer(self, window: Window) -> Float[Tensor, "b 1 w"]:
        """The action after the last frame."""
        images, done, real = _from_the_first(window, self.history)
        if self.transformer.feed:
            tokens = self._tokens(images, window.observation["language"])
            return self._answers(tokens, self.actions.encode(done), real.sum(1))
        logits = self(images, window.observation["language"])
        newest = logits[torch.arange(len(logits), device=logits.device), real.sum(1) - 1]
        return self.actions.decode(newest.argmax(-1))[:, None]

    def _answers(
        self, tokens: Float[Tensor, "b t n d"], done: Int[Tensor, "b t a"], count: Int[Tensor, " b"]
    ) -> Float[Tensor, "b 1 w"]:
        """Actions after so many frames each, where actions are fed."""
        found = done.new_zeros(len(tokens), self.actions.count)
        for steps in count.unique().tolist():
            rows = count == steps
            logits = self.transformer.next_logits(tokens[rows, :steps], done[rows, : steps - 1])
            found[rows] = logits.argmax(-1)
        return self.actions.decode(found)[:, None]

    @torch.no_grad()
    def observe(self, observation: Mapping[str, Tensor], memory: RT1Memory) -> RT1Memory:
        """The memory after a step at which no action is asked for; observations as for `act`.

        Raises:
            ValueError: as `act`; actions are fed, and nobody says what was done.
        """
        if self.transformer.feed:
            raise ValueError("feed_action_tokens needs to be asked for an action at every step")
        image, instruction = self._checked(observation, memory)
        return self._remembering(image, instruction, memory)

    def start(self, batch: int = 1) -> RT1Memory:
        """The memory before the first step of so many episodes, which go side by side."""
        at_least(1, batch=batch)
        return RT1Memory(batch)

    def act(
        self, observation: Mapping[str, Tensor], memory: RT1Memory
    ) -> tuple[Float[Tensor, "b steps w"], RT1Memory]:
        """The next action of each episode, its fields side by side, and the memory after.

        Args:
            observation: `image` (b, 3, h, w), uint8 or from 0 to 1, and `instruction` (b, e).
            memory: of `start`, or of the step before.

        Raises:
            ValueError: observations that lack, or of another shape, kind or batch.
        """
        logits, memory = self.step(observation, memory)
        return self.actions.decode(logits.argmax(-1))[:, None], memory

    @torch.no_grad()
    def step(
        self, observation: Mapping[str, Tensor], memory: RT1Memory
    ) -> tuple[Float[Tensor, "b a v"], RT1Memory]:
        """Logits of the next action's tokens, and the memory after; as `act`."""
        image, instruction = self._checked(observation, memory)
        after = self._remembering(image, instruction, memory)
        assert after.tokens is not None
        if not self.transformer.feed:
            return self.transformer.last(after.tokens), after
        past = after.tokens.new_zeros(len(image), 0, self.actions.count, dtype=torch.long)
        if memory.actions is not None:
            past = memory.actions[:, memory.actions.shape[1] + 1 - after.tokens.shape[1] :]
        logits = self.transformer.next_logits(after.tokens, past)
        done = torch.cat((past, logits.argmax(-1)[:, None]), 1)
        return logits, replace(after, actions=done)

    def _checked(
        self, observation: Mapping[str, Tensor], memory: RT1Memory
    ) -> tuple[Tensor, Tensor]:
        """The image, and the instruction, which may also be called "language"."""
        observation = {"instruction": observation.get("language"), **observation}  # type: ignore[dict-item]
        for name in ("image", "instruction"):
            if observation.get(name) is None:
                there = ", ".join(n for n in observation if observation[n] is not None) or "nothing"
                raise ValueError(f"the observation lacks {name!r}; it has {there}")
        image, instruction = observation["image"], observation["instruction"]
        self._check(image, instruction, steps=False)
        if len(image) != memory.batch:
            raise ValueError(f"there are {len(image)} images for {memory.batch} episodes")
        return image, instruction

    def _remembering(self, image: Tensor, instruction: Tensor, memory: RT1Memory) -> RT1Memory:
        modulation = memory.modulation
        if (
            modulation is None
            or memory.instruction is None
            or not torch.equal(instruction, memory.instruction)
        ):
            modulation = self.tokenizer.modulation(instruction)
        new = self.tokenizer(image, modulation)
        tokens = remember(memory.tokens, new, self.transformer.frames)
        return RT1Memory(memory.batch, tokens, instruction, modulation)

    def folded(self) -> RT1:
        """A copy for evaluation that gives the same with batch norms folded into convolutions.

        It is not trained or saved any more.
        """
        other = copy.deepcopy(self).eval()
        other.tokenizer.encoder = other.tokenizer.encoder.folded()
        return other

    def _check(self, images: Tensor, instruction: Tensor, *, steps: bool) -> None:
        shape = "(batch, steps, 3, height, width)" if steps else "(batch, 3, height, width)"
        if images.ndim != 4 + steps or images.shape[-3] != 3 or 0 in images.shape[-2:]:
            raise ValueError(f"images have shape {tuple(images.shape)}, but must be {shape}")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}, but must be uint8, or floats from 0 to 1")
        if images.is_floating_point() and _plain(images) and not _from_0_to_1(images):
            raise ValueError("images hold numbers beyond 0 to 1: give uint8, or floats in between")
        if tuple(instruction.shape) != (len(images), self.instruction_dim):
            raise ValueError(
                f"instructions have shape {tuple(instruction.shape)}, but must be (batch, "
                f"instruction_dim) = ({len(images)}, {self.instruction_dim})"
            )


def _from_the_first(window: Window, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, actions and which steps are real; those of an episode begin in the first slot.

    So they do when the policy acts; what is behind the newest frame, no step sees.
    """
    images, seen = window.observation["image"][:, -frames:], window.seen[:, -frames:]
    done = torch.cat((window.past, window.actions[:, :1]), 1)[:, -frames:]
    count = seen.sum(1, keepdim=True)
    slots = torch.arange(seen.shape[1], device=seen.device)
    source = (slots + (seen.shape[1] - count)).clamp(max=seen.shape[1] - 1)
    rows = torch.arange(len(seen), device=seen.device)[:, None]
    return images[rows, source], done[rows, source], slots < count


def remember(
    tokens: Float[Tensor, "b t n d"] | None, new: Float[Tensor, "b n d"], frames: int
) -> Tensor:
    """The tokens of the last `frames` frames with a new one; the oldest is forgotten."""
    if tokens is None:
        return new[:, None]
    return torch.cat((tokens[:, max(0, tokens.shape[1] + 1 - frames) :], new[:, None]), 1)


def _from_0_to_1(images: Tensor) -> bool:
    """Not so for numbers that are none; rounding may leave a little more than 1."""
    return bool(((images >= -1e-3) & (images <= 1 + 1e-3)).all())


def _plain(images: Tensor) -> bool:
    """Whether looking at numbers costs nothing: neither a GPU waits nor a graph breaks."""
    return images.device.type == "cpu" and not torch.compiler.is_compiling()
