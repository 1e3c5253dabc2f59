"""Parity with official Galerkin Transformers: golden cases, key maps, constructor arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surform.hub.official.fixture import Fixture
from surform.hub.official.galerkin import SYSTEM
from surform.hub.verify import verify_case
from surform.registry import create_model

CASES = sorted((Path(__file__).parents[1] / "golden" / "galerkin").glob("*.json"))
MODELS = [case for case in CASES if "scalers" not in case.stem]
BURGERS = {
    "node_feats": 1,
    "n_targets": 1,
    "pos_dim": 1,
    "n_hidden": 12,
    "num_encoder_layers": 2,
    "n_head": 2,
    "attention_type": "galerkin",
    "xavier_init": 0.01,
    "diagonal_weight": 0.01,
    "decoder_type": "ifft",
    "freq_dim": 7,
    "num_regressor_layers": 2,
    "fourier_modes": 5,
}
DARCY = BURGERS | {
    "pos_dim": 2,
    "spacial_dim": 2,
    "spacial_fc": True,
    "decoder_type": "ifft2",
    "downsample_mode": "interp",
    "upsample_mode": "interp",
    "downscaler_size": [0.6, 0.6],
    "upscaler_size": [[12, 12], [19, 19]],
}


def burgers(**options) -> dict:
    return SYSTEM.arguments(BURGERS | options, kind="burgers1d")[1]


def darcy(**options) -> dict:
    return SYSTEM.arguments(DARCY | options, kind="darcy2d")[1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_golden_case(case, dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.problem == ""
    assert report.passed, [row for row in report.rows if not row.passed]


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.stem)
def test_intermediate_tensors_are_compared_too(case):
    names = {row.name for row in verify_case(Fixture.load(case)).rows}
    assert {"mid/attn0", "mid/layer0"} <= names


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_keys_survive_the_way_there_and_back(case):
    fixture = Fixture.load(case)
    official = fixture.parameters(torch.float64)
    ours = SYSTEM.to_ours(official, fixture.constructor)
    back = SYSTEM.to_official(ours, fixture.constructor)
    assert back.keys() == official.keys()
    assert all(torch.equal(back[key], official[key]) for key in official)


@pytest.mark.parametrize("norm_type", ["layer", "instance"])
@pytest.mark.parametrize("kind", ["galerkin", "linear", "fourier", "integral", "softmax"])
def test_every_1d_option_builds_with_the_official_keys(kind, norm_type):
    constructor = BURGERS | {
        "attention_type": kind,
        "norm_type": norm_type,
        "layer_norm": True,
        "attn_norm": True,
        "batch_norm": True,
        "spacial_residual": True,
        "spacial_fc": True,
        "residual_type": "minus",
        "attn_activation": "gelu",
    }
    name, arguments = SYSTEM.arguments(constructor, kind="burgers1d")
    model = create_model(name, **arguments)
    official = SYSTEM.to_official(model.state_dict(), constructor)
    norm = "norm_V" if kind in ("galerkin", "linear") else "norm_Q"
    for key in (
        f"encoder_layers.1.attn.{norm}.1.weight",
        "encoder_layers.0.ff.bn.running_mean",
        "encoder_layers.0.layer_norm2.bias",
        "encoder_layers.0.attn.linears.2.bias",
        "regressor.fc.weight",
    ):
        assert key in official
    assert arguments["residual"] == "minus"
    assert arguments["head_norm"] == norm_type


@pytest.mark.parametrize(
    ("kind", "ours", "dropout"),
    [
        ("galerkin", "galerkin", 0.03),
        ("linear", "linear", 0.1),
        ("global", "linear", 0.03),
        ("local", "fourier", 0.03),
        ("softmax", "softmax", 0.1),
    ],
)
def test_attention_names_and_the_forced_dropout(kind, ours, dropout):
    arguments = darcy(attention_type=kind, encoder_dropout=0.03)
    assert arguments["attention"] == ours
    assert arguments["encoder_dropout"] == dropout


def test_options_that_the_official_code_drops_are_dropped():
    assert burgers(norm_eps=1e-3)["norm_eps"] == 1e-5
    assert burgers(decoder_type="pointwise", num_regressor_layers=4)["decoder_depth"] == 2
    arguments = darcy(norm_type="instance", residual_type="minus", attn_activation="gelu")
    assert arguments["head_norm"] == "layer"
    assert "residual" not in arguments
    assert "activation" not in arguments


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "layer"),
        ({"layer_norm": True}, None),
        ({"layer_norm": True, "attn_norm": True}, "layer"),
        ({"layer_norm": False, "attn_norm": False}, "layer"),
    ],
)
def test_a_norm_is_forced_when_both_are_off(options, expected):
    assert burgers(**options)["head_norm"] == expected


def test_last_activation_is_kept_in_1d_and_off_by_default_in_2d():
    assert burgers(last_activation=None)["last_activation"] is True
    assert darcy()["last_activation"] is False
    assert darcy(last_activation=True)["last_activation"] is True


def test_missing_activations_mean_relu_or_silu_as_in_the_official_code():
    assert burgers()["decoder_activation"] == "silu"
    assert burgers(decoder_type="pointwise")["decoder_activation"] == "relu"
    assert darcy()["upscaler_activation"] == "silu"
    assert darcy(upsample_mode="conv")["upscaler_activation"] == "relu"


def test_scalers_follow_the_sizes():
    arguments = darcy(upscaler_size=None)
    assert arguments["upscaler"] == "none"
    assert arguments["down_sizes"] == (0.6, 0.6)
    assert darcy(downscaler_size=None)["downscaler"] == "none"


def test_kind_is_deduced_when_a_checkpoint_does_not_say():
    assert SYSTEM.arguments(BURGERS)[0] == "galerkin1d"
    assert SYSTEM.arguments(DARCY)[0] == "galerkin2d"


@pytest.mark.parametrize(
    ("constructor", "kind", "message"),
    [
        (BURGERS | {"attention_type": "causal"}, "burgers1d", "attention_type 'causal'"),
        (DARCY | {"attention_type": "cosine"}, "darcy2d", "attention_type 'cosine'"),
        (BURGERS | {"decoder_type": "attention"}, "burgers1d", "decoder_type 'attention'"),
        (BURGERS | {"num_feat_layers": 1, "feat_extract_type": "gcn"}, "burgers1d", "'gcn'"),
        (BURGERS | {"n_freq_targets": 2}, "burgers1d", "n_freq_targets"),
        (BURGERS | {"spacial_dim": 2}, "burgers1d", "spacial_dim 2"),
        (DARCY | {"downsample_mode": None}, "darcy2d", "downsample_mode None"),
        (BURGERS, "scalers", "no model of its own"),
    ],
)
def test_unsupported_official_options_are_named(constructor, kind, message):
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(constructor, kind=kind)


def test_unknown_keys_are_named():
    with pytest.raises(ValueError, match="unknown official key"):
        SYSTEM.to_ours({"encoder_layers.0.surprise": torch.zeros(1)}, BURGERS)
    with pytest.raises(ValueError, match="surprise has no counterpart"):
        SYSTEM.to_official({"surprise": torch.zeros(1)}, BURGERS)
