"""A tagger of jets: network, normaliser of the features, and what it was trained on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.data.jets_batch import JetBatch
from surform.data.jets_description import JetsDescription
from surform.data.normalizers import Normalizer
from surform.hub.classifier import Classifier

__all__ = ["JetTagger"]


class JetTagger(Classifier):
    """Jets in, logits of the classes out.

    Args:
        net: a registered network, `net(particles, keep) -> (B, K)`, particles standardised
            (B, P, F), keep (B, P) where there are any.
    """

    kind: ClassVar[str] = "jets"
    learnt: ClassVar[str] = "its classes and what its particles were normalised with"
    usage: ClassVar[str] = "table = model.predict('jets.h5')  # a DataFrame, one row per jet"
    file_options: ClassVar[tuple[str, ...]] = ("batch_size",)
    description: JetsDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.normalizer = Normalizer()

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> JetsDescription:
        return JetsDescription.from_dict(values)

    def fit_to(self, description: JetsDescription, features: Normalizer) -> None:
        """Take over the description and the fitted normaliser of the training data."""
        self.description, self.normalizer = description, features
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics do not fit the described features."""
        about, found = self.description, tuple(self.normalizer.mean.shape)
        if about is not None and found not in ((), (len(about.features),)):
            raise ValueError(
                f"the statistics of the normalizer have shape {found}, but particles have "
                f"{len(about.features)} features"
            )

    def forward(self, particles: Float[Tensor, "b p f"]) -> Float[Tensor, "b k"]:
        """Logits; particles in physical units, padded with zeros.

        Raises:
            ValueError: another number of features.
        """
        features = self.normalizer.mean.numel()
        if features > 1 and features != particles.shape[-1]:  # the network checks all else
            raise ValueError(
                f"jets have shape {tuple(particles.shape)}, but this tagger takes (jets, "
                f"particles, {features} features)"
            )
        return self.net(self.normalized(particles), there(particles))

    def normalized(self, particles: Float[Tensor, "b p f"]) -> Float[Tensor, "b p f"]:
        """Particles as the network wants them, in its precision; padding as particles of zeros."""
        return self.normalizer.normalize(particles).to(next(self.parameters()).dtype)

    def inputs(self, batch: JetBatch) -> Tensor:
        return batch.particles

    def example_inputs(self) -> dict[str, Tensor]:
        """Two jets of which the second has half as many particles."""
        given, about = self.net.__dict__.get("arguments", {}), self.description
        if "in_channels" not in given:
            return super().example_inputs()
        count = 30 if about is None else about.particles
        particles = torch.rand(2, count, given["in_channels"]) + 0.1
        particles[1, (count + 1) // 2 :] = 0
        return {"particles": particles.to(next(self.parameters()).dtype)}

    def predict(self, source: Any, **options: Any) -> Any:
        """Classify jets; see `surform.particles.labelled.predict`.

        Args:
            source: files of jets.
            options: of `surform.particles.labelled.predict`.
        """
        from surform.particles.labelled import predict

        return predict(self, source, **options)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, into a .csv or .parquet file; see `surform.particles.labelled`."""
        from surform.particles.labelled import predict_file

        return predict_file(self, source, out, **options)


def there(particles: Float[Tensor, "b p f"]) -> Bool[Tensor, "b p"]:
    """Which particles are no padding: padding is all zeros, in physical units."""
    return (particles != 0).any(-1)
