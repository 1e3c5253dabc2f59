"""One step of a policy as a function of tensors alone, for programs that need no surform.

There is no memory: what a policy remembers goes in beside what it sees.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from surform.data.demonstrations_description import DemonstrationsDescription
from surform.robotics.policy_net import Window

__all__ = ["ActProgram", "RT1Program", "act_program"]


def act_program(policy: Any) -> ActProgram | RT1Program:
    """The program of a policy.

    Raises:
        ValueError: a policy that does not know its demonstrations, whose sizes programs have.
    """
    if policy.description is None:
        raise ValueError(
            "the policy does not know its demonstrations, and programs have the sizes of these: "
            "train it, or give it a description (fit_to)"
        )
    policy.action.require_statistics()
    kind = RT1Program if hasattr(policy.net, "transformer") else ActProgram
    return kind(policy).eval()


class _Program(nn.Module):
    """What `surform export` asks for."""

    ragged: ClassVar[dict[str, str]] = {}
    output_names: ClassVar[tuple[str, ...]] = ("output",)

    def example_inputs(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def example_batch(self, count: int) -> dict[str, Tensor]:
        """So many samples."""
        parts = [self.example_inputs() for _ in range(-(-count // 2))]
        return {n: torch.cat([part[n] for part in parts])[:count] for n in parts[0]}


class ActProgram(_Program):
    """The next chunk of actions from the last observations, statistics inside.

    Inputs, as far as the policy takes them: "state" (b, h, s), the observed vectors side by side,
    in the robot's units, and each camera (b, h, height, width, 3) uint8: the last h observations,
    oldest first, the first of an episode repeated where there are none before it; "language"
    (b, e), the embedding of the instruction; "start" (b, chunk, a), standard normal numbers, where
    actions are denoised. The output is (b, chunk, a), in the robot's units.
    """

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy
        self.names = _cameras(policy)
        self.forward = _named(self._chunk, self.example_inputs())

    def _chunk(self, **inputs: Tensor) -> Tensor:
        net = self.policy.net
        seen: dict[str, Tensor] = {}
        for name, value in inputs.items():
            if name == "state":
                seen[name] = self.policy.scaled(value)
            elif name in self.names:
                seen[self.names[name]] = self.policy.pixels(value.movedim(-1, -3))
            elif name == "language":
                seen[name] = value
        first = next(iter(inputs.values()))
        size, like = first.shape[0], self.policy.action.mean
        window = Window(  # of which networks that answer look at observations only
            seen,
            like.new_zeros(size, net.chunk, net.action_dim),
            like.new_ones(size, net.chunk, dtype=torch.bool),
            like.new_zeros(size, net.history - 1, net.action_dim),
            like.new_ones(size, net.history, dtype=torch.bool),
        )
        noise = {"start": inputs["start"]} if "start" in inputs else {}
        return self.policy.action.denormalize(net.answer(window, **noise))

    def example_inputs(self) -> dict[str, Tensor]:
        """Two observations near those of the demonstrations."""
        net, about = self.policy.net, self.policy.description
        like, found = self.policy.action.mean, dict[str, Tensor]()
        if "state" in net.takes:
            found["state"] = _states(about, like, (2, net.history))
        for camera in self.names:
            shape = (2, net.history, *about.cameras[camera])
            found[camera] = torch.randint(0, 256, shape, dtype=torch.uint8, device=like.device)
        if "language" in net.takes:
            found["language"] = torch.randn(2, about.language_dim).to(like)
        if getattr(net, "draws_noise", False):
            found["start"] = torch.randn(2, net.chunk, net.action_dim).to(like)
        return found


class RT1Program(_Program):
    """The next action of RT-1 from one image and the tokens of the images before it.

    Inputs: the camera (b, height, width, 3) uint8, the newest image; "language" (b, e); "tokens"
    (b, frames - 1, n, dim), those of the images before, the first in place 0, and zeros behind the
    last of them; "count" (b,) int64, how many there are, 0 at the start. Outputs: the action (b, 1,
    a) in the robot's units, and the tokens for the next step, of which there are then
    min(count + 1, frames - 1).
    """

    output_names: ClassVar[tuple[str, ...]] = ("output", "next_tokens")

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy
        (self.camera,) = _cameras(policy)
        if policy.net.history < 2 or policy.net.transformer.feed:
            raise ValueError(
                "programs of RT-1 are written for frames of 2 or more, without feed_action_tokens"
            )
        self.forward = _named(self._action, self.example_inputs())

    def _action(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        net = self.policy.net
        count, before = inputs["count"], inputs["tokens"]
        images = inputs[self.camera].movedim(-1, -3)
        new = net.tokenizer(images, net.tokenizer.modulation(inputs["language"]))[:, None]
        slots = torch.arange(net.history, device=new.device)
        here = (slots == count[:, None])[..., None, None]
        tokens = torch.where(here, new, torch.cat((before, torch.zeros_like(new)), 1))
        logits = net.transformer.action_logits(tokens)
        newest = count[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        actions = net.actions.decode(logits.gather(1, newest).argmax(-1))
        full = (count == net.history - 1)[:, None, None, None]
        after = torch.where(full, tokens[:, 1:], tokens[:, :-1])
        return self.policy.action.denormalize(actions), after

    def example_inputs(self) -> dict[str, Tensor]:
        """Two images, one at the start and one with a full history."""
        net, about = self.policy.net, self.policy.description
        like = self.policy.action.mean
        shape = (2, *about.cameras[self.camera])
        full = net.history - 1
        tokens = torch.randn(2, full, net.tokenizer.tokens, net.transformer.token_dim)
        tokens[0] = 0.0
        return {
            self.camera: torch.randint(0, 256, shape, dtype=torch.uint8, device=like.device),
            "language": torch.randn(2, net.instruction_dim).to(like),
            "tokens": tokens.to(like),
            "count": torch.tensor([0, full], device=like.device),
        }


def _named(function: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    """A function of any names as one of these: cameras have names of their own."""
    found: Any = partial(function)
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    found.__signature__ = inspect.Signature(parameters)
    return found


def _cameras(policy: Any) -> dict[str, str]:
    """The cameras of the demonstrations that the network takes, and what it calls them."""
    takes = policy.net.takes
    named = {
        camera: camera if camera in takes else "image" for camera in policy.description.cameras
    }
    return {camera: name for camera, name in named.items() if name in takes}


def _states(about: DemonstrationsDescription, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    found = about.statistics["state"]
    mean, deviation = (torch.tensor(found[name]).to(like) for name in ("mean", "std"))
    return mean + deviation * torch.randn(*shape, about.state_dim).to(like)
