"""A policy: observations of a robot in, its next actions out, in the units of the robot."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.data.demonstrations_batch import DemonstrationBatch
from surform.data.demonstrations_description import DemonstrationsDescription
from surform.data.normalizers import Normalizer
from surform.hub.pretrained import Pretrained
from surform.robotics.observed import camera_images, instruction_vectors, state_vectors
from surform.robotics.policy_net import Window

__all__ = ["Policy"]


class Policy(Pretrained):
    """Chunks of actions from observations, step by step, with what a network remembers of them.

    With the description of its demonstrations it takes observations as environments give them and
    files hold them; without one (converted weights), as the network takes them.

    Args:
        net: a registered policy; see `PolicyNet`.
    """

    kind: ClassVar[str] = "policy"
    usage: ClassVar[str] = "actions, memory = model.act(observation, memory)"
    file_options: ClassVar[tuple[str, ...]] = ("batch_size",)
    description: DemonstrationsDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.action = Normalizer()
        own = "state" in self.takes and not getattr(net, "in_units", False)
        self.state = Normalizer() if own else None

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of what the network observes."""
        return tuple(getattr(self.net, "takes", ()))

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> DemonstrationsDescription:
        return DemonstrationsDescription.from_dict(values)

    def fit_to(
        self, description: DemonstrationsDescription, state: Normalizer, action: Normalizer
    ) -> None:
        """Take over the description of the training data and its statistics.

        Raises:
            ValueError: the network takes what the data do not give, or other windows.
        """
        _check_network(self.net, description)
        self.description = description
        net: Any = self.net
        if net.in_units:
            limits = {n: _limits(description.statistics.get(n)) for n in ("action", "state")}
            net.fit_limits(**limits)
            action = Normalizer(torch.zeros(()), torch.ones(()))
        self.action = action
        if self.state is not None:
            self.state = state
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics are not those of a vector."""
        for name, module in self.normalizers().items():
            if module.mean.ndim > 1:
                what = "actions" if name == "action" else name
                raise ValueError(
                    f"the statistics of {what} have shape {tuple(module.mean.shape)}, but must be "
                    "one number for each part"
                )

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the network says, in normalised units."""
        return self.net(*inputs, **named)

    # -- step by step ----------------------------------------------------------------------

    def start(self, batch: int = 1) -> Any:
        """The memory before the first step of so many episodes, which begin together."""
        return self.net.start(batch)  # type: ignore[operator]

    @torch.no_grad()
    def observe(self, observation: Mapping[str, Any], memory: Any) -> Any:
        """The memory after a step at which no action is asked for; see `act`."""
        seen = self.observed(observation)
        return self.net.observe(seen, memory)  # type: ignore[operator]

    @torch.no_grad()
    def act(
        self, observation: Mapping[str, Any], memory: Any
    ) -> tuple[Float[Tensor, "b c a"], Any]:
        """The next actions, in the robot's units, and the memory for the step after.

        Args:
            observation: arrays or tensors by their names, each (B, ...): numbers as they are,
                images (B, height, width, 3) uint8; "instruction", where the policy is told one: B
                sentences, or (B, E) embeddings.
            memory: of `start`, or of the step before. Steps at which nothing is asked for must be
                shown to `observe`.

        Raises:
            ValueError: without statistics, or observations that lack or are of another shape.
        """
        self.action.require_statistics()
        actions, memory = self.net.act(self.observed(observation), memory)  # type: ignore[operator]
        return self.action.denormalize(actions), memory

    def observed(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """One step as the network takes it; ValueError says what lacks or does not fit."""
        about = self.description
        if about is None:
            return dict(observation)
        like, found = self.action.mean, dict[str, Tensor]()
        if "state" in self.takes:
            found["state"] = self.scaled(state_vectors(observation, about.observations, like))
        for camera in about.cameras:
            name = camera if camera in self.takes else "image"
            if name in self.takes:
                images = camera_images(observation, camera, about.cameras[camera], like.device)
                found[name] = self.pixels(images)
        if "language" in self.takes and about.language is not None:
            found["language"] = instruction_vectors(
                observation, about.language, about.language_dim, like
            )
        sizes = {name: len(value) for name, value in found.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(f"observations are of different numbers of episodes: {listed}")
        return found

    # -- windows ---------------------------------------------------------------------------

    def window(self, batch: DemonstrationBatch) -> Window:
        """What a loader gives, as the network takes it."""
        like, found = self.action.mean, dict[str, Tensor]()
        if "state" in self.takes and batch.state is not None:
            found["state"] = self.scaled(batch.state.to(like.dtype))
        for camera, images in batch.images.items():
            name = camera if camera in self.takes else "image"
            if name in self.takes:
                found[name] = self.pixels(images.movedim(-1, -3))
        if "language" in self.takes and batch.language is not None:
            found["language"] = batch.language.to(like.dtype)
        return Window(
            found,
            self.normalized(batch.actions),
            batch.mask,
            self.normalized(batch.past),
            batch.seen,
        )

    def normalized(self, actions: Tensor) -> Tensor:
        """Actions as the network learns them; what lies beyond their limits is moved onto these.

        Actions of training episodes do not, those of other episodes may.
        """
        about = self.description
        found = self.action.normalize(actions.to(self.action.mean.dtype))
        net: Any = self.net
        if about is None or about.action_scale != "limits" or net.in_units:
            return found
        return found.clamp(-1, 1)

    @torch.no_grad()
    def outputs(self, batch: DemonstrationBatch) -> Float[Tensor, "b c a"]:
        """Chunks of actions in the robot's units for a batch of windows."""
        return self.action.denormalize(self.net.answer(self.window(batch)))  # type: ignore[operator]

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """The chunks that the policy would begin at every step of demonstrations."""
        from surform.robotics.policy_predicting import predict_file

        return predict_file(self, source, out, **options)

    def exportable(self) -> Any:
        from surform.robotics.act_program import act_program

        return act_program(self)

    def scaled(self, state: Tensor) -> Tensor:
        """States in the robot's units as the network takes them."""
        return state if self.state is None else self.state.normalize(state)

    def pixels(self, images: Tensor) -> Tensor:
        """Images (..., 3, h, w) uint8 as the network takes them."""
        net: Any = self.net
        return images if net.images == "bytes" else normalized_pixels(images, self.action.mean)


# of ImageNet, whose weights encoders begin with
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalized_pixels(images: Tensor, like: Tensor) -> Tensor:
    """Images (..., 3, h, w) uint8 as floats about 0."""
    mean, std = (torch.tensor(v).to(like)[:, None, None] for v in (_MEAN, _STD))
    return (images.to(like.dtype) / 255 - mean) / std


def _limits(statistics: Mapping[str, list[float]] | None) -> Tensor:
    """(2, n): the smallest and the largest of each number."""
    if statistics is None:
        return torch.zeros(2, 0)
    return torch.tensor([statistics["min"], statistics["max"]])


def _check_network(net: Any, about: DemonstrationsDescription) -> None:
    """ValueError where a network asks for something else than the data give."""
    if not hasattr(net, "takes"):
        raise ValueError(
            f"{type(net).__name__} is no network for policies: it does not say what it takes "
            "(see surform.robotics.policy_net)"
        )
    given = {"state"} if about.observations else set[str]()
    given |= set(about.cameras) | ({"language"} if about.language else set())
    given |= {"image"} if len(about.cameras) == 1 else set()
    for name in net.takes:
        if name not in given:
            listed = ", ".join(sorted(given)) or "nothing"
            raise ValueError(
                f"the network takes {name!r}, but the data give {listed}: see data.observations, "
                "data.cameras and data.language"
            )
    for what, own, data in (
        ("actions of", net.action_dim, about.action_dim),
        ("chunks of", net.chunk, about.chunk),
    ):
        if own != data:
            unit = "numbers" if what == "actions of" else "actions"
            raise ValueError(f"the network has {what} {own} {unit}, the data {data}")
    if net.history > about.history:
        raise ValueError(
            f"the network sees {net.history} observations, but data.history is {about.history}"
        )
