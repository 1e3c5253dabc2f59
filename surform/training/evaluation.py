"""Means over a whole split, correct for uneven batches and several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from surform.training.metrics import ROOT_OF_MEAN

__all__ = ["PROTOCOLS", "Evaluation"]

PROTOCOLS = ("clean", "paper")


class Evaluation:
    """Collects per-sample values batch by batch.

    Args:
        protocol: "clean" weighs every sample alike. "paper" is the habit of the published codes:
            the plain mean of batch means, in which the samples of a short last batch count more.
    """

    def __init__(self, protocol: str = "clean") -> None:
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {protocol!r}: choose {', '.join(PROTOCOLS)}")
        self.protocol = protocol
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take one batch: per name a tensor `(B, ...)`; trailing dimensions are kept."""
        for name, value in values.items():
            value = value.detach().double() if value.device.type != "mps" else value.detach()
            if self.protocol == "paper":
                total, count = _finish(name, value.mean(0)), 1
            else:
                total, count = value.sum(0), len(value)
            self._sums[name] = self._sums.get(name, torch.zeros_like(total)) + total
            counted = torch.full_like(total.flatten()[:1], count)
            self._counts[name] = self._counts.get(name, torch.zeros_like(counted)) + counted

    def results(
        self, reduce: Callable[[Tensor], Tensor] = lambda total: total
    ) -> dict[str, Tensor]:
        """Dataset means by name; `reduce` sums a tensor over the processes."""
        found = {}
        for name in self._sums:
            mean = reduce(self._sums[name]) / reduce(self._counts[name])[0]
            found[name] = mean if self.protocol == "paper" else _finish(name, mean)
        return found


def _finish(name: str, mean: Tensor) -> Tensor:
    rooted = name.removesuffix("_physical") in ROOT_OF_MEAN  # the same, in units of the data
    return mean.sqrt() if rooted else mean
