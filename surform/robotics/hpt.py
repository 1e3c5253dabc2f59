"""HPT: sensors of one robot into tokens, a trunk that many robots share, actions out.

Wang et al., "Scaling Proprioceptive-Visual Learning with Heterogeneous Pre-trained Transformers",
2024 (arXiv 2409.20537); official code liruiw/HPT@549433f.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of
from surform.robotics.action_unet import ActionUNet
from surform.robotics.diffusion import Diffusion
from surform.robotics.hpt_heads import DecoderHead, DiffusionHead, MLPHead
from surform.robotics.hpt_stem import Stem, with_positions
from surform.robotics.hpt_trunk import Trunk
from surform.robotics.limits import Limits
from surform.robotics.policy_net import Window, remembered

__all__ = ["HPT"]

_POOLINGS = ("mean", "max", "last", "action_token", "none")
# which pooling leaves what a head takes
_FITTING = {
    "mlp": _POOLINGS[:4],
    "decoder": ("none",),
    "diffusion": ("mean", "max", "last"),
}
_NO_HISTORY = "language"
_PAST = "prev_actions"
_LIMITS = {"state": "state", _PAST: "action"}  # by which limits a modality is normalised


class HPT(nn.Module):
    """Chunks of actions of one robot by a shared trunk.

    Wang et al., 2024 (arXiv 2409.20537). Observations are a dict, in the robot's units: "state"
    (b, time, width); images (b, time, views, tokens, width) as features of a fixed encoder;
    "language" (b, 1, tokens, width). Share a trunk by giving one policy's `trunk` to another.

    Args:
        action_dim: numbers in an action.
        chunk: actions in a chunk.
        features: width of each modality's features, in the order of their tokens.
            "prev_actions" are actions in the robot's units.
        tokens: how many tokens each modality becomes; one number, or one for each.
        dim: width of the trunk; depth, heads: of its blocks.
        drop_path: share of the samples that skip the last block in training.
        history: how many of the last observations are seen.
        random_history: in training, see fewer of them at random.
        pooling: "mean", "max" or "last" of the trunk's tokens; "action_token": one learned
            token for each action; "none": all tokens, for the decoder.
        normalize_state: whether "state" is brought into [-1, 1] by its limits.
        stem_hidden: widths of the stems' maps; one list, or one for each modality.
        stem_heads, stem_head_dim, stem_dropout: of the learned queries' attention.
        head: "mlp", "decoder" or "diffusion".
        head_hidden, head_tanh, head_dropout, head_norm: of the "mlp" head.
        decoder_heads, decoder_head_dim, decoder_dropout: of the "decoder" head's attention; None:
            as the stems'.
        unet_channels, unet_kernel, unet_groups, unet_time_dim: of the "diffusion" head.
        diffusion_steps: in training; sampling_steps: when acting, None: as many.
    """

    images: ClassVar[Literal["floats", "bytes"]] = "floats"
    in_units: ClassVar[bool] = True

    @record_arguments
    def __init__(
        self,
        action_dim: int,
        chunk: int,
        features: Mapping[str, int],
        tokens: int | Mapping[str, int] = 16,
        dim: int = 128,
        depth: int = 16,
        heads: int = 8,
        drop_path: float = 0.1,
        history: int = 4,
        random_history: bool = True,
        pooling: Literal["mean", "max", "last", "action_token", "none"] = "mean",
        normalize_state: bool = True,
        stem_hidden: Sequence[int] | Mapping[str, Sequence[int]] = (128,),
        stem_heads: int = 8,
        stem_head_dim: int = 64,
        stem_dropout: float = 0.1,
        head: Literal["mlp", "decoder", "diffusion"] = "mlp",
        head_hidden: Sequence[int] = (256, 128),
        head_tanh: bool = True,
        head_dropout: float = 0.1,
        head_norm: bool = True,
        decoder_heads: int | None = None,
        decoder_head_dim: int | None = None,
        decoder_dropout: float | None = None,
        unet_channels: Sequence[int] = (64, 128),
        unet_kernel: int = 3,
        unet_groups: int = 8,
        unet_time_dim: int = 64,
        diffusion_steps: int = 100,
        sampling_steps: int | None = None,
    ) -> None:
        super().__init__()
        at_least(1, action_dim=action_dim, chunk=chunk)
        at_least(1, history=history)
        fraction(stem_dropout=stem_dropout)
        one_of("pooling", pooling, _POOLINGS)
        one_of("head", head, list(_FITTING))
        if pooling not in _FITTING[head]:
            raise ValueError(
                f"pooling is {pooling!r}, but the head {head!r} takes {' or '.join(_FITTING[head])}"
            )
        counts = _for_each("tokens", tokens, features)
        hidden = _for_each("stem_hidden", stem_hidden, features)
        self.action_dim, self.chunk, self.pooling = action_dim, chunk, pooling
        self.history, self.random_history = history, random_history
        attention = (stem_heads, stem_head_dim, stem_dropout)
        self.stems = nn.ModuleDict(
            {n: Stem(w, counts[n], dim, hidden[n], *attention) for n, w in features.items()}
        )
        self.limits = nn.ModuleDict({"action": Limits(action_dim)})
        if "state" in features and normalize_state:
            self.limits["state"] = Limits(features["state"])
        if features.get(_PAST, action_dim) != action_dim:
            raise ValueError(f"{_PAST} has the width {features[_PAST]}, but actions {action_dim}")
        self.trunk = Trunk(dim, depth, heads, drop_path)
        self.action_tokens: nn.Parameter | None = None
        if pooling == "action_token":
            self.action_tokens = nn.Parameter(torch.randn(chunk, dim) * 0.02)
        self.head: MLPHead | DecoderHead | DiffusionHead
        if head == "mlp":
            out = action_dim * (1 if pooling == "action_token" else chunk)
            self.head = MLPHead(dim, out, head_hidden, head_tanh, head_dropout, head_norm)
        elif head == "decoder":
            self.head = DecoderHead(
                dim,
                action_dim,
                chunk,
                stem_heads if decoder_heads is None else decoder_heads,
                stem_head_dim if decoder_head_dim is None else decoder_head_dim,
                stem_dropout if decoder_dropout is None else decoder_dropout,
            )
        else:
            net = ActionUNet(
                action_dim, dim, unet_channels, unet_kernel, unet_groups, unet_time_dim
            )
            steps = diffusion_steps if sampling_steps is None else sampling_steps
            shape = (chunk, action_dim)
            self.head = DiffusionHead(net, Diffusion(diffusion_steps), shape, steps)

    def forward(
        self, observation: Mapping[str, Tensor], start: Float[Tensor, "b t a"] | None = None
    ) -> Float[Tensor, "b t a"]:
        """A chunk of actions in the robot's units; `start`: noise of the diffusion head.

        Raises:
            ValueError: a modality is missing or of another shape.
        """
        features = self.encode(observation)
        if isinstance(self.head, DiffusionHead):
            found = self.head(features, start)
        elif start is not None:
            raise ValueError("start is noise for the diffusion head, which this policy has not")
        else:
            found = self.head(features)
        return self.limits["action"].denormalize(  # type: ignore[operator]
            found.reshape(found.shape[0], self.chunk, self.action_dim)
        )

    def loss(
        self,
        observation: Mapping[str, Tensor],
        actions: Float[Tensor, "b t a"],
        mask: Bool[Tensor, "b t"] | None = None,
        **drawn: Float[Tensor, "b t a"] | Int[Tensor, " b"],
    ) -> Float[Tensor, ""]:
        """The head's error of actions in the robot's units; `noise`, `time` for diffusion.

        Args:
            mask: True = an action that counts; None: all do.

        Raises:
            ValueError: as `forward`; actions of another shape.
        """
        if actions.ndim != 3 or actions.shape[1:] != (self.chunk, self.action_dim):
            raise ValueError(
                f"actions have shape {tuple(actions.shape)}, but must be (batch, "
                f"{self.chunk}, {self.action_dim})"
            )
        target = self.limits["action"].normalize(actions)  # type: ignore[operator]
        features = self.encode(observation)
        if len(features) != len(actions):
            raise ValueError(f"there are {len(actions)} chunks for {len(features)} observations")
        return self.head.loss(features, target, mask, **drawn)

    def encode(self, observation: Mapping[str, Tensor]) -> Float[Tensor, "b *n d"]:
        """The trunk's features, pooled."""
        seen = {name: self._seen(observation, name) for name in self.stems}
        batches = {name: x.shape[0] for name, x in seen.items()}
        if any(size != next(iter(batches.values())) for size in batches.values()):
            raise ValueError(f"the modalities have different batches: {batches}")
        parts = [self.stems[name](x) for name, x in seen.items()]
        if self.action_tokens is not None:
            parts.append(self.action_tokens.expand(parts[0].shape[0], -1, -1))
        return self._pooled(self.trunk(with_positions(torch.cat(parts, 1))))

    def start(self, batch: int = 1) -> dict[str, Tensor]:
        """The memory before the first step: nothing seen yet."""
        return {}

    @property
    def takes(self) -> tuple[str, ...]:
        """What it observes."""
        return tuple(self.stems)

    @property
    def draws_noise(self) -> bool:
        """Whether acting begins with noise."""
        return isinstance(self.head, DiffusionHead)

    @property
    def compiled_parts(self) -> tuple[str, ...]:
        """Methods that acting spends its time in; a step of diffusion, not all of them at once."""
        step = ("head.net.forward",) if isinstance(self.head, DiffusionHead) else ()
        return ("trunk.forward", *step)

    def fit_limits(self, action: Tensor, state: Tensor) -> None:
        """Take the limits of actions, (n, action_dim), and of states in the robot's units."""
        self.limits["action"].fit(action)  # type: ignore[operator]
        if "state" in self.limits:
            self.limits["state"].fit(state)  # type: ignore[operator]

    def learn(self, window: Window) -> Float[Tensor, ""]:
        """The loss of a window in the robot's units."""
        return self.loss(self._windowed(window), window.actions, window.mask)

    def answer(
        self, window: Window, start: Float[Tensor, "b t a"] | None = None
    ) -> Float[Tensor, "b t a"]:
        """Chunks of actions in the robot's units; `start` as for `forward`."""
        return self(self._windowed(window), start)

    def _windowed(self, window: Window) -> dict[str, Tensor]:
        seen = window.observation
        return {
            name: seen[name][:, None]
            if name.startswith(_NO_HISTORY)
            else seen[name][:, -self.history :]
            for name in self.stems
            if name in seen  # `_seen` says what lacks
        }

    def observe(
        self, observation: Mapping[str, Tensor], memory: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The memory after a step: the last observations, the first repeated while alone."""
        return {
            name: observation[name][:, None]
            if name.startswith(_NO_HISTORY)
            else remembered(memory.get(name), observation[name], self.history)
            for name in self.stems
            if name in observation  # `_seen` says what lacks
        }

    @torch.no_grad()
    def act(
        self, observation: Mapping[str, Tensor], memory: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "b t a"], dict[str, Tensor]]:
        """The next chunk of actions, and the last observations; the first is repeated while alone.

        Args:
            observation: the newest of each modality, without the axis of time.
            memory: of `start`, or of the step before.
        """
        seen = self.observe(observation, memory)
        return self(seen), seen

    def _seen(self, observation: Mapping[str, Tensor], name: str) -> Tensor:
        """The modality's features: checked, normalised, fewer of them at random in training."""
        if name not in observation:
            there = ", ".join(sorted(observation)) or "nothing"
            raise ValueError(f"the observation lacks {name}; it has {there}")
        x, width = observation[name], int(self.stems[name].width)  # type: ignore[arg-type]
        if x.ndim < 3 or x.shape[-1] != width or 0 in x.shape[1:]:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}, but must be (batch, time, ..., {width})"
            )
        if not x.is_floating_point():
            raise ValueError(f"{name} is {x.dtype}, but must be floats: features, or a state")
        if self.training and self.random_history and not name.startswith(_NO_HISTORY):
            x = x[:, -int(torch.randint(1, x.shape[1] + 1, ())) :]
        limits = _LIMITS.get(name)
        return self.limits[limits].normalize(x) if limits in self.limits else x  # type: ignore[operator]

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pooling == "mean":
            return x.mean(1)
        if self.pooling == "max":
            return x.amax(1)
        if self.pooling == "last":
            return x[:, -1]
        return x[:, -self.chunk :] if self.pooling == "action_token" else x

    def share_trunk(self, trunk: nn.Module) -> None:
        """Use the trunk of another policy, or one that was read from a file.

        Raises:
            ValueError: of another size.
        """
        own, other = self.trunk.state_dict(), trunk.state_dict()
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in other.items()}:
            raise ValueError("the trunk has another dim or depth than this policy's")
        self.trunk = trunk  # type: ignore[assignment]


def _for_each(what: str, given: Any, features: Mapping[str, int]) -> dict[str, Any]:
    """One value for all modalities, or a table of them, as a table."""
    if not features:
        raise ValueError("features is empty, but must name at least one modality")
    if not isinstance(given, Mapping):
        return dict.fromkeys(features, given)
    if set(given) != set(features):
        raise ValueError(
            f"{what} names {', '.join(given)}, but features names {', '.join(features)}"
        )
    return dict(given)
