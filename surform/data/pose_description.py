"""What a pose network must know of the data it was trained on: joints, size of crops, encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys
from surform.data.pose_keypoints import KeypointSet

__all__ = ["PoseDescription"]


@dataclass(frozen=True)
class PoseDescription(DataDescription):
    """The joints of each data set, and how persons were cropped; plain values only.

    Args:
        sets: one for each data set, in the order of the heads.
        image_size: height and width of the crops [pixels].
        encodings: of each data set's heatmaps, see `surform.vision.heatmap_targets`; those that
            begin with "udp" also say how crops are cut.
        padding: how much larger crops are than boxes.
        source: provenance: "fingerprint" (sha256), "path", "persons", ...
    """

    sets: tuple[KeypointSet, ...]
    image_size: tuple[int, int]
    encodings: tuple[str, ...]
    padding: float = 1.25
    source: dict[str, str] = field(default_factory=dict)

    @property
    def joints(self) -> tuple[int, ...]:
        """The number of joints of each data set."""
        return tuple(len(own) for own in self.sets)

    def require_match(self, found: PoseDescription, where: str) -> None:
        """Raise unless crops described by `found` suit a model that was trained on this.

        Raises:
            ValueError: other joints, sizes or encodings; `where` names the data.
        """
        if len(self.sets) != len(found.sets):
            raise ValueError(
                f"the model was trained on {len(self.sets)} data sets, {where} has "
                f"{len(found.sets)}"
            )
        for mine, theirs in zip(self.sets, found.sets, strict=True):
            if mine.joints != theirs.joints:
                raise ValueError(
                    f"the model was trained on the joints {_listed(mine.joints)}, {where} has "
                    f"{_listed(theirs.joints)}"
                )
        for role in ("image_size", "encodings"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        given: dict[str, int | tuple[str, ...] | list[int]] = {
            "image_size": list(self.image_size),
            "in_channels": 3,
        }
        if self.encodings == ("udp_combined",):  # a disc and two offsets for each joint
            return given | {"joints": 3 * len(self.sets[0])}
        if len(self.sets) == 1:
            return given | {"joints": self.sets[0].joints}
        return given | {"joints": list(self.joints), "experts": len(self.sets)}

    def table(self) -> dict[str, str]:
        height, width = self.image_size
        table = {}
        for number, (own, encoding) in enumerate(zip(self.sets, self.encodings, strict=True)):
            head = "joints" if len(self.sets) == 1 else f"joints of head {number}"
            table[head] = f"{own.name}, {len(own)}: {_listed(own.joints)} ({encoding})"
        table["crops"] = f"{height} x {width} pixels, {self.padding:g} times the box"
        return table | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        given = [("channel", name, "1") for name in ("red", "green", "blue")]
        return given + [("joint", name, "pixel") for own in self.sets for name in own.joints]

    def summary(self) -> str:
        named = " or ".join(f"{len(own)} joints ({own.name})" for own in self.sets)
        return f"Finds {named} of the person or animal that a box of an image holds."

    def layout(self) -> str:
        height, width = self.image_size
        return (
            f"Boxes are widened to the shape of the crop, enlarged {self.padding:g} times and "
            f"brought to {height} x {width} pixels."
        )

    def limits(self) -> str:
        return (
            "Trusted only for images, poses and boxes like those it was trained on; joints that "
            "are hidden or outside the crop are given a place all the same, with a low score."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PoseDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, {"sets", "image_size", "encodings"}, "a description of poses")
        sets = tuple(KeypointSet.from_dict(own) for own in values["sets"])
        height, width = values["image_size"]
        encodings = tuple(values["encodings"])
        return cls(
            **{**values, "sets": sets, "image_size": (height, width), "encodings": encodings}
        )


def _listed(names: tuple[Any, ...], most: int = 12) -> str:
    more = f", ... ({len(names)})" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
