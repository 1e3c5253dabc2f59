"""Decoding against the literal loops, at borders and on empty maps; blur, flips and PCK."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from surform.vision.flipping import flip_back, flip_test
from surform.vision.gaussians import blur, taps
from surform.vision.heatmap_accuracy import heatmap_pck
from surform.vision.heatmap_decoding import METHODS, decode, peaks, to_image
from surform.vision.heatmap_targets import make_targets
from tests.vision.literal_decoding import literal_blur, literal_decode


def noisy(persons: int = 3, joints: int = 12) -> Tensor:
    """Peaks anywhere, the borders included, in noise; one map is negative throughout."""
    torch.manual_seed(0)
    at = torch.rand(persons, joints, 2).double() * torch.tensor([52.0, 68.0]) - 2
    at[:, 0], at[:, 1] = torch.tensor([0.0, 0.0]), torch.tensor([47.0, 63.0])
    maps, _ = make_targets(at, torch.ones(persons, joints), (64, 48), (16, 12), "udp")
    maps = maps + 0.05 * torch.rand_like(maps)
    maps[1, 3] = -torch.rand(16, 12).double()
    return maps


@pytest.mark.parametrize("method", [m for m in METHODS if m != "combined"])
def test_it_is_the_literal_loop(method):
    maps = noisy()
    found = decode(maps, method)
    for person, values in enumerate(maps.numpy()):
        if method == "megvii":  # the literal blur has no maximum to rescale a negative map to
            values = np.abs(values)
            found = decode(maps.abs(), method)
        xy, score = literal_decode(values, method)
        np.testing.assert_allclose(found.xy[person], xy, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.score[person], score, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_without_a_positive_value_has_no_joint(method):
    maps = torch.zeros(2, 6, 16, 12)
    maps[:, :3] = noisy(2)[:, :3].float()
    found = decode(maps, method)
    count = found.xy.shape[1]
    assert torch.equal(found.xy[:, count // 2 :], torch.full((2, count // 2, 2), -1.0))
    assert found.xy.isfinite().all()
    assert decode(maps, method, legacy_empty=True).xy.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_persons_do_not_matter_to_each_other(method):
    maps = noisy(4, 9)
    together = decode(maps, method)
    for person in range(4):
        alone = decode(maps[person : person + 1], method)
        torch.testing.assert_close(alone.xy[0], together.xy[person])


def test_half_precision_is_widened():
    maps = noisy().bfloat16()
    found = decode(maps)
    assert found.xy.dtype == torch.float32
    assert torch.equal(found.xy, decode(maps.float()).xy)


def test_corners_of_the_heatmap_are_corners_of_the_crop():
    corners = torch.tensor([[[0.0, 0.0], [11.0, 15.0]]])
    center, scale = torch.tensor([[100.0, 50.0]]), torch.tensor([[0.3, 0.4]])
    found = to_image(corners, center, scale, (16, 12), aligned=True)
    torch.testing.assert_close(found, torch.tensor([[[70.0, 10.0], [130.0, 90.0]]]))
    edge = to_image(corners, center, scale, (16, 12), aligned=False)
    torch.testing.assert_close(edge[0, 1], torch.tensor([125.0, 85.0]))


@pytest.mark.parametrize("border", ["mirror", "zero"])
@pytest.mark.parametrize("kernel", [11, 17])
def test_blur_is_the_literal_sum(border, kernel):
    torch.manual_seed(0)
    maps = torch.randn(2, 14, 11).double()
    for found, values in zip(blur(maps, kernel, border), maps.numpy(), strict=True):
        np.testing.assert_allclose(found, literal_blur(values, kernel, border), atol=1e-12)


def test_small_kernels_are_opencvs_tables():
    assert taps(3).tolist() == [0.25, 0.5, 0.25]
    assert taps(5).tolist() == [0.0625, 0.25, 0.375, 0.25, 0.0625]
    for size in range(1, 25, 2):
        assert taps(size).sum().item() == pytest.approx(1)
    spread = (taps(11) * (torch.arange(11) - 5).square()).sum().sqrt()
    assert spread == pytest.approx(2.0, abs=0.1)
    assert taps(11, 0.8)[5] == pytest.approx(0.4987, abs=1e-3)


def test_mirror_images_turn_back():
    torch.manual_seed(0)
    maps, pairs = torch.randn(2, 5, 4, 3), [(1, 2), (3, 4)]
    turned = flip_back(maps, pairs)
    assert torch.equal(turned[:, 1], maps[:, 2].flip(-1))
    assert torch.equal(turned[:, 0], maps[:, 0].flip(-1))
    assert torch.equal(flip_back(turned, pairs), maps)
    offsets = torch.randn(2, 15, 4, 3)
    turned = flip_back(offsets, pairs, offsets=True)
    assert torch.equal(turned[:, 3], offsets[:, 6].flip(-1))
    assert torch.equal(turned[:, 4], -offsets[:, 7].flip(-1))
    assert torch.equal(turned[:, 5], offsets[:, 8].flip(-1))


def test_the_flip_test_is_one_call():
    images, calls = torch.rand(3, 2, 4, 4), []

    def net(x: Tensor, dataset: Tensor, number: int) -> Tensor:
        calls.append((len(x), dataset.tolist(), number))
        return x * 2

    out = flip_test(net, images, [(0, 1)], torch.tensor([0, 1, 2]), 7)
    assert calls == [(6, [0, 1, 2, 0, 1, 2], 7)]
    torch.testing.assert_close(out, images + images.flip(1))
    moved = flip_test(lambda x: x, images, [(0, 1)], shift=True)
    expected = images.flip(1)
    expected = torch.cat((expected[..., :1], expected[..., :-1]), -1)
    torch.testing.assert_close(moved, (images + expected) / 2)


def test_pck_counts_joints_that_are_shown():
    target = torch.zeros(2, 3, 20, 20)
    target[:, :, 10, 10] = 1
    output = target.clone()
    output[0, 0] = output[0, 0].roll(1, 1)  # off by 1 / 20: not below 0.05
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = heatmap_pck(output, target, mask)
    assert found.per_joint.tolist() == [0.5, 1.0, -1.0]
    assert (found.mean.item(), found.joints.item()) == (0.75, 2)
    assert heatmap_pck(output, target, mask, 0.06).per_joint[0] == 1
    assert heatmap_pck(output, target, mask & False).mean == 0


def test_peaks_are_the_first_largest_pixels():
    maps = torch.zeros(1, 1, 3, 4)
    maps[0, 0, 1, 2] = maps[0, 0, 2, 0] = 0.5
    assert peaks(maps).xy.tolist() == [[[2.0, 1.0]]]


@pytest.mark.fault
def test_impossible_decoding_is_refused():
    maps = noisy()[:, :4]
    with pytest.raises(ValueError, match="did you mean 'dark'"):
        decode(maps, "drak")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="three channels per joint, but there are 4"):
        decode(maps, "combined")
    with pytest.raises(ValueError, match="not 4 in all"):
        flip_back(maps, [], offsets=True)
    with pytest.raises(ValueError, match=r"flip pair \(1, 4\) must name two joints from 0 to 3"):
        flip_back(maps, [(1, 4)])
    with pytest.raises(ValueError, match="name joint 1 more than once"):
        flip_back(maps, [(1, 2), (1, 3)])
