"""What a classifier must know of the scene it was trained on: classes, bands, window, division."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys

__all__ = ["ScenesDescription"]

_TUPLES = ("classes", "bands", "wavelengths")
_OPTIMISTIC = (
    "Its figures are optimistic: {why}, as in the published code. They say little of another place "
    "or another scene."
)


@dataclass(frozen=True)
class ScenesDescription(DataDescription):
    """Classes and bands of a scene, and how its pixels were divided; plain values only.

    Args:
        classes: names, in the order of the network's logits.
        bands: numbers of the bands that are looked at, from 0.
        all_bands: how many the scene has.
        window: side of the patch round a pixel [pixels].
        components: how many numbers of a spectrum the network is given.
        wavelengths: of the bands that are looked at [nm]; empty where unknown.
        division: "disjoint" or "overlapping".
        components_from: "training" or "scene": which pixels the components were fitted on.
        source: provenance: "fingerprint" (sha256), "path", "pixels", ...
    """

    classes: tuple[str, ...]
    bands: tuple[int, ...]
    all_bands: int
    window: int
    components: int
    wavelengths: tuple[float, ...] = ()
    division: str = "disjoint"
    components_from: str = "training"
    source: dict[str, str] = field(default_factory=dict)

    def require_match(self, found: ScenesDescription, where: str) -> None:
        """ValueError unless a scene described by `found` suits a model that was trained on this."""
        for role in ("classes", "bands", "all_bands", "window", "components"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        return {
            "num_classes": self.classes,
            "in_channels": self.components,
            "window": self.window,
        }

    def optimism(self) -> str:
        """What makes figures better than they are; "" where nothing does."""
        why = []
        if self.division == "overlapping":
            why.append("the windows of training and test pixels overlap")
        if self.components_from == "scene":
            why.append("the components were fitted on test pixels, too")
        return _OPTIMISTIC.format(why=", and ".join(why)) if why else ""

    def table(self) -> dict[str, str]:
        table = {
            "classes": f"{len(self.classes)}: {_listed(self.classes)}",
            "bands": f"{len(self.bands)} of {self.all_bands}",
            "window": f"{self.window} x {self.window} pixels",
            "components": f"{self.components}, fitted on {_FITTED[self.components_from]}",
            "division": _DIVIDED[self.division],
        }
        if self.wavelengths:
            table["wavelengths"] = f"{min(self.wavelengths):g} to {max(self.wavelengths):g} nm"
        return table | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        given = [("spectrum", f"{len(self.bands)} bands", "as measured")]
        return given + [("class", name, "probability") for name in self.classes]

    def summary(self) -> str:
        return (
            f"Tells which of {len(self.classes)} classes covers a pixel of a hyperspectral scene: "
            f"{_listed(self.classes)}."
        )

    def layout(self) -> str:
        return (
            f"A pixel is seen with the {self.window} x {self.window} pixels round it; "
            f"{self.components} components of each spectrum. Division: {_DIVIDED[self.division]}."
        )

    def limits(self) -> str:
        text = (
            "Trusted only for scenes of the same sensor, season and units as the one it was "
            "trained on; a pixel that is none of the classes is given one all the same."
        )
        return f"{text} {self.optimism()}".strip()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScenesDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        needed = ("classes", "bands", "all_bands", "window", "components")
        check_keys(cls, values, needed, "a description of a scene")
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)


_FITTED = {"training": "training pixels alone", "scene": "the whole scene, test pixels included"}
_DIVIDED = {
    "disjoint": "blocks of the scene; no window of one split shares a pixel with another's",
    "overlapping": "random pixels; windows of training and test pixels overlap",
}


def _listed(values: Any, most: int = 12) -> str:
    if not isinstance(values, tuple):
        return str(values)
    more = f", ... ({len(values)})" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
