"""Parity with official IFactFormer: golden cases, both releases' keys, constructor arguments."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from surform.hub.convert import from_official
from surform.hub.official.fixture import Fixture
from surform.hub.official.ifactformer import SYSTEM
from surform.hub.verify import verify_case
from surform.registry import create_model
from tests.operators.literal_ifactformer import literal_forward

CASES = sorted((Path(__file__).parents[1] / "golden" / "ifactformer").glob("*.json"))
OFFICIAL = {
    "in_dim": 2,
    "out_dim": 3,
    "in_time_window": 2,
    "dim": 12,
    "heads": 2,
    "depth": 2,
    "dim_head": 4,
    "n_layer": 3,
    "model": "IFactFormer_m",
}
FORMS = [(v, r) for v in ("modified", "original") for r in ("head", "first")]
forms = pytest.mark.parametrize(("variant", "release"), FORMS)


def build(variant: str, release: str) -> tuple[torch.nn.Module, dict]:
    constructor = OFFICIAL | {"model": f"IFactFormer_{variant[0]}", "release": release}
    name, arguments = SYSTEM.arguments(constructor)
    torch.manual_seed(0)
    return create_model(name, **arguments), constructor


def official_state(variant: str, release: str) -> dict[str, torch.Tensor]:
    model, constructor = build(variant, release)
    return SYSTEM.to_official(model.state_dict(), constructor)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_golden_case(case, dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.problem == ""
    assert report.passed, [row for row in report.rows if not row.passed]
    compared = {row.name for row in report.rows}
    assert {"mid/fa_first", "mid/kernel_y_first", "mid/encoder_out", "grad/in/u"} <= compared


@forms
def test_keys_go_to_official_and_back(variant, release):
    model, constructor = build(variant, release)
    state = model.state_dict()
    official = SYSTEM.to_official(state, constructor)
    assert len(official) == len(state)
    assert SYSTEM.complete(OFFICIAL, official)["release"] == release
    back = SYSTEM.to_ours(official, constructor)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@forms
def test_official_keys_carry_the_published_names_and_shapes(variant, release):
    shapes = {k: tuple(v.shape) for k, v in official_state(variant, release).items()}
    block = "encoder.layers.1.1."
    wide = 24 if variant == "modified" else 8
    assert shapes["to_in.0.weight"] == (6, 1, 1, 1)
    assert shapes["to_in.2.weight"] == (12, 6, 2, 1)
    assert shapes["encoder.layers.0.0.0._B"] == (3, 6)
    assert shapes["simple_to_out.1.weight"] == (6, 12, 1)
    assert shapes["simple_to_out.3.weight"] == (3, 6, 1)
    assert shapes[f"{block}to_out.{'1' if release == 'first' else '2'}.weight"] == (12, wide)
    assert shapes[f"{block}to_out.{'3' if release == 'first' else '4'}.weight"] == (12, 12)
    both = (variant, release) == ("modified", "first")
    assert (f"{block}to_out_1.2.weight" in shapes) == both


@forms
def test_a_checkpoint_tells_its_release(variant, release, tmp_path):
    state = official_state(variant, release)
    path = tmp_path / "official.pt"
    torch.save(state, path)
    constructor = OFFICIAL | {"model": f"IFactFormer_{variant[0]}"}
    made = from_official(path, "ifactformer", constructor)
    assert made.accounting.complete
    net = made.model.net
    assert net.arguments["release"] == release
    twin, _ = build(variant, release)
    twin.load_state_dict(net.state_dict())
    u = torch.randn(1, 2, 4, 3, 5, 2)
    x = [torch.linspace(0, 1, n) for n in (4, 3, 5)]
    torch.testing.assert_close(net(u, x), literal_forward(twin, u, x), rtol=1e-4, atol=1e-5)


@forms
def test_a_replay_depends_on_options_and_weights_only(variant, release, tmp_path):
    """A case of another size and combination, made from the literal formulas."""
    model, constructor = build(variant, release)
    model = model.double()
    u = torch.randn(2, 2, 3, 4, 2, 2).double()
    x = {axis: torch.rand(n, 1).double() for axis, n in zip("xyz", (3, 4, 2), strict=True)}
    expected = literal_forward(model, u, [t.flatten() for t in x.values()]).squeeze(1)
    tensors = {
        f"param/{k}": v for k, v in SYSTEM.to_official(model.state_dict(), constructor).items()
    }
    tensors |= {"in/u": u, "out/y": expected.detach(), "in/cot": torch.ones_like(expected)}
    tensors |= {f"in/pos_{axis}": value for axis, value in x.items()}
    plain = {k: v for k, v in constructor.items() if k != "release"}
    fixture = Fixture(
        "ifactformer", "channel", {"variant": variant, "release": release}, plain, "eval",
        torch.float64, 1e-9, 1e-11, tmp_path / "renamed.json", tensors,
    )  # fmt: skip
    assert verify_case(fixture).passed
    without = dataclasses.replace(fixture, options={})
    assert verify_case(without).passed  # the weights tell the release, the constructor the variant
    other = {"head": "first", "first": "head"}[release]
    wrong = dataclasses.replace(fixture, options={"variant": variant, "release": other})
    assert "but the model is of release" in verify_case(wrong).problem


@pytest.mark.fault
def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="give the option release, one of head, first"):
        SYSTEM.arguments(OFFICIAL)
    with pytest.raises(ValueError, match="model is 'IFactFormer', but must be one of"):
        SYSTEM.arguments(OFFICIAL | {"model": "IFactFormer", "release": "head"})
    with pytest.raises(ValueError, match="release is 'second', but must be one of head, first"):
        SYSTEM.arguments(OFFICIAL, options={"release": "second"})
    with pytest.raises(ValueError, match="the option variant is 'original', but the model is of"):
        SYSTEM.arguments(OFFICIAL | {"release": "head"}, options={"variant": "original"})
