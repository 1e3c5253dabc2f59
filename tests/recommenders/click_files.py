"""Small logs of clicks for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet

__all__ = ["two_labels", "write"]


def two_labels(rows: int = 600, seed: int = 0) -> dict[str, Any]:
    """Users, items, tags and prices; clicks depend on them, purchases are known after clicks."""
    generator = np.random.default_rng(seed)
    user, item = generator.integers(0, 20, rows), generator.integers(0, 12, rows)
    price = generator.lognormal(size=rows)
    taste, worth = np.sin(np.arange(20)), np.cos(3 * np.arange(12))
    logit = 2 * taste[user] * worth[item] + 1.5 * worth[item] - np.log(price)
    chance = 1 / (1 + np.exp(-logit))
    click = (generator.random(rows) < chance).astype(float)
    bought = np.where(click == 1, (generator.random(rows) < 0.4).astype(float), np.nan)
    tags = [[f"t{(i + k) % 5}" for k in range(i % 3)] for i in item.tolist()]
    return {
        "user": [f"u{u}" for u in user], "item": item, "tags": tags, "price": price,
        "click": click, "bought": bought, "chance": chance,
    }  # fmt: skip


def write(path: Path, columns: dict[str, Any]) -> Path:
    """As Parquet."""
    parquet.write_table(arrow.table(columns), path, row_group_size=100)
    return path
