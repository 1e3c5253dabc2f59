"""A trained model as a program that needs no surform: ONNX, or torch.export's .pt2.

The program takes what the model takes, in physical units: its statistics are inside. The batch may
be of any size.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra

if TYPE_CHECKING:
    from surform.hub.pretrained import Pretrained

__all__ = ["export"]

_KINDS = (".onnx", ".pt2")
_TOLERANCE = 1e-4  # of the largest output
_BATCH = "batch"  # name of the first dimension
_BATCHES = (1, 3)  # in which the written program is compared with the model


def export(model: Pretrained, out: str | PathLike[str]) -> float:
    """Write a program and compare it with the model; returns the largest difference.

    Args:
        out: a `.onnx` file (opened with onnxruntime for the comparison) or a `.pt2` file. Inputs
            have the names of the model's `forward`; the output is called "output", or as the
            `output_names` of what is `exportable`.

    Raises:
        ValueError: another kind of file, a model that does not say what it takes, or a program
            whose outputs differ by more than 1e-4 of the largest; nothing is written then.
        ImportError: .onnx without surform[export].
    """
    path = Path(out)
    if path.suffix not in _KINDS:
        raise ValueError(f"programs are written to one of {', '.join(_KINDS)}, not to {path}")
    refuse_folder(path, "OUT")
    model = model.eval().exportable()
    inputs = model.example_inputs()
    names = {name: model.ragged.get(name, _BATCH) for name in inputs}
    dims = {name: torch.export.Dim(name) for name in names.values()}
    shapes = {name: {0: dims[of]} for name, of in names.items()}
    with torch.no_grad():
        program = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=False)
        with replacing(path) as partial:
            run = _onnx if path.suffix == ".onnx" else _archive
            found = run(program, inputs, names, _outputs(model), partial)
            return max(_difference(model, found, n, path) for n in _BATCHES)


def _outputs(model: Any) -> list[str]:
    return list(getattr(model, "output_names", ("output",)))


def _onnx(
    program: Any,
    inputs: Mapping[str, Tensor],
    names: Mapping[str, str],
    outputs: list[str],
    path: Path,
) -> Any:
    for module in ("onnx", "onnxscript"):
        require_extra(module, "export", "writing .onnx")
    runtime = require_extra("onnxruntime", "export", "checking .onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        made = torch.onnx.export(
            program,
            kwargs=dict(inputs),
            dynamic_shapes={name: {0: of} for name, of in names.items()},  # named so in the file
            input_names=list(inputs),
            output_names=outputs,
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    made.save(str(path))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def call(given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        arrays = {name: value.numpy() for name, value in given.items()}
        return tuple(torch.from_numpy(np.asarray(x)) for x in session.run(outputs, arrays))

    return call


def _archive(
    program: Any,
    inputs: Mapping[str, Tensor],
    names: Mapping[str, str],
    outputs: list[str],
    path: Path,
) -> Any:
    with path.open("wb") as stream:
        torch.export.save(program, stream)
    with path.open("rb") as stream:
        read = torch.export.load(stream).module()
    return lambda given: read(**given)


def _difference(model: Any, program: Any, count: int, path: Path) -> float:
    given, differences = model.example_batch(count), [0.0]
    for expected, found in zip(_several(model(**given)), _several(program(given)), strict=True):
        differences.append((found - expected).abs().max().item())
        if not differences[-1] <= _TOLERANCE * max(expected.abs().max().item(), 1e-3):
            raise ValueError(
                f"{path.name} would differ from the model by {differences[-1]:.1e}: it is not "
                "written"
            )
    return max(differences)


def _several(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
