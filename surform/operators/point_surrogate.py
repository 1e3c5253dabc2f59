"""An operator on irregular meshes in physical units: network, normalisers and description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.data.normalizers import Normalizer
from surform.data.points import PointBatch
from surform.data.points_description import PointsDescription
from surform.hub.pretrained import Pretrained

__all__ = ["PointSurrogate"]


class PointSurrogate(Pretrained):
    """Points, parameters and input functions in, targets at the points out, in physical units.

    Args:
        net: a registered operator `net(points, parameters, inputs, *, mask, input_masks, weights,
            input_weights, chunk) -> (B, N, C_out)` in normalised units; inputs in the order of the
            description. It uses weights where its `quadrature` is true.
    """

    kind: ClassVar[str] = "points"
    usage: ClassVar[str] = (
        "prediction = model.predict(dataset)  # an xarray.Dataset or a PointSample in, one out"
    )
    file_options: ClassVar[tuple[str, ...]] = ("batch_size", "chunk")
    description: PointsDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.point_normalizer = Normalizer()
        self.parameter_normalizer = Normalizer()
        self.target_normalizer = Normalizer()
        self.input_normalizer = Normalizer()

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> PointsDescription:
        return PointsDescription.from_dict(values)

    def fit_to(
        self,
        description: PointsDescription,
        points: Normalizer,
        parameters: Normalizer,
        targets: Normalizer,
        inputs: Normalizer,
    ) -> None:
        """Take over the description and the fitted normalisers of the training data.

        Args:
            description: of the training data.
            points: of the columns of the points.
            parameters: of the parameters.
            targets: of the targets.
            inputs: of the columns of all input functions, side by side.
        """
        self.description = description
        self.point_normalizer, self.parameter_normalizer = points, parameters
        self.target_normalizer, self.input_normalizer = targets, inputs
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics do not fit the described columns."""
        about = self.description
        if about is None:
            return
        for name, count in {
            "point_normalizer": len(about.columns),
            "parameter_normalizer": len(about.parameters),
            "target_normalizer": len(about.targets),
            "input_normalizer": sum(len(columns) for columns in about.inputs.values()),
        }.items():
            found = tuple(self.normalizers()[name].mean.shape)
            if found != (count,):
                raise ValueError(
                    f"the statistics of {name} have shape {found}, the data {count} columns"
                )

    def forward(
        self,
        points: Float[Tensor, "b n c"],
        parameters: Float[Tensor, "b p"],
        inputs: Mapping[str, Float[Tensor, "b _ _"]],
        *,
        mask: Bool[Tensor, "b n"] | None = None,
        input_masks: Mapping[str, Bool[Tensor, "b _"]] | None = None,
        weights: Float[Tensor, "b n"] | None = None,
        input_weights: Mapping[str, Float[Tensor, "b _"]] | None = None,
        chunk: int | None = None,
    ) -> Float[Tensor, "b n o"]:
        """Predict: physical units in, physical units out; zero where `mask` is False.

        Args:
            points: query points, coordinates first.
            parameters: numbers that hold for a whole sample.
            inputs: input functions by name, rows [coordinates | values].
            mask, input_masks: True = keep; None keeps all.
            weights, input_weights: measures that the points stand for, in the mesh's units.
            chunk: query points at a time, same result; needs less memory without gradients.
        """
        output = self.normalized(
            points,
            parameters,
            inputs,
            mask=mask,
            input_masks=input_masks,
            weights=weights,
            input_weights=input_weights,
            chunk=chunk,
        )
        return _kept(self.target_normalizer.denormalize(output), mask)

    def normalized(
        self,
        points: Tensor,
        parameters: Tensor,
        inputs: Mapping[str, Tensor],
        *,
        mask: Tensor | None = None,
        input_masks: Mapping[str, Tensor] | None = None,
        weights: Tensor | None = None,
        input_weights: Mapping[str, Tensor] | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        """As `forward`, but the output of the network, in normalised units."""
        names, masks = self._input_names(inputs), input_masks or {}
        self._require_weights(weights, input_weights or {})
        # far from the origin, float64 tells points apart that float32 does not
        dtype = next(self.net.parameters(), self.target_normalizer.mean).dtype
        output = self.net(
            _kept(self.point_normalizer.normalize(points), mask).to(dtype),
            self.parameter_normalizer.normalize(parameters).to(dtype),
            [f.to(dtype) for f in self._normalized_inputs(names, inputs, masks)],
            mask=mask,
            input_masks=[masks.get(name) for name in names],
            weights=_at_least_32(weights, dtype),
            input_weights=[_at_least_32((input_weights or {}).get(n), dtype) for n in names],
            chunk=chunk,
        )
        if output.ndim != 3 or output.shape[:2] != points.shape[:2]:
            raise ValueError(
                f"{type(self.net).__name__} gives {tuple(output.shape)} at points of the shape "
                f"{tuple(points.shape)}: it must give (samples, points, out_channels)"
            )
        return _kept(output, mask)

    def outputs(self, batch: PointBatch, chunk: int | None = None) -> Float[Tensor, "b n o"]:
        """Physical predictions at the points of a batch; zero at its padding."""
        return self(batch.points, batch.parameters, batch.inputs, **_aside(batch), chunk=chunk)

    def normalized_outputs(self, batch: PointBatch) -> Float[Tensor, "b n o"]:
        """As `outputs`, in normalised units."""
        return self.normalized(batch.points, batch.parameters, batch.inputs, **_aside(batch))

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        """ValueError: padded points would count as points without an error."""
        raise ValueError(
            "intervals are not calibrated for meshes, whose samples differ in their points; use "
            "the spread of an ensemble (surform.uncertainty.DeepEnsemble)"
        )

    def predict(self, source: Any, *, batch_size: int = 4, chunk: int | None = None) -> Any:
        """Samples in, predictions at their points out; see `surform.operators.labelled_points`."""
        from surform.operators.labelled_points import predict

        return predict(self, source, batch_size=batch_size, chunk=chunk)

    def predict_file(
        self, source: str | Sequence[str], out: str | PathLike[str], **options: Any
    ) -> Path:
        """From files into files of the same format; see `surform.operators.point_files`."""
        from surform.operators.point_files import predict_file

        return predict_file(self, source, out, **options)

    def _input_names(self, inputs: Mapping[str, Tensor]) -> Sequence[str]:
        names = list(self.description.inputs) if self.description is not None else list(inputs)
        if set(names) != set(inputs):
            raise ValueError(
                f"the model takes the input functions {', '.join(names) or 'none'}, not "
                f"{', '.join(inputs) or 'none'}"
            )
        return names

    def _normalized_inputs(
        self, names: Sequence[str], inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """The input functions, each with its columns of the statistics, which stand in a row."""
        found, start = [], 0
        for name in names:
            stop = start + inputs[name].shape[-1]
            values = self.input_normalizer.normalize(inputs[name], slice(start, stop))
            found.append(_kept(values, masks.get(name)))
            start = stop
        return found

    def _require_weights(self, weights: Tensor | None, others: Mapping[str, Tensor]) -> None:
        """ValueError when a network that integrates lacks weights that it was trained with."""
        if self.description is None or not getattr(self.net, "quadrature", False):
            return
        given = {"points": weights, **others}
        lacking = [name for name in self.description.weighted if given.get(name) is None]
        if lacking:
            raise ValueError(
                f"the model was trained with quadrature weights of {lacking[0]}, these data have "
                "none"
            )


def _aside(batch: PointBatch) -> dict[str, Any]:
    return {
        "mask": batch.mask,
        "input_masks": batch.input_masks,
        "weights": batch.weights,
        "input_weights": batch.input_weights,
    }


def _at_least_32(weights: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """In `dtype`, or 32 bits: 16 do not hold the cells of every mesh."""
    return None if weights is None else weights.to(torch.promote_types(dtype, torch.float32))


def _kept(values: Tensor, mask: Tensor | None) -> Tensor:
    """Zero at padding, whatever stands there: some networks let padding take part, as zeros."""
    return values if mask is None else torch.where(mask.unsqueeze(-1), values, 0.0)
