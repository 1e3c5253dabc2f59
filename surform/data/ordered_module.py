"""What all data modules share: loaders whose order can be taken up anywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from surform.data.loaders import joint_processes, whole_batches
from surform.data.order import BatchOrder

__all__ = ["OrderedData"]


class OrderedData(L.LightningDataModule, ABC):
    """Loaders of the splits "train", "validation" (where there is one) and "test".

    A subclass says in `_loader` how a split is loaded, and in `_has` which there are.
    """

    batch_size: int  # per process, in training
    eval_batch_size: int
    seed: int
    drop_last: bool

    def __init__(self) -> None:
        super().__init__()
        self._train_order: BatchOrder | None = None
        self._start = (0, 0)

    def train_dataloader(self) -> DataLoader[Any]:
        loader, self._train_order = self._loader("train", training=True)
        self._train_order.start(*self._start)
        return loader

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        return self._loader("validation")[0] if self._has("validation") else []

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")[0]

    def predict_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")[0]

    def resume_at(self, epoch: int, batch: int) -> None:
        """Let training continue with batch `batch` of `epoch`; later epochs begin at 0."""
        self._start = (epoch, batch)
        if self._train_order is not None:
            self._train_order.start(epoch, batch)

    def _in_order(
        self, samples: Any, order: type[BatchOrder], training: bool = False, workers: int = 0
    ) -> tuple[DataLoader[Any], BatchOrder]:
        """A loader of samples that make a whole batch from a list of numbers, and its order."""
        rank, ranks = joint_processes(self.trainer)
        size = self.batch_size if training else self.eval_batch_size
        chosen = order(
            len(samples),
            size,
            self.seed,
            training=training,
            drop_last=self.drop_last,
            rank=rank,
            ranks=ranks,
        )
        return whole_batches(samples, chosen, workers), chosen

    @abstractmethod
    def _loader(self, split: str, training: bool = False) -> tuple[DataLoader[Any], BatchOrder]:
        """Whole batches of a split, and what orders them."""

    @abstractmethod
    def _has(self, split: str) -> bool:
        """Whether there is a split of this name."""
