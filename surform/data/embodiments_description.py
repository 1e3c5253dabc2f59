"""What a policy of several robots must know of the demonstrations of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.demonstrations_description import DemonstrationsDescription
from surform.data.description_keys import check_keys

__all__ = ["EmbodimentsDescription"]


@dataclass(frozen=True)
class EmbodimentsDescription(DataDescription):
    """The descriptions of several robots' demonstrations, by their names."""

    robots: dict[str, DemonstrationsDescription]

    @property
    def source(self) -> dict[str, str]:
        """Provenance: every entry names its robot; "fingerprint" is those of all."""
        found = {
            f"{name}: {key}": value
            for name, own in self.robots.items()
            for key, value in own.source.items()
            if key != "fingerprint"
        }
        prints = [own.source.get("fingerprint", "") for own in self.robots.values()]
        return found | {"fingerprint": "+".join(prints)}

    def require_match(self, found: EmbodimentsDescription, where: str) -> None:
        """ValueError where data do not have what the policy was trained on; `where` names them."""
        if set(found.robots) != set(self.robots):
            raise ValueError(
                f"{where} names the robots {', '.join(found.robots)}, but the policy was trained "
                f"on {', '.join(self.robots)}"
            )
        for name, own in self.robots.items():
            own.require_match(found.robots[name], f"{where}.{name}")

    def table(self) -> dict[str, str]:
        return {
            f"{name}: {key}": value
            for name, own in self.robots.items()
            for key, value in own.table().items()
        }

    def roles(self) -> list[tuple[str, str, str]]:
        return [
            (role, f"{what} of {name}", unit)
            for name, own in self.robots.items()
            for role, what, unit in own.roles()
        ]

    def summary(self) -> str:
        return f"Gives the next actions of {len(self.robots)} robots: {', '.join(self.robots)}."

    def limits(self) -> str:
        return next(iter(self.robots.values())).limits()

    def to_dict(self) -> dict[str, Any]:
        return {"robots": {name: own.to_dict() for name, own in self.robots.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EmbodimentsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, ("robots",), "a description of several robots")
        read = DemonstrationsDescription.from_dict
        return cls({name: read(own) for name, own in values["robots"].items()})
