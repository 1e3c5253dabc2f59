"""Pathfinder: whether two marked ends belong to one dashed path.

The task of Linsley et al., "Learning Long-Range Spatial Dependencies with Horizontal Gated
Recurrent Units", 2018 (arXiv 1805.08315), in Long Range Arena (arXiv 2011.04006) with images of 32
x 32 pixels. The images are drawn here, and are not the official ones.
"""

from __future__ import annotations

import numpy as np
import torch

from surform.data.solvers.checks import check_at_least, check_positive
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["pathfinder"]

BATCH = 64
_ATTEMPTS = 500  # starts tried for one path, and then layouts for one image
_MARGIN = 2.0  # pixels between paths and the border
_MARK = 1.7  # radius of the marks [pixels]
_WIDTH = 0.8  # of dashes [pixels]
_PER_STEP = 4  # points of a path at which distances are looked at


def pathfinder(
    samples: Samples,
    *,
    side: int = 32,
    dashes: int = 9,
    distractors: int = 3,
    dash: float = 1.6,
    gap: float = 1.4,
    clearance: float = 2.5,
    turn: float = 0.35,
) -> Solution:
    """Grey images of two long dashed paths and short ones, with marks on two ends.

    `label` is 1 where both marks are on one path, else 0: then each long path has one. Both classes
    have the same numbers of paths and marks, so that only following a path tells them apart.

    Args:
        side: of the square images [pixels].
        dashes: of a long path; short ones have a third.
        distractors: short paths.
        dash: length of a dash [pixels].
        gap: between two dashes [pixels].
        clearance: least distance of paths from each other and from themselves [pixels].
        turn: deviation of the angle between two dashes [rad].
    """
    check_at_least(8, side=side)
    check_at_least(2, dashes=dashes)
    check_at_least(0, distractors=distractors, turn=turn)
    check_positive(dash=dash, gap=gap, clearance=clearance)
    images = torch.zeros(len(samples), side, side, dtype=torch.uint8)
    label = samples.integers(0, 2).to(torch.uint8)
    seeds = samples.integers(0, 2**62).tolist()
    for place, seed in enumerate(seeds):
        drawing = _Drawing(np.random.default_rng(seed), side, dash, gap, clearance, turn)
        paths = drawing.layout((dashes, dashes, *[max(2, dashes // 3)] * distractors))
        first, second = paths[0], paths[1]
        marks = (first[0], first[-1]) if label[place] else (first[0], second[-1])
        images[place] = torch.from_numpy(drawing.rendered(paths, marks))
        samples.progress((place + 1) / len(seeds))
    axis = Axis(torch.arange(side), "pixel")
    return Solution(
        fields={
            "image": Field(images, ("row", "column"), "grey value, 0 to 255"),
            "label": Field(label, (), "1 where both marks are on one path"),
        },
        axes={"row": axis, "column": axis},
    )


class _Drawing:
    """Paths as arrays of points (dashes + 1, 2), between which the dashes lie."""

    def __init__(
        self,
        generator: np.random.Generator,
        side: int,
        dash: float,
        gap: float,
        clearance: float,
        turn: float,
    ) -> None:
        self.generator, self.side, self.step = generator, side, dash + gap
        self.dash, self.clearance, self.turn = dash, clearance, turn

    def layout(self, lengths: tuple[int, ...]) -> list[np.ndarray]:
        """Paths of so many dashes that keep clear of each other; ValueError where none fit."""
        for _ in range(_ATTEMPTS):
            paths: list[np.ndarray] = []
            for length in lengths:
                path = self._path(length, paths)
                if path is None:
                    break
                paths.append(path)
            else:
                return paths
        raise ValueError(
            f"{len(lengths)} paths of up to {max(lengths)} dashes do not fit into images of side = "
            f"{self.side}: choose a larger side, fewer dashes or distractors, or less clearance"
        )

    def rendered(self, paths: list[np.ndarray], marks: tuple[np.ndarray, ...]) -> np.ndarray:
        """(side, side) uint8; edges are smoothed over a pixel."""
        place = np.indices((self.side, self.side)).reshape(2, -1).T
        starts = np.concatenate([path[:-1] for path in paths])
        steps = np.concatenate([np.diff(path, axis=0) for path in paths]) * self.dash / self.step
        apart = place[:, None] - starts
        along = (apart * steps).sum(-1) / (steps**2).sum(-1)
        off = apart - np.clip(along, 0, 1)[..., None] * steps
        light = np.clip(0.5 + _WIDTH / 2 - np.linalg.norm(off, axis=-1).min(1), 0, 1)
        rings = np.linalg.norm(place[:, None] - np.stack(marks), axis=-1).min(1)
        light = np.maximum(light, np.clip(_MARK + 0.5 - rings, 0, 1))
        return np.rint(255 * light).astype(np.uint8).reshape(self.side, self.side)

    def _path(self, length: int, others: list[np.ndarray]) -> np.ndarray | None:
        """A path that keeps inside and clear; None where no start of many led to one."""
        taken = np.concatenate([self._dense(path) for path in others]) if others else None
        for _ in range(_ATTEMPTS // 10):
            start = self.generator.uniform(_MARGIN, self.side - 1 - _MARGIN, 2)
            angles = self.generator.uniform(0, 2 * np.pi) + np.concatenate(
                ([0.0], np.cumsum(self.turn * self.generator.standard_normal(length - 1)))
            )
            steps = self.step * np.stack((np.sin(angles), np.cos(angles)), -1)
            path = np.concatenate((start[None], start + np.cumsum(steps, 0)))
            if self._fits(path, taken):
                return path
        return None

    def _fits(self, path: np.ndarray, taken: np.ndarray | None) -> bool:
        inside = (path >= _MARGIN) & (path <= self.side - 1 - _MARGIN)
        if not inside.all():
            return False
        own = self._dense(path)
        far = np.linalg.norm(own[:, None] - own, axis=-1)
        place = np.arange(len(own))
        apart = np.abs(place[:, None] - place) > 2 * _PER_STEP  # not one's own neighbours
        if apart.any() and far[apart].min() < self.clearance:
            return False
        if taken is None:
            return True
        return bool(np.linalg.norm(own[:, None] - taken, axis=-1).min() >= self.clearance)

    def _dense(self, path: np.ndarray) -> np.ndarray:
        """Points on a path, several for each step."""
        share = np.arange(_PER_STEP)[:, None] / _PER_STEP
        steps = np.diff(path, axis=0)[:, None]
        return np.concatenate(((path[:-1, None] + share * steps).reshape(-1, 2), path[-1:]))
