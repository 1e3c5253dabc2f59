"""Poses of the persons in images: boxes in, joints in pixels of the images out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.data.faults import refuse_unreadable
from surform.data.images_files import IMAGES, read_image
from surform.data.images_folder import image_files
from surform.data.pose_crops import center_scale, crop_matrix, cut
from surform.data.pose_description import PoseDescription
from surform.data.pose_keypoints import KeypointSet
from surform.data.solvers.progress import progress_bar
from surform.vision.found_poses import FoundPoses
from surform.vision.person_boxes import ImageBoxes, read_boxes, whole_image
from surform.vision.pose_suppression import suppressed

if TYPE_CHECKING:
    from surform.vision.pose_estimator import PoseEstimator

__all__ = ["Picture", "Poser", "open_pictures", "predict"]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image to be looked at: its name, and its pixels or the file that holds them."""

    name: str
    held: np.ndarray | Path

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return self.held if isinstance(self.held, np.ndarray) else read_image(self.held, 3)


@dataclass(frozen=True, eq=False)
class Poser:
    """A model and how it is asked.

    Args:
        model: with a description.
        dataset: number of the head, for `vitpose_plus`.
        flip: average the heatmaps with those of mirrored crops.
        batch_size: crops in one call of the network.
        least_score: joints with lower scores do not count in the score of a pose.
    """

    model: PoseEstimator
    dataset: int = 0
    flip: bool = True
    batch_size: int = 32
    least_score: float = 0.2

    @property
    def keypoints(self) -> KeypointSet:
        """The joints that are found."""
        return self.model.described().sets[self.dataset]

    def poses(self, pixels: np.ndarray, boxes: ImageBoxes, name: str) -> FoundPoses:
        """The poses of an image's boxes, rescored; of one person's only the surest one.

        Raises:
            ValueError: a box that lies beside the image, or joints that are not finite.
        """
        about, rows = self.model.described(), boxes.boxes
        _require_inside(rows, pixels.shape[:2], name)
        center, scale = center_scale(rows, about.image_size, about.padding)
        parts = []
        for start in range(0, len(rows), self.batch_size):
            own = slice(start, start + self.batch_size)
            parts.append(self._joints(pixels, center[own], scale[own], about))
        triples = np.concatenate([*parts, np.empty((0, len(self.keypoints), 3))])
        if not np.isfinite(triples).all():
            raise ValueError(
                f"the model finds no finite joints in {name}: its weights have diverged, or their "
                "precision is too low"
            )
        found = FoundPoses(
            image_id=np.full(len(rows), boxes.image_id),
            keypoints=triples[..., :2],
            joint_scores=triples[..., 2],
            score=boxes.score,
            area=(200 * scale).prod(1),
            boxes=rows,
            number=np.arange(len(rows)),
            category=boxes.category,
        )
        return suppressed(found.rescored(self.least_score), self.keypoints.sigmas)

    @torch.inference_mode()
    def _joints(
        self, pixels: np.ndarray, center: np.ndarray, scale: np.ndarray, about: PoseDescription
    ) -> np.ndarray:
        """(N, K, 3): x, y and score."""
        aligned = about.encodings[self.dataset].startswith("udp")
        crops = [
            cut(pixels, crop_matrix(c, s, 0.0, about.image_size, aligned=aligned), about.image_size)
            for c, s in zip(center, scale, strict=True)
        ]
        weight = next(self.model.parameters())
        images = torch.from_numpy(np.stack(crops)).to(weight.device)
        number = torch.full((len(images),), self.dataset, device=weight.device)
        maps = self.model.heatmaps(self.model.normalized(images), number, flip=self.flip)
        at, size = (torch.from_numpy(v).to(weight.device).float() for v in (center, scale))
        found = self.model.located(maps, number, at, size)
        joints = torch.cat((found.xy, found.score[..., None]), -1)[:, : len(self.keypoints)]
        return joints.float().cpu().numpy().astype(np.float64)


def predict(model: PoseEstimator, source: Any, *, boxes: Any = None, **options: Any) -> list[Any]:
    """A row per person, as in a COCO file of results, and `image`, the name of the image.

    `keypoints` holds x, y (pixels of the image) and score of every joint; `score` is that of the
    box times the mean score of the sure joints.

    Args:
        source: an image, a folder of images at any depth, or arrays (N, H, W, 3) of bytes.
        boxes: see `read_boxes`; None: each image shows one person.
        options: of `make_poser`: batch_size, flip_test, keypoint_set, dataset, least_score.

    Raises:
        ValueError: boxes or images that cannot be used, or a model that does not know its joints.
    """
    poser = make_poser(model, **options)
    pictures = open_pictures(source)
    rows = []
    for picture, found in looked_through(poser, pictures, boxes):
        rows += rows_of(picture.name, found)
    return rows


