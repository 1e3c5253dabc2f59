"""From what environments show to what a policy takes, and what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from surform.data.environments.seen import Facts

__all__ = ["check_observations", "instruction_of", "stacked", "trained_options"]


def check_observations(policy: Any, facts: Facts, told: str | None, environment: str) -> None:
    """Whether an environment shows what a policy was trained on, as its description says.

    Args:
        told: the instruction, None where there is none.
        environment: for messages.

    Raises:
        ValueError: an observation is missing or of another size, actions have another size, or
            nothing tells the policy what to do.
    """
    known = getattr(policy, "description", None)
    if known is None:
        return
    shown = ", ".join(f"{n} {shape}" for n, (shape, _) in facts.observations.items()) or "nothing"
    for name, size in known.observations.items():
        shape = facts.observations.get(name, ((), ""))[0]
        if int(np.prod(shape)) != size or not shape:
            raise ValueError(
                f"the policy sees {name!r} of {size} numbers, but {environment} shows {shown}"
            )
    for name, (height, width, _) in known.cameras.items():
        shape = facts.observations.get(name, ((), ""))[0]
        if len(shape) != 3:
            raise ValueError(
                f"the policy sees the camera {name!r} of {height} x {width} pixels, but "
                f"{environment} shows {shown}"
            )
    if known.action_dim != facts.action_size:
        raise ValueError(
            f"the policy gives actions of {known.action_dim} numbers, but {environment} takes "
            f"{facts.action_size}"
        )
    if known.language == "text" and told is None:
        raise ValueError(
            f"the policy is told what to do, but {environment} says nothing: give an instruction"
        )


def trained_options(policy: Any, environment: str) -> dict[str, Any]:
    """Arguments of the environment that the demonstrations of a policy were made with."""
    made = getattr(getattr(policy, "description", None), "environment", None) or {}
    return dict(made.get("env_kwargs") or {}) if made.get("env_name") == environment else {}


def instruction_of(policy: Any, task: str | None, says: str | None) -> str | None:
    """What an environment says, or the name of its task where the policy knows only that."""
    known = getattr(getattr(policy, "description", None), "tasks", ())
    return task if task in known and says not in known else says


def stacked(
    policy: Any,
    observations: Sequence[Mapping[str, np.ndarray]],
    instructions: Sequence[str | None],
) -> dict[str, Any]:
    """One observation of all episodes: tensors (b, ...) by name, and their instructions.

    Raises:
        ValueError: episodes that show different things.
    """
    first = observations[0]
    for other in observations[1:]:
        if {n: v.shape for n, v in other.items()} != {n: v.shape for n, v in first.items()}:
            raise ValueError(
                f"episodes of one batch must show the same, but one shows {_told(first)}, another "
                f"{_told(other)}"
            )
    place = _device(policy)
    found: dict[str, Any] = {
        name: torch.from_numpy(np.stack([each[name] for each in observations])).to(place)
        for name in first
    }
    if all(text is not None for text in instructions):
        found["instruction"] = list(instructions)
    return found


def _told(observation: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in observation.items())


def _device(policy: Any) -> torch.device:
    first = next(policy.parameters(), None) if isinstance(policy, nn.Module) else None
    return torch.device("cpu") if first is None else first.device
