"""What a loader of time series yields: windows in physical units, beside what is known ahead."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["SeriesBatch"]


@dataclass(eq=False)
class SeriesBatch(TensorBatch):
    """Windows of one or several multivariate series, L steps given and H steps to be forecast.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        history: `(B, L, V)`, all variates over the look-back, oldest step first.
        targets: `(B, H, V_out)`, the target variates over the horizon; H = 0 where the future is
            not known.
        past_marks: `(B, L, M)` calendar features of the look-back, each in [-0.5, 0.5].
        future_marks: `(B, H, M)` calendar features of the horizon.
        known: `(B, L + H, K)`, other covariates that are known ahead (prices, holidays).
        static: `(B, S)`, what does not change along a series.
        scale: `(B, V_out)`, mean change of the targets from row to row in the window's series,
            where a table holds several: the unit in which their errors are comparable.
        statistics: `(B, 2, V)`, mean and deviation of the variates in the window's own series,
            where the model standardises each series by its own.
        index: `(B,)` int64, the number of each window in its split.
    """

    history: Tensor
    targets: Tensor
    past_marks: Tensor | None = None
    future_marks: Tensor | None = None
    known: Tensor | None = None
    static: Tensor | None = None
    scale: Tensor | None = None
    statistics: Tensor | None = None
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of windows in the batch."""
        return len(self.history)

    def covariates(self) -> dict[str, Tensor]:
        """What is given beside the history, by name."""
        names = ("past_marks", "future_marks", "known", "static", "statistics")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}
