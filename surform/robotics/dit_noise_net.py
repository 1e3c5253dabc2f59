"""The noise network of the diffusion transformer policy.

Dasari et al., "The Ingredients for Robotic Diffusion Transformers", 2024 (arXiv 2410.10088);
official code SudeepDasari/dit-policy@ba22ee3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of
from surform.layers.postnorm_encoder import EncoderLayer
from surform.layers.sinusoid import sinusoid
from surform.robotics.diffusion import Diffusion
from surform.robotics.dit_blocks import (
    DecoderLayer,
    Output,
    PositionedAttention,
    TimeEmbedding,
    glorot,
)

__all__ = ["DiTNoiseNet", "Known"]

_TABLE = 512  # tokens whose positions are at hand; of more, they are made anew
# The modulations of every decoder layer, and of the output: (b, 6 dim) each, and (b, 2 dim)
Known = tuple[Sequence[Tensor], Tensor]


class DiTNoiseNet(nn.Module):
    """The noise in a chunk of actions, from tokens of what is observed and the diffusion time.

    Dasari et al., "The Ingredients for Robotic Diffusion Transformers", 2024 (arXiv 2410.10088).
    Layer l of the decoder is told the mean of the tokens after layer l of the encoder.

    Args:
        action_dim: numbers in an action.
        chunk: actions that are predicted together.
        dim: width of the tokens.
        depth: layers of the encoder, and of the decoder.
        hidden: width of the feed-forward blocks.
        time_dim: width of the diffusion time's cosines and sines.
        dropout: of attention's weights and all branches.
        activation: of the feed-forward blocks; "gelu" is the approximation by tanh.
    """

    table: Tensor

    @record_arguments
    def __init__(
        self,
        action_dim: int,
        chunk: int,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        hidden: int = 2048,
        time_dim: int = 256,
        dropout: float = 0.1,
        activation: Literal["gelu", "relu"] = "gelu",
    ) -> None:
        super().__init__()
        at_least(1, action_dim=action_dim, chunk=chunk, dim=dim, depth=depth, hidden=hidden)
        fraction(dropout=dropout)
        one_of("activation", activation, ["gelu", "relu"])
        act: Literal["gelu_tanh", "relu"] = "relu" if activation == "relu" else "gelu_tanh"
        self.action_dim, self.chunk, self.dim = action_dim, chunk, dim
        self.positions = nn.Parameter(torch.empty(chunk, dim))
        self.time = TimeEmbedding(time_dim, dim)
        self.actions = nn.Sequential(
            nn.Linear(action_dim, action_dim), nn.GELU("tanh"), nn.Linear(action_dim, dim)
        )
        self.encoder = nn.ModuleList(
            EncoderLayer(
                PositionedAttention(dim, heads, dropout),
                dim,
                hidden,
                dropout=dropout,
                activation=act,
            )
            for _ in range(depth)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(dim, heads, hidden, dropout=dropout, activation=act) for _ in range(depth)
        )
        self.output = Output(dim, action_dim)
        self.register_buffer("table", sinusoid(_TABLE, dim), persistent=False)
        self._reset()

    def _reset(self) -> None:
        nn.init.xavier_uniform_(self.positions)
        for encoder, decoder in zip(self.encoder, self.decoder, strict=True):
            glorot(encoder)
            decoder.reset()  # type: ignore[operator]

    def forward(
        self,
        actions: Float[Tensor, "b c a"],
        time: Int[Tensor, " b"],
        tokens: Float[Tensor, "b s d"],
    ) -> Float[Tensor, "b c a"]:
        """The noise in the actions at these diffusion times.

        Raises:
            ValueError: actions or tokens of another width, chunks of another length, no token.
        """
        self.check_actions(actions)
        if time.shape != actions.shape[:1]:
            raise ValueError(
                f"times have shape {tuple(time.shape)}, but must be one for each of the "
                f"{len(actions)} chunks of actions"
            )
        self._check_batch(actions, tokens)
        return self.denoise(
            actions, self.known(self.encode(tokens), self.time(_real(time, tokens)))
        )

    def encode(self, tokens: Float[Tensor, "b s d"]) -> Float[Tensor, "b l d"]:
        """The mean token after every layer of the encoder: all that the decoder is told."""
        if tokens.ndim != 3 or tokens.shape[-1] != self.dim or not tokens.shape[1]:
            raise ValueError(
                f"tokens have shape {tuple(tokens.shape)}, but must be (batch, one or more, "
                f"{self.dim}): dim is {self.dim}"
            )
        positions = self._positions(tokens)
        means = []
        for layer in self.encoder:
            tokens = layer(tokens, positions=positions)
            means.append(tokens.mean(1))
        return torch.stack(means, 1)

    def known(
        self, means: Float[Tensor, "*#k l d"], time: Float[Tensor, "*#k d"]
    ) -> tuple[list[Float[Tensor, "*each m"]], Float[Tensor, "*each o"]]:
        """The modulations of the decoder's layers, and of the output."""
        # layers first, so that each layer's is one block of memory
        parts = F.silu(means.movedim(-2, 0) + time).contiguous().unbind(0)
        layers = [
            layer.modulation(part)  # type: ignore[operator]
            for layer, part in zip(self.decoder, parts, strict=True)
        ]
        return layers, self.output.modulation(parts[-1])

    def denoise(self, actions: Float[Tensor, "b c a"], known: Known) -> Float[Tensor, "b c a"]:
        """The noise in the actions; `known` for each of them."""
        layers, output = known
        x = self.actions(actions) + self.positions
        for layer, modulation in zip(self.decoder, layers, strict=True):
            x = layer(x, modulation)
        return self.output(x, output)

    def sample(
        self,
        tokens: Float[Tensor, "b s d"],
        start: Float[Tensor, "b c a"],
        diffusion: Diffusion,
        steps: int,
    ) -> Float[Tensor, "b c a"]:
        """Chunks of actions from noise; the encoder and all modulations run once, before the steps.

        Raises:
            ValueError: as `forward`; more steps than in training.
        """
        self.check_actions(start)
        self._check_batch(start, tokens)
        times = torch.tensor(diffusion.times(steps), device=tokens.device)
        time = self.time(_real(times, tokens))
        # (step, b, layer, dim): one matrix product for all steps
        layers, output = self.known(self.encode(tokens)[None], time[:, None])
        each = list(zip(*(layer.unbind(0) for layer in layers), output.unbind(0), strict=True))
        return diffusion.sample(
            lambda x, step: self.denoise(x, (each[step][:-1], each[step][-1])), start, steps
        )

    def check_actions(self, actions: Tensor) -> None:
        """ValueError unless they are chunks (batch, chunk, action_dim)."""
        if actions.ndim != 3 or tuple(actions.shape[1:]) != (self.chunk, self.action_dim):
            raise ValueError(
                f"actions have shape {tuple(actions.shape)}, but must be (batch, {self.chunk}, "
                f"{self.action_dim}): chunks of {self.chunk} actions of {self.action_dim} numbers"
            )

    def _check_batch(self, actions: Tensor, tokens: Tensor) -> None:
        if actions.shape[0] != tokens.shape[0]:
            raise ValueError(
                f"there are {len(actions)} chunks of actions for the tokens of {len(tokens)} "
                "observations"
            )

    def _positions(self, tokens: Tensor) -> Tensor:
        count = tokens.shape[1]
        if count <= len(self.table):
            return self.table[:count].to(tokens.dtype)
        return sinusoid(count, self.dim).to(tokens.device, tokens.dtype)


def _real(time: Num[Tensor, " k"], like: Tensor) -> Float[Tensor, " k"]:
    return time.to(like.dtype)
