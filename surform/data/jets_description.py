"""What a tagger must know of the jets it was trained on: classes, features, particles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys

__all__ = ["JetsDescription"]

_TUPLES = ("classes", "features")


@dataclass(frozen=True)
class JetsDescription(DataDescription):
    """Classes of jets and features of their particles; plain values only.

    Args:
        classes: names, in the order of the network's logits.
        features: of a particle, names in order.
        particles: kept of a jet, those of the largest pT.
        source: provenance: "fingerprint" (sha256), "path", "jets", ...
    """

    classes: tuple[str, ...]
    features: tuple[str, ...]
    particles: int
    source: dict[str, str] = field(default_factory=dict)

    def require_match(self, found: JetsDescription, where: str) -> None:
        """Raise unless jets described by `found` suit a model that was trained on this.

        Raises:
            ValueError: other classes, features or numbers of particles; `where` names the data.
        """
        for role in ("classes", "features"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with the {role} {', '.join(mine)}, {where} has "
                    f"{', '.join(theirs)}"
                )
        if self.particles != found.particles:
            raise ValueError(
                f"the model was trained with {self.particles} particles of each jet, {where} gives "
                f"{found.particles}: set data.particles"
            )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        return {"num_classes": self.classes, "in_channels": self.features}

    def table(self) -> dict[str, str]:
        return {
            "classes": f"{len(self.classes)}: {', '.join(self.classes)}",
            "features of particles": ", ".join(self.features),
            "particles of a jet": f"at most {self.particles}, those of the largest pT",
        } | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        given = [("feature", name, "as in the data") for name in self.features]
        return given + [("class", name, "probability") for name in self.classes]

    def summary(self) -> str:
        return (
            f"Tells which of {len(self.classes)} classes a jet is of, from {len(self.features)} "
            f"features of its particles: {', '.join(self.classes)}."
        )

    def layout(self) -> str:
        return f"The {self.particles} particles of the largest pT are kept; zeros are padding."

    def limits(self) -> str:
        return (
            "Trusted only for jets of the same simulation and selection; a jet of none of the "
            "classes is given one all the same."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JetsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, _TUPLES, "a description of jets")
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)
