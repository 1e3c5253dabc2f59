"""What `surform info` shows of samples on meshes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console

    from surform.data.points import PointSample

__all__ = ["show_points"]

_MOST = 8  # samples that are read


def show_points(console: Console, path: str) -> None:
    """Samples, sizes of the meshes, and the range of every variable over some samples."""
    from rich.table import Table

    from surform.data.points_files import open_points
    from surform.data.points_selection import PointsSelection

    source = open_points(path, PointsSelection(need_targets=False))
    about = source.about
    numbers = np.unique(np.linspace(0, len(source) - 1, _MOST).astype(int)).tolist()
    samples = list(source.read_all(numbers))
    console.print(
        f"{path}: {len(source):,} samples in {', '.join(about.coordinates)}, "
        f"{_range([len(s.points) for s in samples])} points",
        style="bold",
        soft_wrap=True,
    )
    table = Table("role", "variable", "units", "least", "most", box=None, pad_edge=False)
    ranges = _ranges(samples)
    for (role, name, unit), (low, high) in zip(_listed(about), ranges, strict=True):
        table.add_row(role, name, unit, f"{low:.4g}", f"{high:.4g}")
    console.print(table)
    for name in about.inputs:
        count = _range([len(s.inputs[name]) for s in samples])
        console.print(f"input function {name}: {count} points")
    console.print(f"quadrature weights: {', '.join(about.weighted) or 'none'}")
    if len(samples) < len(source):
        console.print(f"ranges are those of {len(samples)} samples")
    for name, value in source.provenance().items():
        console.print(f"{name}: {value}"[:200])


def _listed(about: Any) -> list[tuple[str, str, str]]:
    """Roles in the order of `_ranges`."""
    order = {role: k for k, role in enumerate(("coordinates", "features", "targets", "parameters"))}
    return sorted(about.roles(), key=lambda entry: order.get(entry[0], len(order)))


def _ranges(samples: list[PointSample]) -> list[tuple[float, float]]:
    """(least, most) of every column: points, targets, parameters, input functions."""
    first = samples[0]
    tables = [
        np.concatenate([s.points for s in samples]),
        np.concatenate([s.targets for s in samples]),
        np.stack([s.parameters for s in samples]),
        *(np.concatenate([s.inputs[name] for s in samples]) for name in first.inputs),
    ]
    return [(float(c.min()), float(c.max())) for table in tables for c in table.T]


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
