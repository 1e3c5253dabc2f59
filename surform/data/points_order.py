"""Batches of samples of about the same length, in an order that is a function of (seed, epoch)."""

from __future__ import annotations

from typing import Any

import numpy as np

from surform.data.order import BatchOrder

__all__ = ["LengthOrder"]


class LengthOrder(BatchOrder):
    """Shuffled batches in which samples have about the same length, so that little is padded.

    Every epoch is shuffled, cut into groups of `group` joint batches, and each group is sorted by
    length; its batches are then the neighbours in length, and all batches are shuffled again. What
    does not fill a joint batch stays at the end.

    Args:
        lengths: `(windows,)`, how long each sample is.
        batch_size: per process.
        group: joint batches that are sorted together; 1 leaves samples of all lengths mixed.
        options: of `BatchOrder`.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int = 0, *, group: int, **options: Any
    ) -> None:
        super().__init__(len(lengths), batch_size, seed, **options)
        if group < 1:
            raise ValueError(f"group must be at least 1, got {group}")
        self.lengths, self.group = lengths, group

    def sequence(self, epoch: int) -> np.ndarray:
        mixed = super().sequence(epoch)
        joint = self.batch_size * self.num_replicas
        whole = len(mixed) // joint * joint
        if not self.training or self.group == 1 or not whole:
            return mixed
        parts = [
            part[np.argsort(self.lengths[part], kind="stable")]
            for part in np.split(
                mixed[:whole], range(joint * self.group, whole, joint * self.group)
            )
        ]
        batches = np.concatenate(parts).reshape(-1, joint)
        # a stream of its own: the shuffling of samples has used (seed, epoch)
        places = np.random.default_rng([self.seed, epoch, 1]).permutation(len(batches))
        return np.concatenate([batches[places].ravel(), mixed[whole:]])
