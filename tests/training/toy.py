"""A small problem that trains in moments: a random linear map on a line, or a decaying window."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from surform.data.batches import FieldBatch
from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder
from surform.layers.arguments import record_arguments

POINTS = 12


class Smooth(nn.Module):
    """Steady `(B, N, C_in) -> (B, N, C_out)` with dropout."""

    time_window = False

    @record_arguments
    def __init__(
        self, in_channels: int = 1, out_channels: int = 1, dim: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(in_channels, dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(dim, out_channels),
        )

    def forward(self, u: Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        return self.body(u)


class Decay(nn.Module):
    """Time windows `(B, T_in, N, 1) -> (B, steps, N, 1)`: powers of one learned factor."""

    time_window = True

    @record_arguments
    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(
        self, u: Tensor, coordinates: tuple[Tensor, ...], steps: int | None = None
    ) -> Tensor:
        powers = self.factor ** torch.arange(1, (steps or 4) + 1, dtype=u.dtype)
        return u[:, -1:] * powers.view(1, -1, 1, 1)


class ToyData(LightningDataModule):
    """Steady pairs, or windows of frames that decay by 0.8; batches as a function of (epoch, k)."""

    protocol = "clean"
    fingerprint = "toy"

    def __init__(
        self,
        samples: int = 20,
        batch_size: int = 4,
        frames: int = 0,
        validation: int = 7,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.batch_size, self.frames = batch_size, frames
        draw = torch.Generator().manual_seed(seed)
        shape = (samples + validation, POINTS, 1)
        start = torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)
        if frames:
            powers = 0.8 ** torch.arange(frames + 2, dtype=dtype)
            states = start[:, None] * powers.view(1, -1, 1, 1)
            self.inputs, self.targets = states[:, :2], states[:, 2:]
        else:
            self.inputs, self.targets = start, 3 * start.square() - start + 5
        self.train_samples = samples
        self.start = (0, 0)

    def description(self) -> FieldsDescription:
        return FieldsDescription(
            inputs=("u",),
            targets=("u",) if self.frames else ("v",),
            axes=("x",),
            shape=(POINTS,),
            coordinates={"x": torch.linspace(0, 1, POINTS).tolist()},
            periodic={"x": False},
            input_steps=2 if self.frames else None,
            target_steps=self.frames or None,
            source={"fingerprint": self.fingerprint},
        )

    def normalizers(self) -> tuple[Normalizer, Normalizer]:
        def fit(values: Tensor) -> Normalizer:
            return Normalizer(values.mean().reshape(1), values.std().reshape(1))

        inputs = fit(self.inputs[: self.train_samples])
        targets = self.inputs if self.frames else self.targets
        return inputs, fit(targets[: self.train_samples])

    def resume_at(self, epoch: int, batch: int) -> None:
        self.start = (epoch, batch)

    def collate(self, items: list[int]) -> FieldBatch:
        index = torch.tensor(items)
        x = torch.linspace(0, 1, POINTS).to(self.inputs)
        return FieldBatch(self.inputs[index], self.targets[index], (x,), {}, index)

    def train_dataloader(self) -> Any:
        rank, ranks = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        order = BatchOrder(self.train_samples, self.batch_size, rank=rank, ranks=ranks)
        order.start(*self.start)
        return DataLoader(Windows(self), sampler=order, batch_size=None)

    def val_dataloader(self) -> Any:
        rank, ranks = self.processes()
        count = len(self.inputs) - self.train_samples
        order = BatchOrder(count, self.batch_size, training=False, rank=rank, ranks=ranks)
        return DataLoader(Windows(self, self.train_samples), sampler=order, batch_size=None)

    def processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    test_dataloader = val_dataloader
    predict_dataloader = val_dataloader


class Windows:
    """The samples of a data module, fetched as whole batches."""

    def __init__(self, data: ToyData, first: int = 0) -> None:
        self.data, self.first = data, first

    def __len__(self) -> int:
        return len(self.data.inputs)

    def __getitem__(self, items: list[int]) -> FieldBatch:
        time.sleep(float(os.environ.get("SURFORM_TOY_PAUSE", 0)))
        return self.data.collate([self.first + item for item in items])


def trainer(folder: Any, **options: Any) -> Trainer:
    """A silent trainer on the CPU."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": str(folder),
        "log_every_n_steps": 1,
    }
    return Trainer(**(quiet | options))
