"""How long one answer of a model takes: percentiles of single calls, by the size of the batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from surform.hub.pretrained import Pretrained

__all__ = ["COLUMNS", "measure_latency"]

# key of a row -> heading of the printed table
COLUMNS = {
    "batch_size": "rows in a batch",
    "p50_ms": "p50 [ms]",
    "p99_ms": "p99 [ms]",
    "rows_per_second": "rows/s",
    "calls": "calls",
}
_WARMUP = 10  # calls that are not counted
_LEAST = 20  # calls, however long they take


@torch.inference_mode()
def measure_latency(
    model: Pretrained, batch_size: int, calls: int = 300, seconds: float = 30.0
) -> dict[str, Any]:
    """One row: wall-clock times of calls of a model in evaluation mode, one after the other.

    The batch is `model.example_batch`, the same for all calls; on a GPU each call is waited for.

    Args:
        calls: that are counted.
        seconds: after so long no further call begins, but for the first 20.

    Raises:
        ValueError: sizes below 1, or a model that does not say what it takes.
    """
    if batch_size < 1 or calls < 1:
        raise ValueError(f"batch_size is {batch_size} and calls {calls}, but must be at least 1")
    model = model.eval().exportable()
    device = next(iter(model.state_dict().values())).device
    given = {n: _moved(v, device) for n, v in model.example_batch(batch_size).items()}
    for _ in range(_WARMUP):
        _timed(model, given, device)
    times: list[float] = []
    while len(times) < calls and (len(times) < _LEAST or sum(times) < seconds):
        times.append(_timed(model, given, device))
    middle, late = 1e3 * np.percentile(times, [50, 99])
    return {
        "batch_size": batch_size,
        "p50_ms": float(middle),
        "p99_ms": float(late),
        "rows_per_second": batch_size * len(times) / sum(times),
        "calls": len(times),
    }


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _timed(model: Pretrained, given: dict[str, Any], device: torch.device) -> float:
    start = time.perf_counter()
    model(**given)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
