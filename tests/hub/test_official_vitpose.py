"""Parity with official ViTPose: golden cases, other configurations, bare checkpoints, key maps."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.official.accounting import KeyMismatch
from surform.hub.official.fixture import Fixture
from surform.hub.official.vitpose import SYSTEM
from surform.hub.verify import verify_case
from surform.registry import create_model
from tests.vision.literal_vitpose import literal_forward
from tests.vision.nets import stirred

CASES = sorted((Path(__file__).parents[1] / "golden" / "vitpose").glob("*.json"))
CASE = {case.stem: case for case in CASES}
BACKBONE = {
    "type": "ViT",
    "img_size": [48, 32],
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 4,
    "qkv_bias": True,
    "drop_path_rate": 0.3,
}
HEAD = {
    "out_channels": 5,
    "num_deconv_layers": 2,
    "num_deconv_filters": [8, 8],
    "num_deconv_kernels": [4, 4],
    "extra": {"final_conv_kernel": 1},
    "loss_keypoint": {"type": "JointsMSELoss", "use_target_weight": True},
}
PLAIN = {"type": "TopDown", "backbone": BACKBONE, "keypoint_head": HEAD}
PLUS = {
    "type": "TopDownMoE",
    "backbone": BACKBONE | {"type": "ViTMoE", "num_expert": 2, "part_features": 4},
    "keypoint_head": HEAD,
    "associate_keypoint_head": [HEAD | {"out_channels": 3}],
}
OTHERS = {
    "plain": PLAIN,
    "overlapping": PLAIN | {"backbone": BACKBONE | {"ratio": 2, "last_norm": False}},
    "square, no bias": PLAIN | {"backbone": BACKBONE | {"img_size": 32, "qkv_bias": False}},
    "kernels": PLAIN | {"keypoint_head": HEAD | {"num_deconv_kernels": [3, 2]}},
    "three": PLAIN | {"keypoint_head": {"out_channels": 2}},
    "hard joints": PLAIN
    | {"keypoint_head": HEAD | {"loss_keypoint": {"type": "JointsOHKMMSELoss", "topk": 2}}},
    "plus": PLUS,
}


def official_state(constructor: dict[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """One of our networks with weights that all matter, and its official state dict."""
    torch.manual_seed(0)
    name, arguments = SYSTEM.arguments(constructor)
    net = stirred(create_model(name, **arguments).double())
    return net, SYSTEM.to_official(net.state_dict(), constructor)


def test_golden_cases(tmp_path: Path):
    """By the command, which takes the same order of sums on every processor."""
    command = "from surform.cli import main; raise SystemExit(main())"
    words = ["verify", str(CASES[0].parent), "--json", str(tmp_path / "found.json")]
    done = subprocess.run([sys.executable, "-c", command, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((tmp_path / "found.json").read_text())) == len(CASES) == 11


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_golden_case_in_another_precision(case: Path):
    fixture = Fixture.load(case)
    other = torch.float32 if fixture.dtype == torch.float64 else torch.float64
    report = verify_case(fixture, other)
    assert report.passed, (report.problem, report.worst)


@pytest.mark.parametrize("stem", ["vit_classic", "vitmoe"])
def test_golden_cases_compare_the_inside(stem: str):
    compared = {row.name for row in verify_case(Fixture.load(CASE[stem])).rows}
    assert {"mid/features_nchw", "mid/block0_attn_out"} <= compared


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_other_configurations_replay(name: str, mode: str):
    """A record of the literal formulas, with tensors that a true one would hold."""
    constructor = OTHERS[name]
    net, state = official_state(constructor)
    plus = constructor is PLUS
    size = net.backbone.image_size
    images, dataset = torch.randn(3, 3, *size).double(), torch.tensor([1, 0, 1])
    net.train(mode == "train")
    for block in net.backbone.blocks:
        block.drop_path.rate = 0.0
    made = literal_forward(net, images, dataset if plus else None)
    out = torch.cat(made, 1) if plus else made
    fixture = dataclasses.replace(
        Fixture.load(CASE["vit_classic"]),
        constructor=constructor,
        mode=mode,
        tensors={f"param/{key}": value for key, value in state.items()}
        | {"in/img": images, "out/out": out.detach(), "in/cot": torch.randn_like(out)}
        | ({"in/dataset_idx": dataset} if plus else {}),
    )
    report = verify_case(fixture)
    assert report.passed, (report.problem, report.worst)


@pytest.mark.parametrize("name", OTHERS)
def test_keys_go_there_and_back(name: str):
    net, state = official_state(OTHERS[name])
    ours = SYSTEM.to_ours(state, OTHERS[name])
    assert set(ours) == set(net.state_dict())
    assert all(torch.equal(value, ours[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["simple", "classic", "plus"])
def test_a_bare_checkpoint_tells_its_constructor(name: str, tmp_path: Path):
    """Of a published width; part_features are those of the weights."""
    options: dict[str, Any] = {"dim": 384, "depth": 1, "heads": 12, "image_size": (64, 48)}
    torch.manual_seed(0)
    if name == "plus":
        net = create_model("vitpose_plus", joints=(17, 14), experts=2, part_features=96, **options)
    else:
        net = create_model("vitpose", decoder=name, **options)
    state = SYSTEM.to_official(net.state_dict(), PLUS if name == "plus" else PLAIN)
    state = {f"module.{key}": value for key, value in state.items()}
    state["module.backbone.cls_token"] = torch.zeros(1, 1, 384)
    torch.save({"state_dict": state}, tmp_path / "official.pth")
    made = from_official(tmp_path / "official.pth", "vitpose")
    assert list(made.accounting.dropped) == ["backbone.cls_token"]
    images = torch.rand(2, 3, 64, 48)
    beside = (torch.tensor([1, 0]),) if name == "plus" else ()
    expected = net.eval()(made.model.normalized(images), *beside)
    assert torch.equal(made.model(images, *beside), expected)
    again = load_model(made.model.save_pretrained(tmp_path / "saved"))
    assert torch.equal(again(images, *beside), expected)
    assert "not described" in again.card["limits"]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": BACKBONE | {"qk_scale": 0.3}}, "qk_scale = 0.3 is not supported"),
        ({"keypoint_head": HEAD | {"extra": {"num_conv_layers": 1}}}, "num_conv_layers is not"),
        ({"keypoint_head": HEAD | {"upsample": 4}}, "upsampling before deconvolutions"),
        ({"type": "BottomUp"}, "type is 'BottomUp', but must be TopDown or TopDownMoE"),
    ],
)
def test_configurations_that_we_have_not_are_named(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(PLAIN | change)


@pytest.mark.fault
def test_weights_that_do_not_tell_are_named(tmp_path: Path):
    _, state = official_state(PLAIN)
    torch.save(state, tmp_path / "small.pth")
    with pytest.raises(ValueError, match="width 16 is none of the published ones"):
        from_official(tmp_path / "small.pth", "vitpose")
    made = from_official(tmp_path / "small.pth", "vitpose", PLAIN)
    assert made.model.net.arguments["joints"] == 5
    wrong = PLAIN | {"keypoint_head": HEAD | {"num_deconv_filters": [9, 8]}}
    with pytest.raises(KeyMismatch, match=r"deconv_layers\.0\.weight \(16, 8, 4, 4\) instead of"):
        from_official(tmp_path / "small.pth", "vitpose", wrong)
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="is no vitpose checkpoint"):
        from_official(tmp_path / "other.pth", "vitpose")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("stem", "missing", "message"),
    [
        ("targets", "image_size_wh", "does not say its image_size_wh"),
        ("layer_decay", "param_names", "does not name its parameters"),
    ],
)
def test_headers_that_lack_what_a_kind_needs(stem: str, missing: str, message: str):
    fixture = Fixture.load(CASE[stem])
    header = {name: value for name, value in fixture.header.items() if name != missing}
    assert message in verify_case(dataclasses.replace(fixture, header=header)).problem


def test_layer_decay_of_a_mixture_replays():
    _, state = official_state(PLUS)
    names = [key for key in state if not key.endswith(("mean", "var", "tracked"))]
    scale = torch.tensor([_official_scale(n, 2, 0.6) for n in names], dtype=torch.float64)
    decays = torch.tensor([_official_decay(n, state[n]) for n in names], dtype=torch.float64)
    fixture = dataclasses.replace(
        Fixture.load(CASE["layer_decay"]),
        constructor={"depth": 2, "layer_decay_rate": 0.6, "base_weight_decay": 0.05},
        header={"param_names": names},
        tensors={"out/lr_scale": scale, "out/weight_decay": decays},
    )
    report = verify_case(fixture)
    assert report.passed, (report.problem, report.worst)


def _official_scale(name: str, depth: int, rate: float) -> float:
    parts = name.split(".")
    layer = depth + 1
    if parts[:2] in (["backbone", "pos_embed"], ["backbone", "patch_embed"]):
        layer = 0
    elif parts[:2] == ["backbone", "blocks"]:
        layer = int(parts[2]) + 1
    return rate ** (depth + 1 - layer)


def _official_decay(name: str, value: Tensor) -> float:
    return 0.0 if value.ndim == 1 or name.endswith(".bias") or "pos_embed" in name else 0.05
