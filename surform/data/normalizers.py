"""Normalisation as part of a model: statistics are buffers, and using it without them raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["KINDS", "Normalizer"]

KINDS = ("none", "channel", "pointwise", "temporal")

# FactFormer and the Galerkin Transformer add 1e-5 to pointwise deviations, which are zero on walls.
_EPS = {"none": 0.0, "channel": 0.0, "pointwise": 1e-5, "temporal": 0.0}


class Normalizer(nn.Module):
    """Shift and scale fields: `(x - mean) / (std + eps)` and back.

    Without arguments it is un-fitted: every use raises until `fit` or `load_state_dict` gives it
    statistics. Fields are `(..., *grid, C)`; the statistics broadcast against that.

    Args:
        mean: any shape that broadcasts against `(..., *grid, C)`, in the fields' units.
        std: likewise, not negative.
        eps: added to `std`, in the fields' units.
    """

    mean: Tensor
    std: Tensor
    eps: Tensor
    fitted: Tensor

    def __init__(
        self, mean: Tensor | None = None, std: Tensor | None = None, eps: float = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("eps", torch.zeros(()))
        self.register_buffer("fitted", torch.tensor(False))
        # A plain bool beside the buffer: reading a tensor would stall GPUs and break graphs.
        self._ready = False
        if (mean is None) != (std is None):
            raise ValueError("a normalizer needs both mean and std, or neither")
        if mean is not None and std is not None:
            self.fit(mean, std, eps)

    def fit(self, mean: Tensor, std: Tensor, eps: float = 0.0) -> Normalizer:
        """Take statistics (moved to this module's dtype and device); returns itself."""
        if mean.shape != std.shape:
            raise ValueError(f"mean {tuple(mean.shape)} and std {tuple(std.shape)} differ in shape")
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std >= 0).all()):
            raise ValueError("normalizer statistics must be finite, and std not negative")
        if eps < 0 or bool((std + eps == 0).any()):
            raise ValueError(f"a normalizer would divide by zero: some std is 0 and eps is {eps}")
        self.mean = mean.detach().to(self.mean)
        self.std = std.detach().to(self.std)
        self.eps = torch.full_like(self.eps, eps)
        self.fitted = torch.ones_like(self.fitted)
        self._ready = True
        return self

    def normalize(self, x: Tensor, columns: slice | None = None) -> Tensor:
        """`(x - mean) / (std + eps)`, x in physical units.

        Args:
            columns: those of the statistics' last axis that `x` holds; None = all.
        """
        self.require_statistics()
        if columns is None:
            return (x - self.mean) / (self.std + self.eps)
        return (x - self.mean[..., columns]) / (self.std[..., columns] + self.eps)

    def denormalize(self, x: Tensor) -> Tensor:
        """`x * (std + eps) + mean`, in physical units."""
        self.require_statistics()
        return x * (self.std + self.eps) + self.mean

    forward = normalize

    @classmethod
    def from_statistics(
        cls,
        statistics: Mapping[str, Any],
        kind: str,
        variables: Sequence[str],
        eps: float | None = None,
    ) -> Normalizer:
        """A fitted normaliser for channels `variables`, in that order.

        Args:
            statistics: per variable, an object with float64 arrays `mean`, `std` (scalars),
                `temporal_std` (scalar), `pointwise_mean`, `pointwise_std` (grid).
            kind: "none" (identity), "channel" (one mean and std per variable over samples, time
                and space), "pointwise" (per grid point, over samples and time), or "temporal"
                (std = mean over space and samples of the standard deviation in time; FactFormer;
                variables without time keep their ordinary one).
            eps: added to std; default 1e-5 for "pointwise" and 0 otherwise.

        A variable that is constant over the whole data set has std 1, so that it becomes 0.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown normalisation {kind!r}: choose {', '.join(KINDS)}")
        if kind == "none":
            return cls(torch.zeros(()), torch.ones(()), eps or 0.0)
        missing = [name for name in variables if name not in statistics]
        if missing:
            raise ValueError(f"no statistics for {', '.join(missing)}")
        if kind == "temporal" and all(statistics[n].temporal_std is None for n in variables):
            raise ValueError(
                f"'temporal' normalisation of {', '.join(variables)} needs a time axis: use "
                "'channel'"
            )
        pairs = [_mean_and_std(name, statistics[name], kind) for name in variables]
        shape = np.broadcast_shapes(*(np.shape(mean) for mean, _ in pairs))
        mean, std = (
            torch.from_numpy(np.stack([np.broadcast_to(p[i], shape) for p in pairs], axis=-1))
            for i in (0, 1)
        )
        return cls(mean, std, _EPS[kind] if eps is None else eps)

    def require_statistics(self) -> None:
        """ValueError until `fit` or `load_state_dict` gave it some."""
        if not self._ready:
            raise ValueError(
                "this normalizer has no statistics: fit it on training data or load a saved model"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Statistics have the shape of the data: take the stored one before torch compares shapes.
        for name in ("mean", "std"):
            stored = state_dict.get(prefix + name)
            if stored is not None and stored.shape != getattr(self, name).shape:
                setattr(self, name, torch.empty_like(getattr(self, name)).new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if prefix + "fitted" in state_dict:
            self._ready = bool(state_dict[prefix + "fitted"])

    def extra_repr(self) -> str:
        return f"fitted={self._ready}, statistics={tuple(self.mean.shape)}"


def _mean_and_std(name: str, values: Any, kind: str) -> tuple[np.ndarray, np.ndarray]:
    if kind == "pointwise":
        if values.pointwise_mean is None:
            raise ValueError(f"no pointwise statistics of {name}")
        mean, std = np.asarray(values.pointwise_mean), np.asarray(values.pointwise_std)
    else:
        # parameters and static fields beside fields in time keep their ordinary deviation
        in_time = kind == "temporal" and values.temporal_std is not None
        mean, std = (
            np.asarray(values.mean),
            np.asarray(values.temporal_std if in_time else values.std),
        )
    constant = std.max() <= 1e-12 * np.abs(mean).max()  # as far as rounding lets it be
    return mean, np.ones_like(std) if constant else std
