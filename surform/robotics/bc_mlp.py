"""Behaviour cloning by a multilayer perceptron: the simplest policy, to compare with.

As in Mandlekar et al., "What Matters in Learning from Offline Human Demonstrations for Robot
Manipulation", 2021 (arXiv 2108.03298), but with chunks of actions and absolute errors, as in Zhao
et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", 2023 (arXiv
2304.13705).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction
from surform.robotics.policy_net import Window, remembered

__all__ = ["BCMLP", "masked_error"]

Memory = dict[str, Tensor]


class BCMLP(nn.Module):
    """Chunks of actions from the last states and an instruction, trained on absolute errors.

    Behaviour cloning, the baseline of Mandlekar et al., 2021 (arXiv 2108.03298).

    Args:
        action_dim: numbers in an action.
        chunk: actions that are predicted together.
        state_dim: numbers in the state.
        history: states that are seen.
        language_dim: width of the instruction's embedding; None: not told.
        hidden: widths of the layers.
        dropout: after every layer.
    """

    images: ClassVar[Literal["floats", "bytes"]] = "floats"
    in_units: ClassVar[bool] = False
    compiled_parts: ClassVar[tuple[str, ...]] = ("net.forward",)
    from_data: ClassVar[tuple[str, ...]] = ("language_dim",)  # told what the data tell

    @record_arguments
    def __init__(
        self,
        action_dim: int,
        chunk: int,
        state_dim: int,
        history: int = 1,
        language_dim: int | None = None,
        hidden: Sequence[int] = (256, 256),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, action_dim=action_dim, chunk=chunk, state_dim=state_dim, history=history)
        at_least(1, **{f"hidden[{i}]": each for i, each in enumerate(hidden)})
        fraction(dropout=dropout)
        if language_dim is not None:
            at_least(1, language_dim=language_dim)
        self.action_dim, self.chunk, self.history = action_dim, chunk, history
        self.state_dim, self.language_dim = state_dim, language_dim
        layers: list[nn.Module] = []
        width = history * state_dim + (language_dim or 0)
        for each in hidden:
            layers += [nn.Linear(width, each), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
            width = each
        self.net = nn.Sequential(*layers, nn.Linear(width, chunk * action_dim))

    @property
    def takes(self) -> tuple[str, ...]:
        """What it observes."""
        return ("state",) if self.language_dim is None else ("state", "language")

    def forward(
        self, state: Float[Tensor, "b h s"], language: Float[Tensor, "b l"] | None = None
    ) -> Float[Tensor, "b c a"]:
        """Chunks of normalised actions; ValueError for states or language of another shape."""
        if state.ndim != 3 or tuple(state.shape[1:]) != (self.history, self.state_dim):
            raise ValueError(
                f"state has shape {tuple(state.shape)}, but must be (batch, {self.history}, "
                f"{self.state_dim})"
            )
        x = state.flatten(1)
        if self.language_dim is not None:
            if language is None or language.shape != (x.shape[0], self.language_dim):
                found = "missing" if language is None else f"of shape {tuple(language.shape)}"
                raise ValueError(
                    f"language is {found}, but must be ({len(x)}, {self.language_dim})"
                )
            x = torch.cat((x, language), -1)
        return self.net(x).unflatten(-1, (self.chunk, self.action_dim))

    def learn(self, window: Window) -> Float[Tensor, ""]:
        """The mean absolute error of the actions that count."""
        return masked_error(self.answer(window), window.actions, window.mask)

    def answer(self, window: Window) -> Float[Tensor, "b c a"]:
        """Chunks of actions."""
        seen = window.observation
        return self(seen["state"][:, -self.history :], seen.get("language"))

    def start(self, batch: int = 1) -> Memory:
        """Nothing seen yet."""
        return {}

    def observe(self, observation: Mapping[str, Tensor], memory: Memory) -> Memory:
        """The last states."""
        return {"state": remembered(memory.get("state"), observation["state"], self.history)}

    @torch.no_grad()
    def act(
        self, observation: Mapping[str, Tensor], memory: Memory
    ) -> tuple[Float[Tensor, "b c a"], Memory]:
        """The next chunk of actions, and the last states."""
        memory = self.observe(observation, memory)
        return self(memory["state"], observation.get("language")), memory


def masked_error(
    found: Float[Tensor, "b c a"],
    target: Float[Tensor, "b c a"],
    mask: Bool[Tensor, "b c"],
) -> Float[Tensor, ""]:
    """Mean absolute error of the actions that count."""
    weight = mask[..., None].to(found.dtype)
    return ((found - target).abs() * weight).sum() / (weight.sum() * found.shape[-1]).clamp(min=1)
