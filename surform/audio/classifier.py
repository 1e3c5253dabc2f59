"""A classifier of sounds: network, normaliser, and how its spectrograms are made."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.data.clips_batch import ClipBatch
from surform.data.clips_description import ClipsDescription
from surform.data.normalizers import Normalizer
from surform.hub.classifier import Classifier

__all__ = ["AudioClassifier"]


class AudioClassifier(Classifier):
    """Log-mel spectrograms in, logits of the classes out.

    Args:
        net: a registered network, `net(spectrograms) -> (B, K)`, spectrograms normalised,
            (B, frames, mel_bins).
    """

    kind: ClassVar[str] = "audio"
    learnt: ClassVar[str] = "its classes and how its spectrograms were made"
    usage: ClassVar[str] = "table = model.predict('sounds/')  # files or arrays; a DataFrame"
    file_options: ClassVar[tuple[str, ...]] = ("batch_size", "stereo", "resample", "windows")
    description: ClipsDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.normalizer = Normalizer()

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> ClipsDescription:
        return ClipsDescription.from_dict(values)

    def fit_to(self, description: ClipsDescription, spectrograms: Normalizer) -> None:
        """Take over the description and the fitted normaliser of the training data."""
        self.description, self.normalizer = description, spectrograms
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError unless the statistics are one number each."""
        found = tuple(self.normalizer.mean.shape)
        if found != ():
            raise ValueError(
                f"the statistics of the normalizer have shape {found}, but spectrograms are "
                "normalised by one mean and one deviation"
            )

    def forward(self, spectrograms: Tensor) -> Float[Tensor, "b k"]:
        """Logits; spectrograms: natural logarithms as `surform.data.mel` makes them."""
        return self.net(self.normalized(spectrograms))

    def normalized(self, spectrograms: Tensor) -> Float[Tensor, "b t f"]:
        """Spectrograms as the network wants them, in its precision."""
        return self.normalizer.normalize(spectrograms).to(next(self.parameters()).dtype)

    def inputs(self, batch: ClipBatch) -> Tensor:
        """The spectrograms."""
        return batch.spectrograms

    def probabilities(self, inputs: Tensor) -> Float[Tensor, "b k"]:
        """Of the classes, in float32 at least; each by itself where clips have several."""
        if self.description is None or not self.description.several:
            return super().probabilities(inputs)
        logits = self(inputs)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()

    def example_inputs(self) -> dict[str, Tensor]:
        """Two spectrograms."""
        given = self.net.__dict__.get("arguments", {})
        sizes = [given.get(name) for name in ("frames", "mel_bins")]
        if None in sizes:
            return super().example_inputs()
        dtype = next(self.parameters()).dtype
        noise = torch.randn(2, *sizes).to(dtype)
        return {"spectrograms": self.normalizer.denormalize(noise).to(dtype)}

    def predict(self, source: Any, **options: Any) -> Any:
        """Classify sounds; see `surform.audio.labelled.predict`.

        Args:
            source: a file, a folder of files, or an array of waveforms.
            options: of `surform.audio.labelled.predict`.
        """
        from surform.audio.labelled import predict

        return predict(self, source, **options)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, into a .csv or .parquet file; see `surform.audio.labelled`."""
        from surform.audio.labelled import predict_file

        return predict_file(self, source, out, **options)
