"""Batches of structures with no more atoms (or edges) than fit, alike on all processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from surform.data.order import BatchOrder

__all__ = ["SizeOrder"]

Batch = list[list[int]]  # of all ranks together


class SizeOrder(BatchOrder):
    """A `BatchOrder` that counts what structures cost instead of their number.

    Structures are taken in the order of the epoch, each by the rank that has least so far, until
    one would exceed `most`: then all ranks begin another batch. So no rank has more than `most`,
    and all have about as much. In training every epoch has as many batches as the first: a
    surplus is left out, and where some are lacking the batches of most structures are halved.

    Args:
        sizes: `(windows,)`, what each structure costs: its atoms, or edges.
        most: per process and batch.
        options: of `BatchOrder`, without a batch size.

    Raises:
        ValueError: a structure that is larger than `most`.
    """

    def __init__(self, sizes: np.ndarray, most: int, seed: int = 0, **options: object) -> None:
        super().__init__(len(sizes), 1, seed, **options)  # type: ignore[arg-type]
        if len(sizes) and sizes.max() > most:
            largest = int(sizes.argmax())
            raise ValueError(
                f"structure {largest} of the split counts {sizes[largest]}, but a batch may have "
                f"{most}: raise the limit"
            )
        self.sizes, self.most = sizes.tolist(), most
        # in the mean, rounded up: what estimates of memory go by
        self.batch_size = -(-len(sizes) // (self.num_replicas * max(1, self._batches)))

    def __len__(self) -> int:
        return self._batches

    def batches(self, epoch: int) -> Iterator[list[int]]:
        for joint in self._joint(epoch):
            yield joint[self.rank]

    @cached_property
    def _batches(self) -> int:
        return len(self._packed(0))

    def _joint(self, epoch: int) -> list[Batch]:
        found = self._packed(epoch)
        while len(found) < self._batches:
            widest = max(range(len(found)), key=lambda n: min(map(len, found[n])))
            batch = found[widest]
            if min(map(len, batch)) < 2:
                found.append(found[0])  # nothing can be halved
                continue
            found[widest] = [own[: len(own) // 2] for own in batch]
            found.append([own[len(own) // 2 :] for own in batch])
        return found[: self._batches]

    def _packed(self, epoch: int) -> list[Batch]:
        ranks = self.num_replicas
        batches: list[Batch] = []
        loads: list[int] = []
        for number in self.sequence(epoch).tolist():
            least = min(range(ranks), key=loads.__getitem__) if loads else 0
            if not loads or loads[least] + self.sizes[number] > self.most:
                batches.append([[] for _ in range(ranks)])
                loads, least = [0] * ranks, 0
            batches[-1][least].append(number)
            loads[least] += self.sizes[number]
        if len(batches) > 1 and not all(batches[-1]):
            rest = [number for own in batches.pop() for number in own]
            if not self._whole:  # too few for all ranks: they join the batch before
                for place, number in enumerate(rest):
                    batches[-1][place % ranks].append(number)
        return batches
