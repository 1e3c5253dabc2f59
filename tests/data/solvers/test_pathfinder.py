"""Pathfinder images: marks on one path or on two, alike in all else, faults."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surform.data.solvers.pathfinder import pathfinder
from surform.data.solvers.samples import Samples

OPTIONS = {"gap": 0.2, "dash": 2.8, "clearance": 6.0, "side": 64, "distractors": 1}  # joined dashes


def joined(picture: np.ndarray) -> np.ndarray:
    """Numbers of connected bright areas, 0 elsewhere."""
    scipy = pytest.importorskip("scipy.ndimage")
    return scipy.label(picture > 60, structure=np.ones((3, 3)))[0]


def test_marks_are_on_one_path_where_the_label_says_so() -> None:
    found = pathfinder(Samples(range(16), 0), **OPTIONS)
    images, label = (found.fields[name].values.numpy() for name in ("image", "label"))
    assert {0, 1} == set(label.tolist())
    for picture, one in zip(images, label, strict=True):
        areas = joined(picture)
        # only inside of marks all neighbours are bright: dashes are not as wide
        white = np.lib.stride_tricks.sliding_window_view(picture > 60, (3, 3)).all((2, 3))
        marked = np.unique(areas[1:-1, 1:-1][white])
        assert len(marked) == (1 if one else 2)


def test_both_classes_are_equally_bright() -> None:
    found = pathfinder(Samples(range(60), 0))
    images, label = (found.fields[name].values for name in ("image", "label"))
    light = images.double().mean((1, 2))
    means = [light[label == each].mean() for each in (0, 1)]
    assert abs(means[0] - means[1]) < light.std()
    assert images.shape[1:] == (32, 32)


def test_a_sample_depends_on_its_number_alone() -> None:
    whole = pathfinder(Samples(range(3), 5)).fields["image"].values
    assert torch.equal(whole[2:], pathfinder(Samples(range(2, 3), 5)).fields["image"].values)


@pytest.mark.fault
def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="of up to 60 dashes do not fit into images of side = 32"):
        pathfinder(Samples(range(1), 0), dashes=60)
    with pytest.raises(ValueError, match="gap is 0"):
        pathfinder(Samples(range(1), 0), gap=0.0)
