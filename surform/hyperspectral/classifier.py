"""A classifier of pixels: network, components of the spectra, and what it was trained on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from surform.data.scenes_components import Components
from surform.data.scenes_description import ScenesDescription
from surform.data.scenes_samples import SceneBatch
from surform.hub.classifier import Classifier

__all__ = ["SceneClassifier"]


class SceneClassifier(Classifier):
    """Windows of spectra in, logits of the classes out.

    Args:
        net: a registered network, `net(components) -> (B, K)`, components (B, k, window, window).
    """

    kind: ClassVar[str] = "scenes"
    learnt: ClassVar[str] = "its classes and components"
    usage: ClassVar[str] = "table = model.predict('scene.mat')  # an xarray.Dataset: the map"
    file_options: ClassVar[tuple[str, ...]] = ("tile", "batch_size", "cube_name", "sample")
    description: ScenesDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.components = Components()

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> ScenesDescription:
        return ScenesDescription.from_dict(values)

    def fit_to(self, description: ScenesDescription, components: Components) -> None:
        """Take over the description and the fitted components of the training data."""
        self.description, self.components = description, components
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the components do not fit the described bands."""
        about, found = self.description, tuple(self.components.rotation.shape)
        if about is not None and found != (len(about.bands), about.components):
            raise ValueError(
                f"the components map {found[0]} bands to {found[1]} numbers, the description has "
                f"{len(about.bands)} and {about.components}"
            )

    def forward(self, patches: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of windows of spectra as measured; NaN where there is none."""
        return self.net(self.components(patches).to(next(self.parameters()).dtype))

    def inputs(self, batch: SceneBatch) -> Tensor:
        """The windows."""
        return batch.patches

    def example_inputs(self) -> dict[str, Tensor]:
        """Two windows of the mean spectrum."""
        about = self.description
        if about is None:
            return super().example_inputs()
        mean = self.components.mean[None, :, None, None]
        return {"patches": mean.expand(2, -1, about.window, about.window).clone()}

    def predict(self, source: Any, **options: Any) -> Any:
        """The map of a scene; see `surform.hyperspectral.mapping.predict`."""
        from surform.hyperspectral.mapping import predict

        return predict(self, source, **options)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, into a file, tile by tile; see `surform.hyperspectral.mapping`."""
        from surform.hyperspectral.mapping import predict_file

        return predict_file(self, source, out, **options)
