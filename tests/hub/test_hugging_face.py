"""Folders of transformers are read as they are, written back alike, and refused clearly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import surform
from surform.cli import main
from surform.hub.hugging_face import save_hugging_face
from surform.vision.heatmap_decoding import decode
from surform.vision.pose_estimator import PoseEstimator
from tests.vision.nets import crops, plus_net, pose_net, stirred

SIZE = (64, 48)
KINDS = [(simple, experts) for simple in (True, False) for experts in (1, 3)]


def theirs(simple: bool, experts: int, **backbone: Any) -> Any:
    """transformers' network with random weights that all matter."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    options: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    options |= {"num_experts": experts, "part_features": 8, "out_indices": [2]} | backbone
    settings = VitPoseBackboneConfig(image_size=SIZE, **options)
    config = VitPoseConfig(backbone_config=settings, use_simple_decoder=simple, num_labels=5)
    torch.manual_seed(0)
    return stirred(VitPoseForPoseEstimation(config)).eval()


def images(count: int = 4) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(count, 3, *SIZE)


@pytest.mark.parametrize(("simple", "experts"), KINDS)
def test_outputs_and_weights_survive_both_ways(simple: bool, experts: int, tmp_path: Path):
    net = theirs(simple, experts)
    net.save_pretrained(tmp_path / "theirs")
    model: Any = surform.load_model(tmp_path / "theirs")
    assert type(model) is PoseEstimator
    assert model.net.arguments["norm_eps"] == 1e-12
    dataset = torch.tensor([2, 0, 1, 0]) if experts > 1 else None
    with torch.no_grad():
        expected = net(model.normalized(images()), dataset_index=dataset).heatmaps
        found = model(images(), dataset)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    saved = model.save_pretrained(tmp_path / "ours")
    save_hugging_face(surform.load_model(saved), tmp_path / "back")
    before, after = (load_file(tmp_path / d / "model.safetensors") for d in ("theirs", "back"))
    assert set(before) == set(after)
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    again = type(net).from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        out = again(model.normalized(images()), dataset_index=dataset).heatmaps
    assert torch.equal(out, expected)
    assert again.config.backbone_config.layer_norm_eps == 1e-12


def test_experts_are_as_wide_as_their_weights(tmp_path: Path):
    theirs(True, 3).save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs" / "config.json"
    config = json.loads(file.read_text())
    del config["backbone_config"]["part_features"]  # transformers' own default is 256
    file.write_text(json.dumps(config))
    model: Any = surform.load_model(tmp_path / "theirs")
    assert model.net.arguments["part_features"] == 8


