"""What a classifier must know of the clips it was trained on: classes, rate, spectrograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys
from surform.data.mel import FrontEnd

__all__ = ["ClipsDescription"]


@dataclass(frozen=True)
class ClipsDescription(DataDescription):
    """Classes of clips and how spectrograms are made of them; plain values only.

    Args:
        classes: names, in the order of the network's logits.
        frames: of a spectrogram, 10 ms each.
        front_end: arguments of `surform.data.mel.FrontEnd`.
        several: a clip may have several classes, or none.
        source: provenance: "fingerprint" (sha256), "path", "clips", ...
    """

    classes: tuple[str, ...]
    frames: int
    front_end: dict[str, Any] = field(default_factory=dict)
    several: bool = False
    source: dict[str, str] = field(default_factory=dict)

    def spectrograms(self) -> FrontEnd:
        """What makes the spectrograms."""
        return FrontEnd(**self.front_end)

    def require_match(self, found: ClipsDescription, where: str) -> None:
        """Raise unless clips described by `found` suit a model that was trained on this.

        Raises:
            ValueError: other classes, spectrograms or lengths; `where` names the data.
        """
        for role in ("classes", "frames", "front_end", "several"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        bins = self.spectrograms().bins
        return {"num_classes": self.classes, "frames": self.frames, "mel_bins": bins}

    def table(self) -> dict[str, str]:
        front = self.spectrograms()
        low, high = front.edges()
        return {
            "classes": f"{len(self.classes)}: {_listed(self.classes)}",
            "classes of a clip": "any number" if self.several else "one",
            "rate": f"{front.rate} Hz",
            "spectrograms": f"{front.kind}, {self.frames} frames of 10 ms, {front.bins} mel bands "
            f"from {low:g} to {high:g} Hz",
            **self.source,
        }

    def roles(self) -> list[tuple[str, str, str]]:
        given = [("input", "log-mel spectrogram", "1")]
        return given + [("class", name, "probability") for name in self.classes]

    def summary(self) -> str:
        what = "which" if self.several else "which one"
        return (
            f"Tells {what} of {len(self.classes)} classes a clip of sound is of: "
            f"{_listed(self.classes)}."
        )

    def layout(self) -> str:
        front = self.spectrograms()
        seconds = front.samples(self.frames) / front.rate
        return f"Clips are mono, {front.rate} Hz, and looked at in windows of {seconds:.3g} s."

    def limits(self) -> str:
        return "Trusted only for clips like those it was trained on" + (
            "." if self.several else "; a clip of none of the classes is given one all the same."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClipsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, ("classes",), "a description of clips")
        return cls(**{**values, "classes": tuple(values["classes"])})


def _listed(value: Any, most: int = 12) -> str:
    if not isinstance(value, tuple):
        return str(value)
    more = f", ... ({len(value)})" if len(value) > most else ""
    return ", ".join(map(str, value[:most])) + more
