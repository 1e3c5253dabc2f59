"""A tagger as an ONNX program of 8-bit integers, and what it costs beside the one in float32.

python -m surform.particles.int8 MODEL JETS OUT.onnx
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra
from surform.data.jets_open import open_jets
from surform.hub.export import export
from surform.hub.loading import load_model
from surform.particles.jet_tagger import JetTagger

__all__ = ["export_int8", "main"]

_BATCHES = (1, 64, 1024)
_CALIBRATED = 512  # jets whose numbers set the scales, in calls of 64
_REPEATS = 9
_MOST = 4096  # jets that answers are compared on


def export_int8(
    model: JetTagger, particles: np.ndarray, out: str | PathLike[str]
) -> list[dict[str, float]]:
    """Write a program whose products of matrices are of 8-bit integers; returns its latencies.

    Weights have a scale for each channel, activations one for each tensor, read off the jets.

    Args:
        particles: (B, P, F), jets like those it will see, in physical units.
        out: a .onnx file; it takes "particles" and gives "output", logits.

    Returns:
        For each size of a batch: "batch", microseconds per jet of both programs ("float32_us",
        "int8_us", one thread), "gain", and "same_class", the share of the jets that both give the
        same class.

    Raises:
        ValueError: another kind of file, or no jets.
        ImportError: without surform[export].
    """
    path = Path(out)
    if path.suffix != ".onnx":
        raise ValueError(f"programs of integers are written to .onnx, not to {path}")
    refuse_folder(path, "OUT")
    if not len(particles):
        raise ValueError("particles holds no jets: scales are read off some")
    runtime = require_extra("onnxruntime", "export", "writing .onnx")
    jets = np.ascontiguousarray(particles, dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder, replacing(path) as partial:
        plain = Path(folder) / "float32.onnx"
        export(model, plain)
        _quantize(plain, partial, jets[:_CALIBRATED])
        float32, int8 = (_session(runtime, each) for each in (plain, partial))
        return _rows(float32, int8, jets[:_MOST])


def _quantize(plain: Path, out: Path, jets: np.ndarray) -> None:
    tools = require_extra("onnxruntime.quantization", "export", "writing .onnx")

    class Reader(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.batches = iter(_batches(jets))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    logging.disable(logging.WARNING)  # advice to optimise graphs beforehand
    try:
        tools.quantize_static(
            str(plain),
            str(out),
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            activation_type=tools.QuantType.QInt8,
            weight_type=tools.QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)


def _batches(jets: np.ndarray, size: int = 64) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(jets), size):
        yield {"particles": jets[start : start + size]}


def _session(runtime: Any, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda jets: session.run(["output"], {"particles": jets})[0]


def _rows(
    float32: Callable[[np.ndarray], np.ndarray],
    int8: Callable[[np.ndarray], np.ndarray],
    jets: np.ndarray,
) -> list[dict[str, float]]:
    same = float((float32(jets).argmax(1) == int8(jets).argmax(1)).mean())
    rows = []
    for batch in _BATCHES:
        some = np.resize(jets, (batch, *jets.shape[1:]))
        slow, fast = _seconds(float32, int8, some)
        row = {"batch": batch, "float32_us": 1e6 * slow / batch, "int8_us": 1e6 * fast / batch}
        rows.append(row | {"gain": slow / fast, "same_class": same})
    return rows


def _seconds(
    first: Callable[[np.ndarray], np.ndarray],
    second: Callable[[np.ndarray], np.ndarray],
    jets: np.ndarray,
) -> tuple[float, float]:
    """Medians of runs in turns, after one of each; of a single jet, ten in a run."""
    times: tuple[list[float], list[float]] = ([], [])
    calls = 10 if len(jets) == 1 else 1
    for turn in range(_REPEATS + 1):
        for run, found in zip((first, second), times, strict=True):
            start = time.process_time()
            for _ in range(calls):
                run(jets)
            if turn:
                found.append((time.process_time() - start) / calls)
    return median(times[0]), median(times[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the program and print its latencies."""
    parser = argparse.ArgumentParser(prog="python -m surform.particles.int8", description=__doc__)
    parser.add_argument("model", help="a saved tagger, or the name of a shipped one")
    parser.add_argument("jets", help="files of jets that scales are read off")
    parser.add_argument("out", help="a .onnx file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        model = load_model(given.model)
        if not isinstance(model, JetTagger) or model.description is None:
            raise ValueError(f"{given.model} is no trained tagger of jets")
        about = model.description
        jets = open_jets(
            given.jets, features=about.features, particles=about.particles, labelled=False
        )
        rows = export_int8(model, jets.read(np.arange(min(len(jets), _MOST))), given.out)
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    print("batch  float32 us/jet  int8 us/jet  gain")
    for row in rows:
        print(
            f"{row['batch']:>5}  {row['float32_us']:>14.1f}  {row['int8_us']:>11.1f}  "
            f"{row['gain']:>4.2f}"
        )
    print(f"same class as in float32: {rows[0]['same_class']:.2%} of the jets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