def test_our_network_becomes_theirs_with_its_own_eps(tmp_path: Path):
    from transformers import VitPoseForPoseEstimation

    model = PoseEstimator(stirred(pose_net(deconv_channels=(256, 256))).eval())
    model.fit_colors((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    save_hugging_face(model, tmp_path / "model")
    net = VitPoseForPoseEstimation.from_pretrained(tmp_path / "model").eval()
    assert net.config.backbone_config.layer_norm_eps == 1e-6
    assert net.config.num_labels == 5
    with torch.no_grad():
        expected = model.net(crops())
        found = net(crops()).heatmaps
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    back: Any = surform.load_model(tmp_path / "model")
    assert torch.equal(back.normalizer.mean, model.normalizer.mean)
    assert torch.equal(back.normalizer.std, model.normalizer.std)


def test_of_several_heads_only_the_first_has_a_place(tmp_path: Path):
    net = plus_net(decoder="simple").eval()
    with pytest.warns(UserWarning, match="has one head: of 3 the first is written, and merged"):
        save_hugging_face(PoseEstimator(net), tmp_path / "model")
    back: Any = surform.load_model(tmp_path / "model")
    assert back.net.arguments["joints"] == (5,)
    torch.testing.assert_close(back.net(crops(), 2), net.heads[0](net.backbone(crops(), 2)))


def test_a_repository_of_transformers_is_read_from_the_hub(hub, tmp_path: Path):
    theirs(True, 1).save_pretrained(tmp_path / "theirs")
    files = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    colors = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_rescale": True}
    files["preprocessor_config.json"] = json.dumps(colors).encode()
    hub.repositories["usyd-community/vitpose-base-simple"] = {"main": files}
    model: Any = surform.load_model("hf://usyd-community/vitpose-base-simple")
    assert model.normalizer.mean.flatten().tolist() == [0.5] * 3
    local: Any = surform.load_model(tmp_path / "theirs")
    assert torch.equal(model.net(images()), local.net(images()))


def test_defaults_that_transformers_leaves_out_are_known(tmp_path: Path):
    """`to_diff_dict` writes only what differs; so do older folders."""
    net = theirs(True, 1)
    net.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    kept = ("image_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "model_type")
    config["backbone_config"] = {name: config["backbone_config"][name] for name in kept}
    path.write_text(json.dumps({n: config[n] for n in ("model_type", "backbone_config")}))
    model: Any = surform.load_model(tmp_path / "model")
    with torch.no_grad():
        expected = net(images()).heatmaps
        assert (model.net(images()) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_their_post_processing_is_ours_with_a_narrower_blur():
    """Heatmap positions by their formula: a blur of sigma 0.8 where the official code has 2."""
    from scipy.ndimage import gaussian_filter

    torch.manual_seed(0)
    maps = torch.rand(1, 4, 16, 12).double()
    maps[0, :, 7, 5] += 1
    found = decode(maps, "udp", sigma=0.8).xy[0].numpy()
    for joint, heatmap in enumerate(maps[0].numpy()):
        blurred = gaussian_filter(heatmap, sigma=0.8, radius=5, mode="mirror")
        logs = np.log(np.clip(blurred, 0.001, 50))
        gradient = np.array([logs[7, 6] - logs[7, 4], logs[8, 5] - logs[6, 5]]) / 2
        dxx = logs[7, 6] - 2 * logs[7, 5] + logs[7, 4]
        dyy = logs[8, 5] - 2 * logs[7, 5] + logs[6, 5]
        around = logs[7, 6] + logs[7, 4] + logs[8, 5] + logs[6, 5]
        dxy = (logs[8, 6] + logs[6, 4] + 2 * logs[7, 5] - around) / 2
        hessian = np.array([[dxx, dxy], [dxy, dyy]]) + np.finfo(np.float32).eps * np.eye(2)
        expected = np.array([5, 7]) - np.linalg.solve(hessian, gradient)
        np.testing.assert_allclose(found[joint], expected, atol=1e-9)
    assert np.abs(found - decode(maps, "udp").xy[0].numpy()).max() > 1e-3


# -- the command ---------------------------------------------------------------------------------


def test_the_command_goes_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    theirs(False, 3).save_pretrained(tmp_path / "theirs")
    ours, back = str(tmp_path / "ours"), str(tmp_path / "back")
    assert main(["convert", str(tmp_path / "theirs"), ours]) == 0
    assert main(["convert", "--to", "hugging_face", ours, back]) == 0
    assert f"wrote {back}" in capsys.readouterr().out
    before, after = (load_file(tmp_path / d / "model.safetensors") for d in ("theirs", "back"))
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("net", [pose_net, plus_net])
def test_the_command_writes_for_the_official_code(net: Any, tmp_path: Path):
    model = PoseEstimator(net().eval())
    saved, official = str(model.save_pretrained(tmp_path / "ours")), tmp_path / "official"
    assert main(["convert", "--to", "official", "--system", "vitpose", saved, str(official)]) == 0
    words = ["--system", "vitpose", "--constructor", str(official / "constructor.json")]
    back = str(tmp_path / "back")
    assert main(["convert", *words, str(official / "weights.pth"), back]) == 0
    again = surform.load_model(back).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


@pytest.mark.fault
def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    token = PoseEstimator(pose_net(knowledge_dim=16, decoder="simple"))
    with pytest.raises(ValueError, match="has no counterpart of a knowledge token"):
        save_hugging_face(token, tmp_path / "a")
    with pytest.raises(ValueError, match="a decoder of other sizes than published"):
        save_hugging_face(PoseEstimator(pose_net()), tmp_path / "a")
    with pytest.raises(FileExistsError, match="give the name of a new folder"):
        save_hugging_face(token, tmp_path)
    other: Any = surform.load_model("galerkin-burgers")
    with pytest.raises(ValueError, match="transformers has no counterpart of a Galerkin"):
        save_hugging_face(other, tmp_path / "a")
    theirs(True, 1).save_pretrained(tmp_path / "theirs")
    source, out = str(tmp_path / "theirs"), str(tmp_path / "out")
    for words, message in (
        (
            ["--to", "official", "--system", "vitpose"],
            "the official code has no counterpart of norm_eps = 1e-12",
        ),
        (["--to", "official"], "--to official needs --system"),
        (["--to", "official", "--system", "galerkin"], "does not write checkpoints of galerkin"),
        (["--json"], "--json belongs to official checkpoints"),
    ):
        assert main(["convert", *words, source, out]) != 0
        assert message in " ".join(capsys.readouterr().err.split())
    assert not Path(out).exists()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "VitPose backbone with hidden_act 'relu' is not supported"),
        ({"out_indices": [1], "out_features": ["stage1"]}, r"out_indices \[1\], out_features"),
        ({"patch_size": [16, 8]}, "patches that are not square"),
        ({"num_hidden_layers": 3, "out_indices": [3], "out_features": ["stage3"]}, "12 missing|16"),
        ({"model_type": "swin"}, "model_type 'swin'"),
        ({"patch_size": None}, "is no readable vitpose model of transformers: TypeError"),
    ],
)
def test_settings_that_we_have_not_are_named(change: dict[str, Any], message: str, tmp_path: Path):
    theirs(True, 1).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["backbone_config"] |= change
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        surform.load_model(tmp_path / "model")


@pytest.mark.fault
def test_damaged_folders_are_refused(tmp_path: Path):
    folder = tmp_path / "model"
    theirs(True, 1).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    lacking = {k: v for k, v in weights.items() if k != "backbone.layernorm.bias"}
    save_file(lacking, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"1 missing: backbone\.last_norm\.bias"):
        surform.load_model(folder)
    save_file({k: v for k, v in weights.items() if "head" not in k}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"no readable vitpose model.*KeyError at 'head\.conv"):
        surform.load_model(folder)
    save_file(weights, folder / "model.safetensors")
    (folder / "preprocessor_config.json").write_text('{"image_mean": 3, "image_std": [1]}')
    with pytest.raises(ValueError, match="no readable preprocessor configuration"):
        surform.load_model(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        ValueError, match=r"model of transformers of the type 'bert'.*reads vitpose"
    ):
        surform.load_model(folder)
