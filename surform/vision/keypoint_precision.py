"""Average precision and recall of poses by OKS: the numbers of COCO's evaluation tool.

Poses are matched with annotations from the surest on; a match counts at an OKS of at least 0.50,
0.55 ... 0.95. Annotations of crowds and those without joints, or outside the range of areas, are
matched without counting. Precision is read at 101 recalls; "M" has areas from 32^2 to 96^2 pixels,
"L" larger ones. Several categories (the animals of AP-10K) are evaluated one by one; figures are
means over those that have annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from surform.data.pose_truth import PoseTruth
from surform.vision.found_poses import FoundPoses
from surform.vision.oks import oks

__all__ = ["NAMES", "keypoint_precision"]

NAMES = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "ar50", "ar75", "ar_m", "ar_l")
_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_AREAS = np.array([[0.0, 1e10], [32.0**2, 96.0**2], [96.0**2, 1e10]])  # all, M, L
_PAIRS = 2**20  # joints compared in one go


class _Matches(NamedTuple):
    """Of poses, the surest of an image first.

    score (D,); matched and ignored (areas, thresholds, D); wanted (areas,), annotations that count.
    """

    score: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    wanted: np.ndarray


def keypoint_precision(
    found: FoundPoses, truth: PoseTruth, sigmas: Sequence[float], most: int = 20
) -> dict[str, float]:
    """AP, AP at OKS 0.50 and 0.75, AP of medium and large persons, and recalls, by `NAMES`.

    Args:
        found: poses with their final scores; those of other images than the annotations' count as
            wrong.
        truth: all annotations of the images.
        sigmas: (K,), of the joints.
        most: poses per image, the surest ones, that are looked at.

    Returns:
        From 0 to 1; NaN where no annotation counts (COCO's tool says -1).

    Raises:
        ValueError: annotations without an area, or other joints than the poses have.
    """
    _check(found, truth)
    categories = np.unique(truth.category) if len(truth) else np.ones(1, np.int64)
    curves = []
    for category in categories:
        own, meant = (columns.category == category for columns in (found, truth))
        curves.append(_category(found.rows(own), truth.rows(meant), sigmas, most))
    precision, recall = (np.stack(columns, -1) for columns in zip(*curves, strict=True))
    return dict(zip(NAMES, _summary(precision, recall), strict=True))


def _category(
    found: FoundPoses, truth: PoseTruth, sigmas: Sequence[float], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Curves of the poses and annotations of one category, see `_curves`."""
    similar = _similarities(found, truth, sigmas)
    of_found, of_truth = (_by_image(ids) for ids in (found.image_id, truth.image_id))
    parts = []
    for image in sorted(of_found.keys() | of_truth.keys()):
        mine = of_found.get(image, _NONE)
        mine = mine[np.argsort(-found.score[mine], kind="stable")][:most]
        own = of_truth.get(image, _NONE)
        near = np.zeros((len(mine), len(own)))
        if image in similar:
            rows, values = similar[image]
            near = values[np.searchsorted(rows, mine)]
        parts.append(_matched(mine, own, near, found, truth))
    return _curves(_joined(parts))


_NONE = np.empty(0, dtype=np.int64)


def _check(found: FoundPoses, truth: PoseTruth) -> None:
    if found.keypoints.shape[1] != truth.keypoints.shape[1]:
        raise ValueError(
            f"the poses have {found.keypoints.shape[1]} joints, {truth.where} "
            f"{truth.keypoints.shape[1]}"
        )
    unknown = np.flatnonzero(np.isnan(truth.area))
    if len(unknown):
        raise ValueError(
            f"OKS needs the area of every person, but {truth.where} has none for "
            f"{len(unknown)} of {len(truth)} annotations (the first one in image "
            f"{truth.image_id[unknown[0]]}): take a share of the box's area instead (box_area), or "
            "PCK"
        )


def _by_image(ids: np.ndarray) -> dict[int, np.ndarray]:
    """The rows of each image."""
    if not len(ids):
        return {}
    order = np.argsort(ids, kind="stable")
    values, starts = np.unique(ids[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))


def _similarities(
    found: FoundPoses, truth: PoseTruth, sigmas: Sequence[float]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Per image its poses' rows, ascending, and their OKS with its annotations."""
    of_truth = _by_image(truth.image_id)
    mine = {i: rows for i, rows in _by_image(found.image_id).items() if i in of_truth}
    left = [np.repeat(rows, len(of_truth[i])) for i, rows in mine.items()]
    right = [np.tile(of_truth[i], len(rows)) for i, rows in mine.items()]
    if not left:
        return {}
    a, b = np.concatenate(left), np.concatenate(right)
    step = max(1, _PAIRS // truth.keypoints.shape[1])
    values = [
        _pairs(found, truth, sigmas, a[k : k + step], b[k : k + step])
        for k in range(0, len(a), step)
    ]
    ends = np.cumsum([len(part) for part in left])[:-1]
    split = np.split(np.concatenate(values), ends)
    return {
        image: (rows, part.reshape(len(rows), -1))
        for (image, rows), part in zip(mine.items(), split, strict=True)
    }


def _pairs(
    found: FoundPoses, truth: PoseTruth, sigmas: Sequence[float], a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    columns = (found.keypoints[a], truth.keypoints[b], truth.area[b], truth.boxes[b])
    joints, at, area, boxes = (torch.from_numpy(column).double() for column in columns)
    labelled = torch.from_numpy(truth.flags[b] > 0)
    return oks(joints, at, labelled, area, sigmas, boxes).numpy()


def _matched(
    mine: np.ndarray, own: np.ndarray, near: np.ndarray, found: FoundPoses, truth: PoseTruth
) -> _Matches:
    """The poses of one image, surest first, each with the nearest annotation that is left."""
    area, crowd = truth.area[own], truth.crowd[own].astype(bool)
    outside = (area < _AREAS[:, :1]) | (area > _AREAS[:, 1:])
    ignored = outside | crowd | (truth.labelled[own] == 0)  # (areas, G)
    shape = (len(_AREAS), len(_THRESHOLDS))
    taken = np.zeros((*shape, len(own)), bool)
    hit, passed = (np.zeros((*shape, len(mine)), bool) for _ in range(2))
    least = np.minimum(_THRESHOLDS, 1 - 1e-10)[None, :, None]
    for pose in range(len(mine) if len(own) else 0):
        free = (~taken | crowd) & (near[pose] >= least)
        counting = free & ~ignored[:, None]
        choice = np.where(counting.any(-1, keepdims=True), counting, free)
        best = _last_largest(np.where(choice, near[pose], -1.0))
        some = choice.any(-1)
        hit[..., pose] = some
        passed[..., pose] = some & np.take_along_axis(ignored, best, 1)
        np.put_along_axis(
            taken,
            best[..., None],
            some[..., None] | np.take_along_axis(taken, best[..., None], -1),
            -1,
        )
    extent = np.ptp(found.keypoints[mine], axis=1).prod(-1)  # area of a found pose
    small = (extent < _AREAS[:, :1]) | (extent > _AREAS[:, 1:])
    passed |= ~hit & small[:, None]
    return _Matches(found.score[mine], hit, passed, (~ignored).sum(1))


def _last_largest(values: np.ndarray) -> np.ndarray:
    """Place of the largest along the last axis, the last one of equals."""
    return values.shape[-1] - 1 - values[..., ::-1].argmax(-1)


def _joined(parts: list[_Matches]) -> _Matches:
    """Poses of all images, the surest first."""
    shape = (len(_AREAS), len(_THRESHOLDS), 0)
    score = np.concatenate([np.empty(0), *(part.score for part in parts)])
    order = np.argsort(-score, kind="stable")
    hit, passed = (
        np.concatenate([np.empty(shape, bool), *columns], -1)[..., order]
        for columns in ([p.matched for p in parts], [p.ignored for p in parts])
    )
    wanted = np.sum([np.zeros(len(_AREAS), int), *(part.wanted for part in parts)], 0)
    return _Matches(score[order], hit, passed, wanted)


def _curves(all_poses: _Matches) -> tuple[np.ndarray, np.ndarray]:
    """Precision (areas, thresholds, recalls) and recall (areas, thresholds)."""
    right = np.cumsum(all_poses.matched & ~all_poses.ignored, -1).astype(float)
    wrong = np.cumsum(~all_poses.matched & ~all_poses.ignored, -1).astype(float)
    wanted = np.where(all_poses.wanted > 0, all_poses.wanted, np.nan)[:, None]
    share = right / wanted[..., None]
    exact = right / (right + wrong + np.spacing(1))
    exact = np.maximum.accumulate(exact[..., ::-1], -1)[..., ::-1]
    precision = np.zeros((*share.shape[:2], len(_RECALLS)))
    for area, threshold in np.ndindex(share.shape[:2]):
        at = np.searchsorted(share[area, threshold], _RECALLS, side="left")
        reached = at < share.shape[-1]
        precision[area, threshold, reached] = exact[area, threshold, at[reached]]
    precision[all_poses.wanted == 0] = np.nan
    last = share[..., -1] if share.shape[-1] else np.zeros(share.shape[:2]) * wanted
    return precision, last


def _summary(precision: np.ndarray, recall: np.ndarray) -> list[float]:
    """In the order of `NAMES`; means over all values that are known, of all categories."""
    figures = []
    for values in (precision, recall):
        figures += [values[0], values[0, 0], values[0, 5], values[1], values[2]]
    known = [values[~np.isnan(values)] for values in figures]
    return [float(np.mean(values)) if len(values) else float("nan") for values in known]
