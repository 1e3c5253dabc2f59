"""What a policy must know of the demonstrations it was trained on: names, sizes, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys

__all__ = ["DemonstrationsDescription"]

_TUPLES = ("action_names", "tasks")
_NEEDED = ("observations", "action_dim", "history", "chunk")


@dataclass(frozen=True)
class DemonstrationsDescription(DataDescription):
    """Observations and actions of training episodes; plain values only, in the robot's units.

    Args:
        observations: numbers of each observed vector, in the order in which they make the state.
        cameras: [height, width, 3] of the images that the network sees.
        action_dim: numbers in an action.
        action_names: of them; () where the data do not say.
        action_limits: [smallest, largest] of each, as given or as found in training episodes.
        history: observations of a window; chunk: actions of it.
        fps: steps in a second; None where the data do not say.
        language: where instructions come from: "text" (`embed_text`), or the name of an
            observation; None: the policy is told nothing.
        language_dim: length of their embeddings; 0 without.
        tasks: what the robot was told, or names of tasks.
        state_scale, action_scale: "limits", "gaussian" or "none".
        statistics: of "state" and "action": "min", "max", "mean", "std" of each number.
        environment: what made the episodes, as far as the data say.
        source: provenance: "path", "episodes", "fingerprint" (sha256), ...
    """

    observations: dict[str, int]
    action_dim: int
    history: int
    chunk: int
    cameras: dict[str, list[int]] = field(default_factory=dict)
    action_names: tuple[str, ...] = ()
    action_limits: list[list[float]] = field(default_factory=list)
    fps: float | None = None
    language: str | None = None
    language_dim: int = 0
    tasks: tuple[str, ...] = ()
    state_scale: str = "limits"
    action_scale: str = "limits"
    statistics: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)

    @property
    def state_dim(self) -> int:
        """Numbers in the state."""
        return sum(self.observations.values())

    def sizes(self) -> Mapping[str, int | tuple[str, ...] | list[int]]:
        found: dict[str, int | tuple[str, ...] | list[int]] = {
            "action_dim": self.action_dim,
            "chunk": self.chunk,
        }
        if self.observations:
            found["state_dim"] = self.state_dim
        if self.language_dim:
            found |= {"language_dim": self.language_dim, "instruction_dim": self.language_dim}
        return found

    def require_match(self, found: DemonstrationsDescription, where: str) -> None:
        """ValueError where data do not have what the policy was trained on; `where` names them."""
        for what, own, other in (
            ("observations", self.observations, found.observations),
            ("cameras", self.cameras, found.cameras),
            ("numbers in an action", self.action_dim, found.action_dim),
            ("steps in a second", self.fps, found.fps),
            ("language", (self.language, self.language_dim), (found.language, found.language_dim)),
        ):
            if own != other:
                raise ValueError(
                    f"{where} gives {what} {_said(other)}, but the policy was trained on "
                    f"{_said(own)}"
                )

    def table(self) -> dict[str, str]:
        table = {"observations": _said(self.observations)}
        if self.cameras:
            table["cameras"] = ", ".join(
                f"{name} {h} x {w}" for name, (h, w, _) in self.cameras.items()
            )
        names = f" ({', '.join(self.action_names)})" if self.action_names else ""
        table["action"] = f"{self.action_dim} numbers{names}"
        if self.action_limits:
            table["limits of actions"] = ", ".join(f"{a:g} to {b:g}" for a, b in self.action_limits)
        many = "s" if self.history > 1 else ""
        table["window"] = f"{self.history} observation{many}, {self.chunk} actions"
        if self.fps is not None:
            table["steps in a second"] = f"{self.fps:g}"
        if self.language is not None:
            table["told"] = f"{self.language}, {self.language_dim} numbers"
        if self.tasks:
            table["tasks"] = _few(self.tasks)
        if "env_name" in self.environment:
            table["environment"] = str(self.environment["env_name"])
        return table | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        found = [("input", name, "") for name in (*self.observations, *self.cameras)]
        if self.language is not None:
            found.append(("input", "instruction", ""))
        return [*found, ("target", "actions", "")]

    def summary(self) -> str:
        seen = ", ".join((*self.observations, *self.cameras)) or "nothing"
        return f"Gives the next {self.chunk} actions of a robot from {seen}."

    def layout(self) -> str:
        rate = "" if self.fps is None else f", {self.fps:g} steps in a second"
        seen = "last observation" if self.history == 1 else f"last {self.history} observations"
        return f"It sees the {seen}{rate}."

    def limits(self) -> str:
        return (
            "Trusted only for the robot, cameras and tasks of its demonstrations, near the states "
            "that these visit; measure its success in the loop before it moves anything."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DemonstrationsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, _NEEDED, "a description of demonstrations")
        tuples = {name: tuple(values[name]) for name in _TUPLES if name in values}
        return cls(**{**values, **tuples})


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} ({size})" for name, size in value.items()) or "none"
    return "unknown" if value is None else str(value)


def _few(names: tuple[str, ...]) -> str:
    more = f", ... ({len(names)})" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more
