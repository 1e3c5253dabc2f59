"""What a classifier must know of the images it was trained on: classes, channels, size, scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys

__all__ = ["ImagesDescription"]

_TUPLES = ("classes", "channels", "image_size")


@dataclass(frozen=True)
class ImagesDescription(DataDescription):
    """Classes, channels and size of images, and how they were brought to it; plain values only.

    Args:
        classes: names, in the order of the network's logits.
        channels: names, in order: ("red", "green", "blue"), ("grey",), ...
        image_size: height and width that the network is given [pixels].
        eight_bit: 8-bit images, read as 0 to 1; others are taken as they are.
        crop_pct: share of the resized image's sides that its middle keeps in evaluation.
        interpolation: "bilinear" or "bicubic".
        source: provenance: "fingerprint" (sha256), "path", "images", ...
    """

    classes: tuple[str, ...]
    channels: tuple[str, ...]
    image_size: tuple[int, int]
    eight_bit: bool = True
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    source: dict[str, str] = field(default_factory=dict)

    def require_match(self, found: ImagesDescription, where: str) -> None:
        """Raise unless images described by `found` suit a model that was trained on this.

        Raises:
            ValueError: other classes, channels, sizes or kinds of pixels; `where` names the data.
        """
        for role in ("classes", "channels", "image_size"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )
        if self.eight_bit != found.eight_bit:
            kinds = ("numbers as they are", "8-bit images")
            raise ValueError(
                f"the model was trained on {kinds[self.eight_bit]}, {where} has "
                f"{kinds[found.eight_bit]}"
            )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        height, width = self.image_size
        return {
            "num_classes": self.classes,
            "in_channels": self.channels,
            "image_size": height if height == width else [height, width],
        }

    def table(self) -> dict[str, str]:
        height, width = self.image_size
        table = {
            "classes": f"{len(self.classes)}: {_listed(self.classes)}",
            "channels": _listed(self.channels),
            "image size": f"{height} x {width} pixels",
            "values": "8 bits, read as 0 to 1" if self.eight_bit else "as they are",
        }
        if self.crop_pct != 1:
            table["cut"] = f"the middle {self.crop_pct:.0%} of each side"
        return table | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        given = [("channel", name, "1") for name in self.channels]
        return given + [("class", name, "probability") for name in self.classes]

    def summary(self) -> str:
        count = len(self.channels)
        return (
            f"Tells which of {len(self.classes)} classes an image of {count} "
            f"channel{'s' * (count != 1)} shows: {_listed(self.classes)}."
        )

    def layout(self) -> str:
        height, width = self.image_size
        return f"Images are brought to {height} x {width} pixels."

    def limits(self) -> str:
        return (
            "Trusted only for images like those it was trained on; an image that shows none of the "
            "classes is given one all the same."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImagesDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, _TUPLES, "a description of images")
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)


def _listed(names: tuple[Any, ...], most: int = 12) -> str:
    more = f", ... ({len(names)})" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
