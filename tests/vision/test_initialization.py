"""Networks that begin with other networks' weights: what is kept, resized, fresh, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surform.hub.official.vitpose_keys import to_official
from surform.layers.position_grid import resize_positions
from surform.vision.initialization import initialize
from surform.vision.pose_estimator import PoseEstimator
from tests.vision.nets import crops, plus_net, pose_net


def encoder(patch: int = 16, side: int = 4) -> dict[str, Tensor]:
    """A masked autoencoder's checkpoint as its authors save it."""
    torch.manual_seed(3)
    net = pose_net(image_size=(patch * side, patch * side), patch_size=patch)
    net.backbone.positions.data.normal_()
    state = {f"backbone.{n}": v for n, v in net.backbone.state_dict().items()}
    plain = {k.removeprefix("backbone."): v for k, v in to_official(state, plus=False).items()}
    plain = {k: v for k, v in plain.items() if not k.startswith("last_norm")}
    more = {"cls_token": torch.ones(1, 1, 16), "norm.weight": torch.ones(16)}
    return plain | more | {"decoder_embed.weight": torch.ones(3, 3)}


def test_a_masked_autoencoder_fits_other_crops_and_patches(tmp_path: Path):
    state = encoder(patch=14)
    torch.save({"model": state}, tmp_path / "mae.pth")
    net = pose_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    report = initialize(net, tmp_path / "mae.pth")
    expected = resize_positions(state["pos_embed"], (4, 4), (3, 2))
    torch.testing.assert_close(net.backbone.positions.data, expected)
    weight = net.backbone.patch.weight.data
    assert torch.equal(weight[:, :, 1:15, 1:15], state["patch_embed.proj.weight"])
    assert not weight[:, :, 0].any()
    assert torch.equal(net.backbone.norm.weight.data, before["backbone.norm.weight"])
    assert set(report.changed) == {"backbone.positions", "backbone.patch.weight"}
    assert {"backbone.norm.weight", "head.final.weight"} <= set(report.fresh)
    assert report.unused == ()
    assert "kept" in str(report)
    assert "backbone.positions: (1, 17, 16) fitted to (1, 7, 16)" in str(report)


def test_every_expert_begins_with_the_last_rows(tmp_path: Path):
    state = encoder()
    save_file(state, tmp_path / "mae.safetensors")
    net = plus_net()
    report = initialize(net, tmp_path / "mae.safetensors")
    layer: Any = net.backbone.blocks[1].feed_forward
    whole = state["blocks.1.mlp.fc2.weight"]
    assert torch.equal(layer.down.weight.data, whole[:-4])
    assert all(torch.equal(expert, whole[-4:]) for expert in layer.experts.weight)
    assert any("each expert" in how for how in report.changed.values())


def test_another_number_of_joints_keeps_all_but_the_last_layer(tmp_path: Path):
    source = pose_net(joints=7)
    folder = PoseEstimator(source).save_pretrained(tmp_path / "model")
    net = pose_net(joints=5)
    fresh = net.head.final.weight.clone()
    report = initialize(net, folder)
    assert set(report.fresh) == {"head.final.weight", "head.final.bias"}
    assert report.fresh["head.final.bias"] == "(7,) in the source, (5,) here"
    assert torch.equal(net.head.final.weight, fresh)
    images = crops()
    assert torch.equal(net.backbone.eval()(images), source.backbone.eval()(images))


def test_a_pose_network_for_other_crops_resizes_its_positions():
    source, net = pose_net(), pose_net(image_size=(64, 48))
    report = initialize(net, source)
    expected = resize_positions(source.backbone.positions, (3, 2), (4, 3))
    torch.testing.assert_close(net.backbone.positions, expected)
    assert report.changed == {"backbone.positions": "3 x 2 resized to 4 x 3"}
    assert not report.fresh


@pytest.mark.parametrize("number", [0, 2])
def test_a_plain_network_begins_with_one_data_set_of_a_mixture(number: int):
    source, net = plus_net().eval(), pose_net(joints=(5, 3, 6)[number]).eval()
    report = initialize(net, source, dataset=number)
    assert not report.fresh
    assert torch.equal(net(crops()), source(crops(), number))


def test_a_mixture_begins_with_a_plain_network():
    source, net = pose_net(joints=5).eval(), plus_net().eval()
    report = initialize(net, source)
    torch.testing.assert_close(net(crops(), 0), source(crops()), rtol=1e-4, atol=1e-4)
    assert set(report.fresh) == {f"heads.{n}.final.{p}" for n in (1, 2) for p in ("bias", "weight")}


def test_an_official_pose_checkpoint_goes_through_its_converter(tmp_path: Path):
    source = pose_net(dim=384, heads=12, depth=1, image_size=(64, 48))
    torch.save({"state_dict": to_official(source.state_dict(), plus=False)}, tmp_path / "a.pth")
    net = pose_net(dim=384, heads=12, depth=1, image_size=(64, 48), joints=9)
    report = initialize(net, tmp_path / "a.pth")
    assert set(report.fresh) == {"head.final.weight", "head.final.bias"}


@pytest.mark.fault
def test_sources_that_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        initialize(pose_net(), tmp_path / "nothing.pth")
    with pytest.raises(FileNotFoundError, match="neither a shipped name"):
        initialize(pose_net(), "vitpose-z")
    with pytest.raises(ValueError, match="Linear is a Linear, but must be a ViTPose"):
        initialize(pose_net(), nn.Linear(2, 2))
    torch.save({"layers.0.weight": torch.ones(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"nothing in .* fits this network: it has"):
        initialize(pose_net(), tmp_path / "other.pth")
    torch.save(encoder() | {"pos_embed": torch.ones(1, 14, 16)}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"positions of 13 places .* the network's 3 x 2"):
        initialize(pose_net(), tmp_path / "odd.pth")
    torch.save(encoder(patch=32, side=2), tmp_path / "large.pth")
    with pytest.raises(ValueError, match="patches have 32 pixels, more than the network's 16"):
        initialize(pose_net(), tmp_path / "large.pth")
    spoilt = encoder()
    spoilt["blocks.0.norm1.weight"][0] = torch.nan
    torch.save(spoilt, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match="not finite"):
        initialize(pose_net(), tmp_path / "nan.pth")
