"""Worlds of one split as a data set of whole batches, made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from surform.data.decisions_batch import DecisionBatch
from surform.data.decisions_settings import Setting
from surform.data.order import BatchOrder

__all__ = ["BLOCK", "FreshOrder", "Numbers", "WorldSamples"]

BLOCK = 512  # worlds drawn and played together: part of what a seed means
_HELD = 8  # blocks
_APART = BLOCK << 40  # between the numbers of worlds for contexts of different lengths
_SPLITS = {"train": 0, "validation": 1, "test": 2}


class WorldSamples:
    """World n is a function of (seed, split, n, its rounds); whole blocks are made, the last ones
    held.

    Numbers beyond `count` are worlds of later epochs: training never sees one twice.

    Args:
        draws: samples of the posterior behind the batches' `chances`; 0: they have none.
    """

    def __init__(
        self,
        setting: Setting,
        collectors: Mapping[str, float],
        rounds: int,
        count: int,
        split: str,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        draws: int = 0,
    ) -> None:
        self.setting, self.collectors, self.rounds = setting, dict(collectors), rounds
        self.count, self.split, self.seed, self.dtype = count, split, seed, dtype
        self.draws = draws
        self._held: dict[tuple[int, int], DecisionBatch] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, asked: Sequence[int]) -> DecisionBatch:
        numbers = np.asarray(asked, dtype=np.int64)
        rounds = getattr(asked, "rounds", None) or self.rounds
        blocks, places = np.divmod(numbers, BLOCK)
        parts = []
        for block in dict.fromkeys(blocks.tolist()):
            which = torch.from_numpy(places[blocks == block])
            found = self._block(block, rounds)
            parts.append(found.map(lambda tensor, which=which: tensor[which]))
        # numbers of one block stand together in every order of batches
        batch = parts[0] if len(parts) == 1 else _joined(parts)
        batch.index = torch.from_numpy(numbers % self.count)
        return batch

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """What each world is called."""
        return {"name": [f"world {number}" for number in index.tolist()]}

    def _block(self, number: int, rounds: int) -> DecisionBatch:
        key = (number, rounds)
        if key not in self._held:
            words = np.random.SeedSequence((self.seed, _SPLITS[self.split], number))
            generator = torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0]))
            world = self.setting.draw(BLOCK, generator, self.dtype)
            with torch.no_grad():
                made = self.setting.collect(world, self.collectors, rounds, generator)
                if self.draws:
                    made.chances = self.setting.chances(made, self.draws, generator)
            made = made.map(lambda x: x.to(self.dtype) if x.is_floating_point() else x)
            while len(self._held) >= _HELD:
                self._held.pop(next(iter(self._held)))
            self._held[key] = made
        return self._held[key]


class Numbers(list[int]):
    """Numbers of worlds, and how many rounds of them are wanted; None: all."""

    rounds: int | None = None


class FreshOrder(BatchOrder):
    """New worlds in the order of their numbers: there is nothing to shuffle.

    Args:
        lengths: of contexts, in turn; each with worlds of its own, and with as many more of them as
            it is shorter than `rounds`, so that every batch has the same number of transitions.
        rounds: of the longest context.
    """

    def __init__(self, *args: Any, lengths: Sequence[int], rounds: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lengths = tuple(lengths)
        self._sizes = tuple(self.batch_size * rounds // length for length in lengths)

    def __len__(self) -> int:
        """Batches in an epoch: whole turns of all lengths."""
        return len(self._lengths) * self._turns()

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """All batches of this rank in one epoch."""
        for turn in range(epoch * self._turns(), (epoch + 1) * self._turns()):
            for kind, (length, size) in enumerate(zip(self._lengths, self._sizes, strict=True)):
                first = (turn * self.num_replicas + self.rank) * size + kind * _APART
                numbers = Numbers(range(first, first + size))
                numbers.rounds = length
                yield numbers

    def _turns(self) -> int:
        return max(1, self.windows // (sum(self._sizes) * self.num_replicas))


def _joined(parts: Sequence[DecisionBatch]) -> DecisionBatch:
    """Batches one after the other, their worlds too."""
    rows = [_tensors(part) for part in parts]
    each = iter([torch.cat(one) for one in zip(*rows, strict=True)])
    return parts[0].map(lambda _: next(each))


def _tensors(batch: DecisionBatch) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    batch.map(keep)
    return found
