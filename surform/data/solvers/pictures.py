"""What a solver of pictures returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """Pixels (h, w, 3) uint8, and COCO's annotations of what they show, still without ids."""

    pixels: np.ndarray
    annotations: list[dict[str, Any]]
