from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_utilities.core.apply_func import apply_to_collection

from surform.data.points import PointBatch, PointSample, collate
from tests.data.point_files import sample


def batch() -> PointBatch:
    return collate([sample(k).tensors(torch.float64) for k in range(3)], [4, 7, 1])


def test_samples_are_padded_with_zeros_and_masks() -> None:
    found = batch()
    lengths = [len(sample(k).points) for k in range(3)]
    assert found.lengths().tolist() == lengths
    assert found.points.shape == (3, max(lengths), 2)
    assert not found.points[~found.mask].any()
    assert not found.targets[~found.mask].any()
    assert found.weights is not None
    assert not found.weights[~found.mask].any()
    for name, values in found.inputs.items():
        assert not values[~found.input_masks[name]].any()
    assert found.index.tolist() == [4, 7, 1]


def test_a_sample_comes_back_without_its_padding() -> None:
    found = batch()
    for number in range(3):
        mine, theirs = sample(number), found.sample(number)
        assert np.array_equal(theirs.points.numpy(), mine.points)
        assert np.array_equal(theirs.targets.numpy(), mine.targets)
        assert np.array_equal(theirs.weights.numpy(), mine.weights)
        for name, values in mine.inputs.items():
            assert np.array_equal(theirs.inputs[name].numpy(), values)
        assert list(theirs.input_weights) == ["inlet"]


def test_to_moves_every_tensor() -> None:
    moved = batch().to("meta")
    tensors = [moved.points, moved.mask, moved.targets, moved.parameters, moved.index]
    tensors += [*moved.inputs.values(), *moved.input_masks.values()]
    tensors += [moved.weights, *moved.input_weights.values()]
    assert {t.device.type for t in tensors if t is not None} == {"meta"}


def test_lightning_can_convert_the_precision_of_a_batch() -> None:
    found = apply_to_collection(
        batch(), torch.Tensor, lambda t: t.float() if t.is_floating_point() else t
    )
    assert found.points.dtype == found.inputs["inlet"].dtype == torch.float32
    assert found.mask.dtype == torch.bool


def test_samples_without_parameters_inputs_and_weights() -> None:
    plain = PointSample(np.zeros((3, 1)), np.zeros((3, 2)), np.zeros(0)).tensors()
    found = collate([plain, plain])
    assert found.parameters.shape == (2, 0)
    assert found.inputs == {}
    assert found.weights is None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.zeros((4, 2))}, r"targets of a sample with 5 points must have the shape"),
        ({"points": np.zeros(5)}, r"points of a sample with 5 points must have the shape"),
        ({"parameters": np.zeros((1, 1))}, "parameters are a vector"),
        ({"weights": np.zeros(4)}, r"5 points have weights of shape \(4,\)"),
        ({"input_weights": {"outlet": np.zeros(3)}}, "weights of outlet fit no input function"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(0, **changes)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.zeros((8, 1))}, "sample 1 of a batch has targets 1, sample 0 2"),
        ({"points": np.zeros((8, 3))}, "sample 1 of a batch has columns of the points 3"),
        ({"inputs": {}, "input_weights": {}}, "sample 1 of a batch has input functions {}"),
        ({"weights": None}, "sample 1 of a batch has weights False, sample 0 True"),
    ],
)
def test_unlike_samples_make_no_batch(changes: dict, message: str) -> None:
    other = sample(1, size=8, **changes)
    with pytest.raises(ValueError, match=message):
        collate([sample(0).tensors(), other.tensors()])


@pytest.mark.fault
def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        collate([])


@pytest.mark.fault
def test_a_batch_whose_mask_does_not_fit_is_refused() -> None:
    found = batch()
    with pytest.raises(ValueError, match="do not fit mask of shape"):
        PointBatch(found.points, found.mask[:, 1:], found.targets, found.parameters)
    with pytest.raises(ValueError, match="input functions inlet, wall but masks of none"):
        PointBatch(found.points, found.mask, found.targets, found.parameters, found.inputs)
