"""Images with annotated keypoints as a Lightning data module."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from surform.data.images_samples import EpochOrder
from surform.data.loaders import joint_processes
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.pose_batch import PoseBatch
from surform.data.pose_description import PoseDescription
from surform.data.pose_open import PoseSet, open_pose_sets
from surform.data.pose_parts import PosePart, divide_poses
from surform.data.pose_samples import ImageCache, PoseSamples
from surform.data.pose_truth import PoseTruth
from surform.data.pose_variation import PoseVariation
from surform.data.provision import provide
from surform.data.solvers.progress import progress_bar

__all__ = ["FIGURES", "PoseData"]

FIGURES: dict[str, Any] = {"solver": "figures", "samples": 2000, "seed": 0}
_FOLDER = "figures"  # where they are made without a path
_MEMORY_LIMIT = 2**30  # decoded images are held in memory up to this size under "auto"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green and blue in ImageNet


class PoseData(OrderedData):
    """Crops of persons or animals with their joints, from COCO's annotation files.

    Args:
        path: an annotation file; a folder that holds annotations.json; a mapping train,
            validation, test -> annotation file; or a list of such mappings, one for each head of
            ViTPose+, which may have images, keypoints, encoding and detections of their own.
            None: rendered figures, made in the folder "figures" when they are not there yet.
        generate: make `path` with a solver ({"solver": "figures", "samples": 2000, ...}) when it is
            not there yet.
        images: the folder of the images, or a mapping split -> folder; None looks beside the file.
        keypoints: a published set (coco, aic, mpii, ap10k, apt36k, coco_wholebody); "file": joints
            as the file names them; "auto": the published set of the same joints where there is one.
        encoding: of heatmaps: "udp", "msra", "msra_unbiased", "udp_combined" or "megvii". Those
            that begin with udp cut crops as UDP does.
        detections: a file of detected boxes (COCO's results format) for validation and test, or a
            mapping of these to files; training takes annotated boxes.
        detection_threshold: least score of detected boxes.
        image_size: height and width of crops [pixels].
        padding: how much larger crops are than boxes.
        split: "train", "validation", "test" -> a count or a fraction of the images, of data that
            are not divided. Default: 10 per cent for validation, and as many for a test.
        split_seed: of the division.
        flip: probability of a mirror image in training.
        half_body: probability of a crop of half a body, of those with more than 8 joints labelled.
        scale: deviation of the factor by which training changes the crop's size.
        rotate: deviation of the angle by which training turns crops [degrees].
        rotate_probability: that a crop is turned.
        jitter: training moves the centres of three crops in ten: "frozen" once for the whole run,
            as published, "fresh" in each epoch, or "none".
        normalize: {"mean": [...], "std": [...]} of red, green and blue, for values from 0 to 1;
            None takes ImageNet's.
        batch_size: crops per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that decode images and cut crops.
        cache: "memory" decodes image files once, "files" whenever they are needed, "auto" decides
            by size (1 GiB).
        seed: of shuffling and variation.
    """

    def __init__(
        self,
        path: str | dict[str, Any] | list[dict[str, Any]] | None = None,
        generate: dict[str, Any] | None = None,
        images: str | dict[str, str] | None = None,
        keypoints: str = "auto",
        encoding: str = "udp",
        detections: str | dict[str, str] | None = None,
        detection_threshold: float = 0.0,
        image_size: list[int] = [256, 192],  # noqa: B006  (read only; jsonargparse shows it)
        padding: float = 1.25,
        split: dict[str, int | float] | None = None,
        split_seed: int = 0,
        flip: float = 0.5,
        half_body: float = 0.3,
        scale: float = 0.5,
        rotate: float = 40.0,
        rotate_probability: float = 0.6,
        jitter: Literal["frozen", "fresh", "none"] = "frozen",
        normalize: dict[str, list[float]] | None = None,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        workers: int = 0,
        cache: Literal["auto", "memory", "files"] = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("jitter", jitter, ("frozen", "fresh", "none")),
            ("cache", cache, ("auto", "memory", "files")),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(choices)}")
        for name, least, value in (
            ("batch_size", 1, batch_size), ("eval_batch_size", 1, eval_batch_size),
            ("workers", 0, workers), ("seed", 0, seed), ("split_seed", 0, split_seed),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if len(image_size) != 2 or any(not isinstance(n, int) or n < 2 for n in image_size):
            raise ValueError(
                f"image_size is {image_size!r}, but must be height and width in pixels"
            )
        if padding <= 0:
            raise ValueError(f"padding must be positive, got {padding}")
        if path is None:
            path, generate = _FOLDER, FIGURES | (generate or {})
        self.path, self.generate = path, generate
        self.defaults = {
            "images": images, "keypoints": keypoints, "encoding": encoding,
            "detections": detections,
        }  # fmt: skip
        self.detection_threshold = detection_threshold
        self.image_size, self.padding = (image_size[0], image_size[1]), padding
        self.split, self.split_seed = split, split_seed
        self.variation = PoseVariation(
            flip=flip, half_body=half_body, scale=scale, rotate=rotate,
            rotate_probability=rotate_probability,
        )  # fmt: skip
        self.jitter, self._normalizer = jitter, _normalizer(normalize)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.workers, self.cache, self.seed = drop_last, workers, cache, seed
        self._sets: list[PoseSet] | None = None
        self._parts: dict[str, list[PosePart]] = {}
        self._remarks: list[str] = []
        self._images = ImageCache()
        self._description: PoseDescription | None = None

    # -- what the data are -------------------------------------------------------------------

    @property
    def sets(self) -> list[PoseSet]:
        """The data sets, read and divided at first use."""
        if self._sets is None:
            self.prepare_data()
            with progress_bar("reading annotations"):
                sets = open_pose_sets(self.path, self.defaults)
            self._parts, self._remarks = divide_poses(
                sets, self.split, self.split_seed, self.detection_threshold
            )
            self._sets = sets
        return self._sets

    def description(self) -> PoseDescription:
        """Joints, size of crops, encodings and provenance."""
        if self._description is None:
            sets = self.sets
            counts = {name: sum(len(p.persons) for p in own) for name, own in self._parts.items()}
            source = {
                "path": "; ".join(own.name for own in sets),
                "persons": ", ".join(f"{count:,} {name}" for name, count in counts.items()),
                "fingerprint": self._fingerprint(),
            }
            if self._remarks:
                source["left out"] = " ".join(self._remarks)
            self._description = PoseDescription(
                sets=tuple(own.own for own in sets),
                image_size=self.image_size,
                encodings=tuple(own.encoding for own in sets),
                padding=self.padding,
                source=source,
            )
        return self._description

    def remarks(self) -> list[str]:
        """What was left out, and how often, in sentences for the report."""
        return list(self._remarks) if self.sets else []

    def normalizers(self) -> tuple[Normalizer]:
        """The normaliser of red, green and blue."""
        return (self._normalizer,)

    def check(self, trained: PoseDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), "; ".join(own.name for own in self.sets))

    def held_bytes(self) -> int:
        """What the decoded images take in memory."""
        return self._images.nbytes()

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)  # type: ignore[arg-type]

    def setup(self, stage: str) -> None:
        """Read and check everything; decode the images of the stage where they fit."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        parts = self._divided()
        for split in splits:
            if split in parts:
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self.samples(split)), ranks, f"{split} ")
        self._hold([part for split in splits for part in parts.get(split, ())])

    # -- parts -------------------------------------------------------------------------------

    def parts(self, split: str) -> list[PosePart]:
        """What each data set gives to "train", "validation" or "test": persons, and `truth`, all
        annotations of the split's images, which evaluation counts.
        """
        parts = self._divided()
        if split not in parts:
            raise ValueError(f"there are no {split} images: there are {', '.join(parts)}")
        return parts[split]

    def ground_truth(self, split: str, dataset: int = 0) -> PoseTruth:
        """All annotations of a split's images of one data set, crowds included.

        Areas that the file does not give are NaN.
        """
        part = next((p for p in self.parts(split) if p.dataset == dataset), None)
        if part is None:
            raise ValueError(f"the {split} split has no images of data set {dataset}")
        truth = part.truth
        return PoseTruth(
            image_id=part.images.ids[truth.image],
            keypoints=truth.keypoints.astype(np.float64),
            flags=truth.flags,
            area=truth.area,
            boxes=truth.boxes,
            crowd=truth.crowd,
            labelled=(truth.flags > 0).sum(1),
            category=truth.category,
            where=part.origin.name,
        )

    def samples(self, split: str, varied: bool = False) -> PoseSamples:
        """The persons of a split: a data set of `PoseBatch`.

        Args:
            varied: as training varies them.
        """
        return PoseSamples(
            self.parts(split),
            self.image_size,
            self.padding,
            self.variation if varied else None,
            self.jitter,
            self.seed,
            self._images,
            max(len(own.own) for own in self.sets),
        )

    def _divided(self) -> dict[str, list[PosePart]]:
        return self._parts if self.sets else {}

    def _fingerprint(self) -> str:
        """sha256 of all persons, their images' names and divisions; of the pixels of three."""
        digest = hashlib.sha256()
        for split, parts in self._parts.items():
            for part in parts:
                digest.update(f"{split} {part.origin.own.joints} {part.origin.encoding}\n".encode())
                persons = part.persons
                for values in (persons.image, persons.boxes, persons.keypoints, persons.flags):
                    digest.update(np.ascontiguousarray(values).tobytes())
                for number in part.numbers.tolist():
                    digest.update(f"{part.images.names[number]}\n".encode())
                seen = np.unique(persons.image)
                for number in sorted({int(seen[n]) for n in (0, len(seen) // 2, -1)}):
                    digest.update(self._images.read(part.images, number).tobytes())
        return digest.hexdigest()

    def _hold(self, parts: list[PosePart]) -> None:
        """Decode image files now, where they fit."""
        sizes = [part.images.sizes[np.unique(part.persons.image)].prod(1).sum() for part in parts]
        fits = 3 * sum(map(int, sizes)) + self._images.nbytes() <= _MEMORY_LIMIT
        if self.cache == "memory" or (self.cache == "auto" and fits):
            with progress_bar("decoding images") as progress:
                self._images.hold(parts, progress)

    def _has(self, split: str) -> bool:
        return split in self._divided()

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[PoseBatch], BatchOrder]:
        samples = self.samples(split, varied=training)
        order = EpochOrder if training else BatchOrder
        return self._in_order(samples, order, training, self.workers)


def _normalizer(given: dict[str, list[float]] | None) -> Normalizer:
    found = {"mean": _MEAN, "std": _STD} if given is None else given
    for name in ("mean", "std"):
        count = len(found.get(name, ()))
        if count != 3:
            raise ValueError(
                f"normalize gives {count} numbers for {name}, but there are three channels: red, "
                "green, blue"
            )
    mean, std = (torch.tensor(found[n], dtype=torch.float32) for n in ("mean", "std"))
    return Normalizer(mean.view(3, 1, 1), std.view(3, 1, 1))
