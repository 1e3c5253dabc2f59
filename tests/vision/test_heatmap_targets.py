"""Targets: peaks where the joints are, what counts, sizes and names that do not go together."""

from __future__ import annotations

import math

import pytest
import torch

from surform.vision.heatmap_decoding import decode, to_image
from surform.vision.heatmap_targets import ENCODINGS, make_targets

IMAGE, HEATMAP = (64, 48), (16, 12)


def joints(count: int = 40) -> torch.Tensor:
    torch.manual_seed(0)
    return (torch.rand(3, count, 2) * torch.tensor([34.0, 50.0]) + 7).double()


def test_msra_is_a_cut_gaussian_around_the_nearest_pixel():
    at = torch.tensor([[[21.9, 30.2]]])
    target, weight = make_targets(at, torch.ones(1, 1), IMAGE, (32, 24), "msra", sigma=2.0)
    x, y = int(21.9 / 2 + 0.5), int(30.2 / 2 + 0.5)
    for row in range(32):
        for column in range(24):
            near = abs(row - y) <= 6 and abs(column - x) <= 6
            value = math.exp(-((row - y) ** 2 + (column - x) ** 2) / 8) if near else 0
            assert target[0, 0, row, column].item() == pytest.approx(value, abs=1e-6)
    assert weight.tolist() == [[1.0]]


def test_a_window_that_only_touches_the_heatmap_counts():
    """On the left also one that ends just before it, as published: -30.1."""
    x = torch.tensor([-1.0, -24.0, -29.0, -30.1, -35.0, 47.0, 69.0, 70.1]).double()
    at = torch.stack((x, torch.full_like(x, 30)), -1)[None]
    target, weight = make_targets(at, torch.ones(1, 8), IMAGE, HEATMAP, "msra", sigma=2.0)
    assert weight[0].tolist() == [1, 1, 1, 1, 0, 1, 1, 0]
    assert target[0].flatten(1).any(1).tolist() == [1, 1, 1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_joints_that_are_not_labelled_are_empty(encoding):
    visible = (torch.arange(40) % 2).double().expand(3, -1)
    target, weight = make_targets(joints(), visible, IMAGE, HEATMAP, encoding)
    channels = 3 if encoding == "udp_combined" else 1
    assert target.shape == (3, 40 * channels, *HEATMAP)
    assert torch.equal(weight, visible)
    drawn = target.unflatten(1, (40, channels)).flatten(2).any(2)
    assert torch.equal(drawn, visible > 0)


@pytest.mark.parametrize(
    ("encoding", "method", "within"),
    [
        ("msra", "none", 2.9),  # half a pixel of the heatmap is two of the crop along each axis
        ("msra", "default", 3.6),
        ("msra_unbiased", "dark", 0.02),
        ("udp", "udp", 0.02),
        ("udp_combined", "combined", 1.5),
        ("megvii", "megvii", 3.6),
    ],
)
def test_decoding_finds_the_joints_again(encoding, method, within):
    image, size = (256, 192), (64, 48)
    at = joints() * 2 + 50  # away from the border, where a blur is lopsided
    target, _ = make_targets(at, torch.ones(3, 40), image, size, encoding)
    found = decode(target, method)
    aligned = encoding.startswith("udp")
    extent = torch.tensor([191.0, 255.0] if aligned else [192.0, 256.0])  # the crop is the image
    scale = (extent / 200).expand(3, 2)
    xy = to_image(found.xy, 100 * scale, scale, size, aligned=aligned)
    assert (xy - at).norm(dim=-1).max() < within


def test_weights_of_joints_multiply():
    weights = torch.linspace(1, 1.5, 40)
    _, weight = make_targets(
        joints(), torch.ones(3, 40), IMAGE, HEATMAP, "udp", joint_weights=weights
    )
    torch.testing.assert_close(weight, weights.double().expand(3, -1))


def test_precision_does_not_move_a_peak():
    half = make_targets(joints().float(), torch.ones(3, 40), IMAGE, HEATMAP, "udp")[0]
    full = make_targets(joints().float().double(), torch.ones(3, 40), IMAGE, HEATMAP, "udp")[0]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full.float())


@pytest.mark.fault
def test_impossible_targets_are_refused():
    with pytest.raises(ValueError, match="did you mean 'msra'"):
        make_targets(joints(), torch.ones(3, 40), IMAGE, HEATMAP, "mrsa")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"visible \(3, 41\), but must have \(batch, joints, 2\)"):
        make_targets(joints(), torch.ones(3, 41), IMAGE, HEATMAP)
    with pytest.raises(ValueError, match="kernel has an odd number of taps, not 4"):
        make_targets(joints(), torch.ones(3, 40), IMAGE, HEATMAP, "megvii", kernel=4)
