"""Poses of one person found twice: the surer one stays (non-maximum suppression by OKS)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from surform.vision.found_poses import FoundPoses
from surform.vision.oks import pose_similarity

__all__ = ["suppressed"]

_MOST = 20  # poses of an image that soft suppression keeps, as COCO's tool counts


def suppressed(
    found: FoundPoses, sigmas: Sequence[float], threshold: float = 0.9, *, soft: bool = False
) -> FoundPoses:
    """Without poses whose OKS with a surer one of the same image exceeds `threshold`.

    Args:
        soft: instead, lower the rank of similar ones by exp(-OKS^2 / threshold), and keep the first
            20 of an image; scores stay (Bodla et al., "Soft-NMS", arXiv 1704.04503).

    Returns:
        Poses by image, in the order of the images' first poses, each image's from the surest on.

    Raises:
        ValueError: a threshold that is not positive.
    """
    if not threshold > 0:
        raise ValueError(f"threshold is {threshold}, but must be positive")
    order: list[int] = []
    ids, first = np.unique(found.image_id, return_index=True)
    for image in ids[np.argsort(first)]:
        mine = np.flatnonzero(found.image_id == image)
        joints, area = (torch.from_numpy(v[mine]).double() for v in (found.keypoints, found.area))
        similar = pose_similarity(joints, area, sigmas).numpy()
        kept = (_soft if soft else _hard)(similar, found.score[mine], threshold)
        order += mine[kept].tolist()
    return found.rows(np.array(order, dtype=np.int64))


def _hard(similar: np.ndarray, score: np.ndarray, threshold: float) -> list[int]:
    left, kept = np.argsort(score, kind="stable")[::-1], []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][similar[left[0], left[1:]] <= threshold]
    return kept


def _soft(similar: np.ndarray, score: np.ndarray, threshold: float) -> list[int]:
    left, kept = np.argsort(score, kind="stable")[::-1], []
    score = score.astype(np.float64)
    while len(left) and len(kept) < _MOST:
        best, left = left[0], left[1:]
        kept.append(int(best))
        score[left] *= np.exp(-np.square(similar[best, left]) / threshold)
        left = left[np.argsort(score[left], kind="stable")[::-1]]
    return kept
