"""Parity with official FactFormer: golden cases, key maps, constructor arguments."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from surform.hub.official.factformer import SYSTEM
from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case
from surform.operators.factorized_block import FactorizedBlock
from surform.registry import create_model
from tests.operators.literal_factformer import literal_block

CASES = sorted((Path(__file__).parents[1] / "golden" / "factformer").glob("*.json"))
SMALL = {"dim": 16, "depth": 2, "heads": 2, "dim_head": 6, "kernel_multiplier": 2}
DARCY = SMALL | {"in_dim": 2, "out_dim": 3, "resolution": 9}
KOLMOGOROV = SMALL | {
    "in_dim": 7,
    "out_dim": 2,
    "in_time_window": 5,
    "max_latent_steps": 4,
    "latent_multiplier": 1.5,
}
TURBULENCE = SMALL | {
    "in_dim": 4,
    "out_dim": 4,
    "in_time_window": 3,
    "max_latent_steps": 2,
    "latent_mutliplier": 1.5,
}
SMOKE = SMALL | {
    "in_dim": 4,
    "out_dim": 4,
    "in_time_window": 3,
    "max_latent_steps": 2,
    "latent_multiplier": 1.5,
    "padding": 2,
}
KINDS = {
    "darcy2d": DARCY,
    "kolmogorov2d": KOLMOGOROV,
    "smoke3d": SMOKE,
    "turbulence3d": TURBULENCE,
}


def build(kind: str) -> tuple[torch.nn.Module, dict]:
    constructor = KINDS[kind]
    name, arguments = SYSTEM.arguments(constructor, kind=kind)
    return create_model(name, **arguments), constructor


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_golden_case(case, dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.problem == ""
    assert report.passed, [row for row in report.rows if not row.passed]


def test_golden_cases_compare_intermediate_tensors():
    compared = {row.name for case in CASES for row in verify_case(Fixture.load(case)).rows}
    assert {"mid/posenc0", "mid/kernel_x0", "mid/kernel_z0", "mid/fa0", "mid/encoder_out"} <= (
        compared
    )


@pytest.mark.parametrize("kind", KINDS)
def test_keys_go_to_official_and_back(kind):
    model, constructor = build(kind)
    state = model.state_dict()
    official = SYSTEM.to_official(state, constructor)
    assert len(official) == len(state)
    back = SYSTEM.to_ours(official, constructor)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_official_keys_carry_the_published_names_and_shapes():
    model, constructor = build("smoke3d")
    official = SYSTEM.to_official(model.state_dict(), constructor)
    shapes = {key: tuple(value.shape) for key, value in official.items()}
    assert shapes["to_in.0.weight"] == (8, 1, 1, 1)
    assert shapes["to_in.2.weight"] == (16, 8, 3, 1)
    assert shapes["encoder.layers.1.1.to_x.0.to_in.weight"] == (16, 16)
    assert shapes["encoder.layers.1.1.to_z.1.out_ffn.fn.net.0.weight"] == (32, 16)
    assert shapes["encoder.layers.0.0.0._B"] == (3, 8)
    assert shapes["encoder.layers.0.1.low_rank_kernel_y.pos_emb.inv_freq"] == (6,)
    assert shapes["latent_time_emb"] == (1, 2, 1, 1, 1, 24)
    assert shapes["simple_to_out.2.weight"] == (16, 3, 1)
    assert shapes["simple_to_out.6.weight"] == (4, 8, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_deduced_from_the_constructor(kind):
    assert SYSTEM.arguments(KINDS[kind]) == SYSTEM.arguments(KINDS[kind], kind=kind)


def test_converted_checkpoints_take_the_norm_of_the_running_release():
    assert SYSTEM.arguments(DARCY)[1]["out_norm"] == "row_instance"
    options = {"out_norm": "group"}
    assert SYSTEM.arguments(DARCY, options=options)[1]["out_norm"] == "group"


def test_turbulence_has_neither_padding_nor_skip_and_eight_groups():
    name, arguments = SYSTEM.arguments(TURBULENCE)
    model = create_model(name, **arguments)
    assert (model.padding, model.skip, model.marching.head.norm.num_groups) == (0, None, 8)
    assert model.expand.weight.shape == (24, 16)


@pytest.mark.parametrize("kind", ["darcy2d", "kolmogorov2d"])
def test_the_constructor_is_inferred_from_a_bare_state_dict(kind):
    model, constructor = build(kind)
    found = SYSTEM.infer(SYSTEM.to_official(model.state_dict(), constructor))
    twin = create_model(*(SYSTEM.arguments(found)[:1]), **SYSTEM.arguments(found)[1])
    twin.load_state_dict(model.state_dict())


def test_what_weights_do_not_tell_is_asked_for():
    for kind, missing in (("smoke3d", "padding"), ("turbulence3d", "input channels")):
        model, constructor = build(kind)
        with pytest.raises(ValueError, match=missing):
            SYSTEM.infer(SYSTEM.to_official(model.state_dict(), constructor))
    with pytest.raises(ValueError, match="give kind as one of"):
        SYSTEM.arguments({"dim": 16, "out_dim": 1})
    with pytest.raises(ValueError, match="choose darcy2d"):
        SYSTEM.arguments(DARCY, kind="block2d")


@pytest.mark.parametrize("out_norm", ["row_instance", "group"])
@pytest.mark.parametrize("rope", [True, False])
def test_a_single_block_replays(out_norm, rope, tmp_path):
    constructor = {
        "dim": 8,
        "dim_head": 5,
        "latent_dim": 12,
        "heads": 3,
        "dim_out": 10,
        "use_rope": rope,
        "kernel_multiplier": 6,
        "scaling_factor": 0.5,
    }
    torch.manual_seed(1)
    block = FactorizedBlock(
        8, 3, 5, 2, latent_dim=12, dim_out=10, kernel_multiplier=6, scaling_factor=0.5,
        rotary=rope, out_norm=out_norm,
    ).double()  # fmt: skip
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    u, x, y = torch.randn(2, 6, 7, 8).double(), torch.rand(6).double(), torch.rand(7).double()
    official = SYSTEM.to_official(block.state_dict(), constructor)
    assert all(key.startswith("fa.") for key in official)
    tensors = {f"param/{key}": value for key, value in official.items()}
    tensors |= {"in/u": u, "in/pos_x": x[:, None], "in/pos_y": y[:, None]}
    expected = literal_block(block, u, (x, y)) if rope else block(u, (x, y))
    fixture = Fixture(
        "factformer", "block2d", {"out_norm": out_norm}, constructor, "eval", torch.float64,
        1e-9, 1e-11, tmp_path, tensors,
    )  # fmt: skip
    replay = SYSTEM.kinds["block2d"](fixture, torch.float64)
    torch.testing.assert_close(replay.outputs["y"], expected)
    assert {"kernel_x", "kernel_y"} <= replay.mid.keys()


def test_a_rollout_feeds_predictions_back(tmp_path):
    """Two calls of two steps: the second sees the first one's frames at the window's end."""
    case = next(case for case in CASES if "rollout" in case.stem)
    fixture = Fixture.load(case)
    fixture = dataclasses.replace(fixture, options=fixture.options | {"latent_steps": 2})
    model = SYSTEM.build(fixture, torch.float64)
    window = fixture.tensors["in/u"].movedim(-1, 1)[..., None]
    x = fixture.tensors["in/pos_x"].flatten()
    first = model(window, (x, x), 2)
    second = model(torch.cat((window[:, 2:], first), 1), (x, x), 2)
    traj = SYSTEM.kinds[fixture.kind](fixture, torch.float64).outputs["traj"]
    torch.testing.assert_close(traj, torch.cat((first, second), 1))
