"""Small pictures with a bright dot of its own color at each joint, as a data module of poses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder
from surform.data.pose_batch import PoseBatch
from surform.data.pose_description import PoseDescription
from surform.data.pose_keypoints import KeypointSet
from surform.data.pose_truth import PoseTruth

SIZE = (48, 32)
COLORS = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255.0]])


def joint_set(name: str = "dots", count: int = 3, **options: Any) -> KeypointSet:
    names = ("left_hand", "right_hand", "head", "foot")[:count]
    given: dict[str, Any] = {
        "skeleton": ((0, 1), (1, 2)),
        "pairs": (),  # colors tell joints apart, mirrored or not
        "upper": (0,),
        "sigmas": (0.1,) * count,
        "weights": (1.0,) * count,
    }
    return KeypointSet(name, names, **given | options)


class DotData(LightningDataModule):
    """Crops that are whole images, or their right halves where `moved`; three joints each."""

    protocol = "clean"

    def __init__(
        self,
        crops: int = 24,
        validation: int = 9,
        batch_size: int = 6,
        encoding: str = "udp",
        sets: int = 1,
        known_areas: bool = True,
        shown: float = 0.85,
    ) -> None:
        super().__init__()
        self.train, self.validation, self.batch_size = crops, validation, batch_size
        self.encoding, self.known_areas = encoding, known_areas
        random = np.random.default_rng(0)
        count = crops + validation
        height, width = SIZE
        low, high = np.array([4, 4]), np.array([width - 5, height - 5])
        self.joints = torch.from_numpy(random.uniform(low, high, (count, 3, 2))).float()
        self.visible = torch.from_numpy(random.random((count, 3)) < shown).float()
        self.images = torch.stack(
            [_drawn(at, v) for at, v in zip(self.joints, self.visible, strict=True)]
        )
        self.dataset = torch.from_numpy(random.integers(0, sets, count))
        self.sets = tuple(joint_set(f"dots{n}" if sets > 1 else "dots") for n in range(sets))
        self.start = (0, 0)

    def description(self) -> PoseDescription:
        encodings = (self.encoding,) * len(self.sets)
        return PoseDescription(self.sets, SIZE, encodings, source={"fingerprint": "dots"})

    def normalizers(self) -> tuple[Normalizer]:
        return (Normalizer(torch.full((3, 1, 1), 0.1), torch.full((3, 1, 1), 0.2)),)

    def remarks(self) -> list[str]:
        return ["2 persons without joints were left out."]

    def ground_truth(self, split: str, dataset: int = 0) -> PoseTruth:
        rows = [n for n in range(self.train, len(self.images)) if self.dataset[n] == dataset]
        batch = self.batch(rows)
        area, count = batch.area.double().numpy(), len(self.sets[dataset])
        return PoseTruth(
            batch.image_id.numpy(),
            batch.keypoints[:, :count].double().numpy(),
            batch.flags[:, :count].numpy(),
            area if self.known_areas else area * np.nan,
            batch.boxes.double().numpy(),
            np.zeros(len(rows), bool),
            (batch.flags[:, :count] > 0).sum(1).numpy(),
            "dots.json",
        )

    def resume_at(self, epoch: int, batch: int) -> None:
        self.start = (epoch, batch)

    def batch(self, rows: list[int]) -> PoseBatch:
        """Images are twice as large as crops, which are their right lower quarters."""
        index, count = torch.tensor(rows), len(rows)
        height, width = SIZE
        size = torch.tensor([width, height]).float()
        flags = 2 * self.visible[index].long()
        aligned = self.encoding.startswith("udp")
        extent = size  # of the crop in the image, whose pixels are as large as the crop's
        step = extent / (size - 1 if aligned else size)
        keypoints = self.joints[index] * step + size
        return PoseBatch(
            images=self.images[index],
            joints=self.joints[index],
            visible=self.visible[index],
            dataset=self.dataset[index],
            center=(size * 1.5).expand(count, 2),
            scale=(extent / 200).expand(count, 2),
            boxes=torch.cat((size, extent)).expand(count, 4),
            area=torch.full((count,), float(height * width)),
            keypoints=keypoints * (flags > 0)[..., None],
            flags=flags,
            score=torch.ones(count),
            image_id=index + 1000,
            annotation_id=index,
            category=torch.ones_like(index),
            index=index,
        )

    def train_dataloader(self) -> Any:
        order = BatchOrder(self.train, self.batch_size)
        order.start(*self.start)
        return DataLoader(_Crops(self, 0, self.train), sampler=order, batch_size=None)

    def val_dataloader(self) -> Any:
        order = BatchOrder(self.validation, self.batch_size, training=False)
        crops = _Crops(self, self.train, self.validation)
        return DataLoader(crops, sampler=order, batch_size=None)

    test_dataloader = val_dataloader
    predict_dataloader = val_dataloader


class _Crops:
    def __init__(self, data: DotData, first: int, count: int) -> None:
        self.data, self.first, self.count = data, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, items: list[int]) -> PoseBatch:
        return self.data.batch([self.first + item for item in items])


def _drawn(joints: Tensor, visible: Tensor) -> Tensor:
    """(3, H, W) uint8: Gaussian dots of 2 pixels."""
    y, x = torch.meshgrid(*(torch.arange(n).float() for n in SIZE), indexing="ij")
    distance = (x - joints[:, 0, None, None]).square() + (y - joints[:, 1, None, None]).square()
    dots = torch.exp(-distance / 8) * visible[:, None, None]
    return (dots[:, None] * COLORS[:, :, None, None]).sum(0).clamp(max=255).to(torch.uint8)