def make_poser(
    model: PoseEstimator,
    *,
    batch_size: int = 32,
    flip_test: bool = True,
    keypoint_set: str | None = None,
    dataset: int | str = 0,
    least_score: float = 0.2,
) -> Poser:
    """The model with its options checked.

    Args:
        flip_test: average the heatmaps with those of mirrored crops.
        keypoint_set: name of the published set whose joints converted weights find.
        dataset: head of a `vitpose_plus`, by number or by the name of its keypoint set.

    Raises:
        ValueError: an option that cannot be; the sentence says what would be.
    """
    _check_options(batch_size, flip_test, least_score)
    if model.description is None:
        model.describe_as(keypoint_set)
    names = [own.name for own in model.described().sets]
    if keypoint_set is not None and keypoint_set != names[0]:
        known = ", ".join(names)
        raise ValueError(
            f"the model knows the keypoint set {known}: leave keypoint_set {keypoint_set!r} out"
            if len(names) == 1
            else f"keypoint_set is {keypoint_set!r}, but dataset chooses a head: one of {known}"
        )
    number = names.index(dataset) if dataset in names else dataset
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise ValueError(
            f"dataset is {dataset!r}, but the model's heads are numbered from 0 and named "
            f"{', '.join(names)}"
        )
    model.eval()
    return Poser(model, number, flip_test, batch_size, least_score)


def _check_options(batch_size: Any, flip_test: Any, least_score: Any) -> None:
    """What the command line hands over may be anything."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    if not isinstance(flip_test, bool):
        raise ValueError(f"flip_test is {flip_test!r}, but must be true or false")
    if isinstance(least_score, bool) or not isinstance(least_score, int | float):
        raise ValueError(f"least_score is {least_score!r}, but must be a number")


def open_pictures(source: Any) -> list[Picture]:
    """The images of a file, a folder at any depth, or an array; ValueError where there is none."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 4 or source.shape[3] != 3:
            raise ValueError(
                f"images are {source.dtype} of shape {source.shape}, but must be bytes (uint8) of "
                "shape (N, H, W, 3)"
            )
        return [Picture(str(number), image) for number, image in enumerate(source)]
    if not isinstance(source, str | Path):
        raise ValueError(f"images are one file or one folder, or an array, not {source!r}")
    path = Path(source)
    refuse_unreadable(str(path))
    if path.is_dir():
        files = image_files(path)
        if not files:
            raise ValueError(f"{path} holds no images ({', '.join(IMAGES)})")
        return [Picture(file.relative_to(path).as_posix(), file) for file in files]
    if path.suffix.lower() not in IMAGES:
        raise ValueError(f"{path} is neither an image ({', '.join(IMAGES)}) nor a folder of them")
    return [Picture(path.name, path)]


def looked_through(
    poser: Poser, pictures: Sequence[Picture], boxes: Any
) -> Iterator[tuple[Picture, FoundPoses]]:
    """Every picture that has boxes, with its poses."""
    given = None if boxes is None else read_boxes(boxes, [picture.name for picture in pictures])
    with progress_bar(f"looking for poses in {len(pictures)} images") as progress:
        for place, picture in enumerate(pictures):
            if given is None or picture.name in given:
                pixels = picture.pixels()
                size = (pixels.shape[0], pixels.shape[1])
                own = whole_image(place, size) if given is None else given[picture.name]
                found = poser.poses(pixels, own, picture.name)
                yield replace(picture, held=pixels), found
            progress((place + 1) / len(pictures))


def rows_of(name: str, found: FoundPoses) -> list[dict[str, Any]]:
    """Rows of results, which name their image."""
    return [row | {"image": name} for row in found.results()]


def _require_inside(boxes: np.ndarray, size: tuple[int, ...], name: str) -> None:
    height, width = size[:2]
    corner, far = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    beside = (corner >= (width, height)).any(1) | (far <= 0).any(1)
    if beside.any():
        box = ", ".join(f"{v:g}" for v in boxes[beside.argmax()])
        raise ValueError(
            f"the box ({box}) lies beside the image {name}, which is {width} pixels wide and "
            f"{height} high"
        )
