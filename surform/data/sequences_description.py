"""What a classifier of sequences must know of its training data: classes, tokens, lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys

__all__ = ["TOKENS", "SequencesDescription"]

# what the tokens of each kind of data are
TOKENS = {
    "listops": "words of ListOps",
    "bytes": "bytes of texts",
    "pairs": "bytes of pairs of texts",
    "pixels": "grey values of pixels, row by row",
}
_NEEDED = ("classes", "tokens", "vocab_size", "length")


@dataclass(frozen=True)
class SequencesDescription(DataDescription):
    """Classes of sequences, and what their tokens are; plain values only.

    Args:
        classes: names, in the order of the network's logits.
        tokens: "listops", "bytes", "pairs" or "pixels".
        vocab_size: how many different tokens there are, padding (0) among them.
        length: most tokens of a sequence.
        source: provenance: "fingerprint" (sha256), "path", "sequences", ...
    """

    classes: tuple[str, ...]
    tokens: str
    vocab_size: int
    length: int
    source: dict[str, str] = field(default_factory=dict)

    def require_match(self, found: SequencesDescription, where: str) -> None:
        """Raise unless sequences described by `found` suit a model that was trained on this.

        Raises:
            ValueError: other classes or tokens, or longer sequences; `where` names the data.
        """
        if self.classes != found.classes:
            raise ValueError(
                f"the model was trained with the classes {', '.join(self.classes)}, {where} has "
                f"{', '.join(found.classes)}"
            )
        if self.tokens != found.tokens:
            raise ValueError(
                f"the model was trained on {TOKENS[self.tokens]}, {where} holds "
                f"{TOKENS[found.tokens]}"
            )
        if self.length < found.length:
            raise ValueError(
                f"the model was trained with at most {self.length} tokens, {where} has sequences "
                f"of {found.length}: set data.length to {self.length}"
            )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        return {
            "num_classes": self.classes,
            "vocab_size": self.vocab_size,
            "length": self.length,
            "sequences": 2 if self.tokens == "pairs" else 1,
        }

    def table(self) -> dict[str, str]:
        return {
            "classes": f"{len(self.classes)}: {', '.join(self.classes)}",
            "tokens": f"{TOKENS[self.tokens]}, {self.vocab_size} with padding",
            "tokens of a sequence": f"at most {self.length}",
        } | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        return [("token", TOKENS[self.tokens], "number")] + [
            ("class", name, "probability") for name in self.classes
        ]

    def summary(self) -> str:
        what = "pair of sequences" if self.tokens == "pairs" else "sequence"
        return (
            f"Tells which of {len(self.classes)} classes a {what} is of, from its tokens "
            f"({TOKENS[self.tokens]}): {', '.join(self.classes)}."
        )

    def layout(self) -> str:
        return f"Longer sequences are cut after {self.length} tokens; 0 is padding."

    def limits(self) -> str:
        return (
            "Trusted only for sequences like those it was trained on; one of none of the classes "
            "is given one all the same."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SequencesDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, _NEEDED, "a description of sequences")
        plain: dict[str, Any] = dict(values) | {"classes": tuple(values["classes"])}
        return cls(**plain)
