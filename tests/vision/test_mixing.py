"""Mixup, cutmix and erasing: images and targets are mixed alike."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from surform.vision.mixing import Mixing


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Four constant images 0, 1, 2, 3, each a class of its own."""
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 16, 16).clone()
    return images, torch.eye(4)


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    torch.manual_seed(number)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_targets_are_mixed_as_the_images_are(kind):
    images, targets = batch()
    mixing = Mixing(0.8 * (kind == "mixup"), 1.0 * (kind == "cutmix"), 1.0, 0.5, 0.0)
    for number in range(5):
        seed(number)
        mixed, shares = mixing.mix(images, targets)
        torch.testing.assert_close(shares.sum(1), torch.ones(4))
        found = mixed.mean((1, 2, 3))  # the images' mean says how much of each there is
        torch.testing.assert_close(found, shares @ torch.arange(4.0), rtol=1e-4, atol=1e-4)
        pieces = len(mixed[0].unique())
        assert pieces <= 2 if kind == "cutmix" else pieces == 1
    assert torch.equal(images, batch()[0])


def test_soft_targets_are_mixed_too():
    images, _ = batch()
    targets = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.0, 1.0]])
    seed(1)
    _, one_hot = Mixing(0.8, 0.0, 1.0, 0.5, 0.0).mix(images, torch.eye(4))
    seed(1)
    _, soft = Mixing(0.8, 0.0, 1.0, 0.5, 0.0).mix(images, targets)
    torch.testing.assert_close(soft, one_hot @ targets)


def test_mixed_precision_does_not_round_targets():
    found = []
    for precise in (False, True):
        np.random.seed(1)  # noqa: NPY002
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            found.append(Mixing(0.8, 0.0, 1.0, 0.5, 0.0).mix(torch.rand(4, 1, 2, 2), torch.eye(4)))
    assert found[0][1].dtype == torch.float32
    assert torch.equal(found[0][1], found[1][1])


def test_seeds_of_numpy_decide():
    images, targets = batch()
    mixing = Mixing(0.8, 1.0, 1.0, 0.5, 0.0)
    seed(3)
    first = mixing.mix(images, targets)[1]
    seed(3)
    assert torch.equal(mixing.mix(images, targets)[1], first)


def test_erasing_puts_noise_into_rectangles():
    images = torch.zeros(200, 2, 16, 16)
    seed(0)
    erased = Mixing(0.0, 0.0, 1.0, 0.5, 0.25).erase(images)
    touched = (erased != 0).flatten(1).any(1)
    assert touched.float().mean().item() == pytest.approx(0.25, abs=0.1)
    part = erased[touched][0, 0] != 0
    rows, columns = part.any(1).sum(), part.any(0).sum()
    assert part.sum() == rows * columns
    assert not images.any()


def test_without_options_nothing_happens():
    images, targets = batch()
    mixing = Mixing(0.0, 0.0, 1.0, 0.5, 0.0)
    assert not mixing.mixes
    assert mixing.mix(images, targets)[0] is images
    assert mixing.erase(images) is images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((-1.0, 0.0, 1.0, 0.5, 0.0), "mixup is -1.0, but must not be negative"),
        ((1.0, 0.0, 1.5, 0.5, 0.0), "mix_probability is 1.5"),
        ((1.0, 0.0, 1.0, -0.5, 0.0), "mix_switch is -0.5"),
        ((1.0, 0.0, 1.0, 0.5, 1.0), "erasing is 1.0"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Mixing(*options)
