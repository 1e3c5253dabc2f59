"""Small tables for the tests of training and prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["frame", "panel", "write"]


def frame(rows: int = 240, start: str = "2024-01-01", step: str = "1h", seed: int = 0):
    """Three hourly columns with a cycle of 12 hours; the third follows the first by three hours."""
    random = np.random.default_rng(seed)
    hours = np.arange(rows)
    a = 50 + 10 * np.sin(2 * np.pi * hours / 12) + random.normal(0, 1, rows)
    b = -3 + 0.1 * np.cos(2 * np.pi * hours / 12) + random.normal(0, 0.01, rows)
    times = pd.date_range(start, periods=rows, freq=step)
    return pd.DataFrame({"date": times, "a": a, "b": b, "c": np.roll(a, 3) / 100})


def panel(**rows: int) -> pd.DataFrame:
    """Several series in long format, by name, with so many rows each."""
    parts = [
        frame(count, seed=place).assign(shop=name)
        for place, (name, count) in enumerate(rows.items())
    ]
    return pd.concat(parts, ignore_index=True)


def write(path: Path, table: pd.DataFrame) -> str:
    table.to_csv(path, index=False)
    return str(path)
