"""What an agent must know of the worlds it was trained in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.decisions_settings import make_setting
from surform.data.description_keys import check_keys

__all__ = ["DecisionsDescription"]


@dataclass(frozen=True)
class DecisionsDescription(DataDescription):
    """The kind of worlds, how long they were played and by whom; plain values only.

    Args:
        worlds: {"name": kind, option: value, ...}, as `make_setting` takes them.
        rounds: transitions that an agent sees of one world.
        collectors: {name: share} of who collected them.
        episodes: that the agent acts in, where worlds have states, to be measured.
        source: provenance: "fingerprint" (sha256), ...
    """

    worlds: dict[str, Any]
    rounds: int
    collectors: dict[str, float]
    episodes: int = 1
    source: dict[str, str] = field(default_factory=dict)

    @property
    def setting(self) -> Any:
        """The `Setting` of the worlds."""
        return make_setting(self.worlds)

    def require_match(self, found: DecisionsDescription, where: str) -> None:
        """ValueError unless worlds described by `found` suit an agent that was trained on this."""
        mine, theirs = self.setting, found.setting
        for what in ("name", "actions", "state_dim", "features"):
            trained, given = getattr(mine, what), getattr(theirs, what)
            if trained != given:
                raise ValueError(
                    f"the agent was trained in worlds with {what} {trained}, {where} has {given}"
                )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        setting = self.setting
        return {
            "actions": setting.actions,
            "state_dim": setting.state_dim,
            **({"features": setting.features} if setting.features else {}),
        }

    def table(self) -> dict[str, str]:
        options = ", ".join(f"{k} {v}" for k, v in self.worlds.items() if k != "name")
        shares = ", ".join(f"{name} {share:g}" for name, share in self.collectors.items())
        return {
            "worlds": self.setting.sentence(),
            "options": options or "defaults",
            "rounds": str(self.rounds),
            "collected by": shares,
            **self.source,
        }

    def roles(self) -> list[tuple[str, str, str]]:
        return [
            ("observation", "transitions so far: state, action, next state, reward", "1"),
            ("action", f"one of {self.setting.actions}", "probability"),
        ]

    def summary(self) -> str:
        return (
            f"Acts in {self.setting.sentence()} that it has never seen, from up to {self.rounds} "
            "rounds in its context, without learning."
        )

    def layout(self) -> str:
        return f"Up to {self.rounds} rounds of each world."

    def limits(self) -> str:
        return (
            "Trusted only in worlds drawn as those it was trained in, for no more rounds than "
            "there; what it does with other noise, arms or rewards is an extrapolation."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecisionsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, (), "a description of decisions")
        found = cls(**values)
        make_setting(found.worlds)
        return found
