"""Adapters on networks of images and poses: begun with weights, trained, kept alone, loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import surform
from surform.cli import main
from surform.hub.adapters import load_adapters, save_adapters
from surform.layers.adapted import Adapted
from surform.registry import create_model
from surform.vision.compact_start import begin_with
from surform.vision.initialization import initialize
from tests.test_docs import blocks, commands, folder
from tests.vision.nets import crops, plus_net, pose_net
from tests.vision.pose_toy import SIZE, DotData
from tests.vision.test_pose_task import _quiet_lightning, fit, task

__all__ = ["_quiet_lightning", "folder"]  # fixtures

COMMANDS = [
    words
    for language, text in blocks("docs/models/ast.md")
    if language == "shell"
    for words in commands(text)
    if any(word.startswith("vision/") for word in words)
]
FEW = {
    "vision/cct-digits": ["--data.split", "{train: 64, validation: 32, test: 32}"],
    "vision/vitpose-figures": [
        "--data.generate",
        "{solver: figures, samples: 12, seed: 0, width: 96, height: 80, most: 1, hidden: 0.0}",
        "--data.split",
        "{train: 8, validation: 2, test: 2}",
        "--data.batch_size",
        "4",
    ],
}


def pose_adapted(base: str = "vitpose", joints: Any = 3, **options: Any) -> Any:
    """Adapters at every branch of a small pose network."""
    torch.manual_seed(1)
    inner = {"dim": 16, "depth": 2, "heads": 4, "deconv_channels": (8, 8)}
    if base == "vitpose_plus":
        inner |= {"experts": 3, "part_features": 4}
    sizes: dict[str, Any] = {"image_size": (48, 32), "joints": joints}
    return Adapted(base, inner, at="both", reduction=4, count=2, **(sizes | options))


def tensors(net: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[2])
def test_the_commands_of_the_page_train_adapters_alone(words: list[str], folder: Path) -> None:
    few = ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"]
    assert main([*words, *FEW[words[2]], *few]) == 0
    run = folder / words[words.index("--out") + 1]
    base: Any = surform.load_model(words[words.index("--model.weights") + 1])
    model: Any = surform.load_model(run / "model")
    assert "Trained are" in (run / "report.html").read_text(encoding="utf-8")
    frozen, now = base.net.state_dict(), model.net.state_dict()
    learned = {name.removeprefix("net.") for name in model.net.trained_names()}
    same = {name for name, value in frozen.items() if torch.equal(now[f"net.{name}"], value)}
    assert set(frozen) - learned <= same
    assert set(frozen) & learned - same
    up = [value for name, value in now.items() if name.endswith("up.weight")]
    assert up
    assert all(value.any() for value in up)

    alone = save_adapters(model, folder / "adapters.safetensors")
    assert alone.stat().st_size < 0.4 * (run / "model" / "model.safetensors").stat().st_size
    again = load_adapters(base, alone)
    images = model.example_inputs()["images"]
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
        assert not torch.equal(again(images), base(images))


@pytest.mark.parametrize("base", ["cct", "cvt", "vit_lite"])
def test_image_networks_begin_as_those_without_adapters(base: str) -> None:
    sizes: dict[str, Any] = {"num_classes": 3, "in_channels": 1}
    inner = {"dim": 16, "depth": 2, "heads": 2}
    plain = create_model(base, image_size=16, **sizes, **inner).eval()
    net = Adapted(base, inner, reduction=4, count=2, image_size=16, **sizes).eval()
    report = begin_with(net, plain)
    assert list(report.fresh) == ["adapters"]
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(net(x), plain(x))
    larger = Adapted(base, inner, reduction=4, count=2, image_size=32, **sizes).eval()
    assert "net.encoder.positions" in begin_with(larger, plain).changed
    again = begin_with(Adapted(base, inner, reduction=4, count=2, image_size=16, **sizes), net)
    assert not again.fresh
    again = begin_with(larger, net)
    assert not again.fresh
    assert "net.encoder.positions" in again.changed


def test_a_pose_network_with_adapters_begins_with_one_without(tmp_path: Path) -> None:
    plain, net = pose_net(joints=3, deconv_channels=(8, 8)).eval(), pose_adapted().eval()
    report = initialize(net, plain)
    assert list(report.fresh) == ["adapters"]
    torch.testing.assert_close(net(crops()), plain(crops()))
    wide = pose_adapted(image_size=(64, 48))
    assert initialize(wide, plain).changed == {"net.backbone.positions": "3 x 2 resized to 4 x 3"}
    stirred = pose_adapted()
    with torch.no_grad():
        for weight in stirred.adapters.parameters():
            weight.normal_()
    report = initialize(wide, stirred)
    assert not report.fresh
    assert torch.equal(
        tensors(wide)["adapters.1.attention.slots"], tensors(stirred)["adapters.1.attention.slots"]
    )
    with pytest.raises(ValueError, match="Adapted is a Adapted, but must be a ViTPose"):
        initialize(pose_net(), stirred)
    inner = {"dim": 16, "depth": 1, "heads": 2}
    images = Adapted("cct", inner, reduction=4, count=2, image_size=16, num_classes=3)
    with pytest.raises(ValueError, match="adapters are on a CCT, but must be on a ViTPose"):
        initialize(images, plain)


def test_a_mixture_of_data_sets_with_adapters() -> None:
    plain = plus_net(deconv_channels=(8, 8)).eval()
    net = pose_adapted("vitpose_plus", plain.arguments["joints"]).eval()
    assert list(initialize(net, plain).fresh) == ["adapters"]
    for number in range(3):
        torch.testing.assert_close(net(crops(), number), plain(crops(), number))


def test_a_mixture_of_data_sets_trains_its_adapters_and_heads(tmp_path: Path) -> None:
    source = DotData(sets=3)
    module = task(pose_adapted("vitpose_plus", (3, 3, 3), image_size=SIZE))
    before = tensors(module.surrogate.net)
    fit(tmp_path, module, source)
    after = module.surrogate.net.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert {"adapters.0.attention.slots", "net.heads.2.final.weight"} <= moved
    assert not [n for n in moved if n.startswith("net.backbone.blocks") and "norm" not in n]
    model: Any = surform.load_model(module.surrogate.save_pretrained(tmp_path / "saved"))
    batch = source.batch([0, 1, 2, 3])
    torch.testing.assert_close(model.outputs(batch), module.eval().surrogate.outputs(batch))
