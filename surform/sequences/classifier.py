"""A classifier of sequences: network, and what it was trained on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surform.data.sequences_batch import SequenceBatch
from surform.data.sequences_description import SequencesDescription
from surform.hub.classifier import Classifier

__all__ = ["SequenceClassifier"]


class SequenceClassifier(Classifier):
    """Tokens in, logits of the classes out.

    Args:
        net: a registered network, `net(tokens) -> (B, K)`, tokens (B, n), or (B, 2, n) of pairs.
    """

    kind: ClassVar[str] = "sequences"
    learnt: ClassVar[str] = "its classes and what its tokens are"
    usage: ClassVar[str] = "table = model.predict('texts.csv')  # a DataFrame, one row per sequence"
    file_options: ClassVar[tuple[str, ...]] = ("batch_size",)
    description: SequencesDescription | None

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> SequencesDescription:
        return SequencesDescription.from_dict(values)

    def forward(self, tokens: Int[Tensor, "b *pair n"]) -> Float[Tensor, "b k"]:
        """Logits; 0 is padding."""
        return self.net(tokens)

    def inputs(self, batch: SequenceBatch) -> Tensor:
        return batch.tokens

    def example_inputs(self) -> dict[str, Tensor]:
        """Two sequences (or pairs) of which the second is half as long."""
        given = self.net.__dict__.get("arguments", {})
        if not {"vocab_size", "length", "sequences"} <= set(given):
            return super().example_inputs()
        pair = (2,) if given["sequences"] == 2 else ()
        tokens = torch.randint(1, given["vocab_size"], (2, *pair, given["length"]))
        tokens[1, ..., (given["length"] + 1) // 2 :] = 0
        return {"tokens": tokens}

    def predict(self, source: Any, **options: Any) -> Any:
        """Classify sequences; see `surform.sequences.labelled.predict`.

        Args:
            source: files of sequences.
            options: of `surform.sequences.labelled.predict`.
        """
        from surform.sequences.labelled import predict

        return predict(self, source, **options)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, into a .csv or .parquet file; see `surform.sequences.labelled`."""
        from surform.sequences.labelled import predict_file

        return predict_file(self, source, out, **options)
