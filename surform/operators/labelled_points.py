"""Samples on meshes through a model: labelled arrays or plain samples in, the same out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from surform.data.points import PointSample, collate
from surform.data.points_checks import check_sample
from surform.data.points_description import PointsDescription
from surform.data.points_selection import PointsSelection
from surform.data.points_source import PointsSource
from surform.data.points_xarray import StoredPoints
from surform.hub.pretrained import Pretrained

__all__ = ["described", "predict", "predictions", "selection_of"]


def predict(
    model: Pretrained, source: Any, *, batch_size: int = 4, chunk: int | None = None
) -> Any:
    """Predict the targets at the points of samples.

    Args:
        model: trained, with a description of its data.
        source: an `xarray.Dataset` in the layout of docs/points.md, opened or made in memory; a
            `PointSample`; or a list of them.
        batch_size: samples in one call of the network.
        chunk: query points that go through the network at a time; fewer need less memory.

    Returns:
        Of a dataset the same dataset with the targets in place; of samples their targets,
        `(N, C_out)` each.

    Raises:
        ValueError: variables, columns, units or values that do not fit.
    """
    about = described(model)
    if isinstance(source, xr.Dataset):
        return _predict_dataset(model, about, source, batch_size, chunk)
    samples = [source] if isinstance(source, PointSample) else list(source)
    for number, sample in enumerate(samples):
        if not isinstance(sample, PointSample):
            raise ValueError(
                f"predict takes an xarray.Dataset or PointSamples, not a {type(sample).__name__}"
            )
        check_sample(sample, about, f"sample {number}")
    found = [values for _, values in predictions(model, samples, batch_size, chunk)]
    return found[0] if isinstance(source, PointSample) else found


def described(model: Pretrained) -> PointsDescription:
    """The description of a model's data; ValueError when it has none."""
    if model.description is None:
        raise ValueError(
            "this model has no description of its data, so samples cannot be checked: call "
            "model(points, parameters, inputs) with tensors, or fit_to(...) first"
        )
    return model.description


def selection_of(model: Pretrained) -> PointsSelection:
    """What is to be read of files for a model: what it was trained with, targets if there."""
    about = described(model)
    reading = about.reading
    return PointsSelection(
        coordinates=about.coordinates,
        targets=about.targets,
        features=about.features,
        parameters=about.parameters,
        inputs=tuple(about.inputs),
        weights=bool(about.weighted),
        markers=reading.get("markers"),
        marker_values=tuple(reading.get("marker_values", ())),
        on=reading.get("on", "auto"),
        need_targets=False,
    )


def predictions(
    model: Pretrained,
    samples: PointsSource | Sequence[PointSample],
    batch_size: int = 4,
    chunk: int | None = None,
) -> Iterator[tuple[PointSample, np.ndarray]]:
    """Each sample, of numpy arrays or as given, with its predicted targets `(N, C_out)`."""
    for name, value in (("batch_size", batch_size), ("chunk", chunk)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    weight: Any = next(model.parameters(), model.target_normalizer.mean)  # type: ignore[union-attr]
    dtype = torch.float32 if weight.device.type == "mps" else torch.float64  # MPS has no float64
    training = model.training
    model.eval()
    try:
        for start in range(0, len(samples), batch_size):
            numbers = range(start, min(start + batch_size, len(samples)))
            if isinstance(samples, PointsSource):
                part = list(samples.read_all(numbers))
            else:
                part = [samples[number] for number in numbers]
            with torch.inference_mode():
                batch = collate([sample.tensors(dtype) for sample in part]).to(weight.device)
                output = model(
                    batch.points,
                    batch.parameters,
                    batch.inputs,
                    mask=batch.mask,
                    input_masks=batch.input_masks,
                    weights=batch.weights,
                    input_weights=batch.input_weights,
                    chunk=chunk,
                )
            output = output if output.dtype == torch.float64 else output.float()
            for sample, values in zip(part, output.cpu().numpy(), strict=True):
                yield sample, values[: len(sample.points)]
    finally:
        model.train(training)


def _predict_dataset(
    model: Pretrained,
    about: PointsDescription,
    dataset: xr.Dataset,
    batch_size: int,
    chunk: int | None,
) -> xr.Dataset:
    source = StoredPoints("the dataset", selection_of(model), dataset)
    about.require_match(source.about, source.name)
    rows = [values for _, values in predictions(model, source, batch_size, chunk)]
    shared = "row_size" not in dataset.variables and "sample" in dataset.dims
    dims = ("sample", "point") if shared else ("point",)
    values = np.stack(rows) if shared else np.concatenate(rows)
    variables = {}
    for channel, name in enumerate(about.targets):
        known = dict(dataset[name].attrs) if name in dataset.variables else {}
        unit = about.unit(name)
        attributes = known if unit is None else {"units": unit, **known}
        variables[name] = (dims, values[..., channel], attributes)
    return dataset.assign(variables)
