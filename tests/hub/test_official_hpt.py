"""The official HPT: keys both ways, trunk files, constructors."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from surform.hub.convert import from_official, to_official
from surform.hub.official.fixture import Fixture
from surform.hub.official.hpt import SYSTEM, read_trunk, write_trunk
from surform.hub.verify import verify_case
from surform.registry import create_model
from surform.robotics.hpt_trunk import Trunk
from tests.robotics.literal_hpt import literal_features, literal_queries

GOLDEN = Path(__file__).parents[1] / "golden" / "hpt"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def constructor(case: str = "mean_mlp_head") -> dict[str, Any]:
    return json.loads((GOLDEN / f"{case}.json").read_text())["constructor"]


@pytest.mark.parametrize("case", CASES)
def test_keys_go_to_ours_and_back_by_file(case, tmp_path):
    given = constructor(case)
    name, arguments = SYSTEM.arguments(given)
    torch.manual_seed(0)
    net = create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    torch.save(state | {"modalities_tokens.image": torch.zeros(1, 1, 16)}, tmp_path / "model.pth")
    model = from_official(tmp_path / "model.pth", "hpt", given).model
    back = SYSTEM.to_official(model.net.state_dict(), given)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)
    written = to_official(model, "hpt", tmp_path / "out")
    described = json.loads((written / "constructor.json").read_text())
    again = from_official(written / "weights.pth", "hpt", described).model
    assert SYSTEM.arguments(described) == SYSTEM.arguments(given)
    for key, value in model.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[key], value)


def varied(**stem: Any) -> dict[str, Any]:
    """A policy with options that the golden cases leave alone."""
    given = copy.deepcopy(constructor("language_decoder_head"))
    given["domain"] = "arm_2"
    given["stem"] |= {"modalities": ["state", "prev_actions", "image_wrist"]} | stem
    given["stem"]["crossattn_latent"] = {"state": 2, "prev_actions": 1, "image_wrist": 3}
    layer = given["stem"]["state"]
    given["stem"]["state"] = layer | {"widths": [7, 6, 5], "input_dim": 4}
    given["stem"]["prev_actions"] = layer | {"widths": [9], "input_dim": 16}
    given["stem"]["image_wrist"] = layer | {"widths": [8, 6], "input_dim": 3, "num_of_copy": 2}
    given["head"] |= {"crossattn_heads": 4, "crossattn_dim_head": 3}
    return given


@pytest.mark.parametrize("normalize_state", [True, False])
def test_other_cases_replay(normalize_state):
    given = varied(normalize_state=normalize_state)
    torch.manual_seed(0)
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments).double()
    state = SYSTEM.to_official(net.state_dict(), given)
    state = {key: torch.randn_like(value) * 0.3 for key, value in state.items()}
    for copied in [key for key in state if ".net.1." in key]:
        state[copied] = state[copied.replace(".net.1.", ".net.0.")]
    limits = "normalizer.arm_2.params_dict"
    state |= {f"{limits}.state.{key}": torch.rand(4).double() + 0.5 for key in ("scale", "offset")}
    for key in ("min", "max", "mean", "std"):
        state[f"{limits}.state.input_stats.{key}"] = torch.zeros(4).double()
    state[f"{limits}.action.scale"].abs_().add_(0.5)
    seen = {
        "state": torch.randn(2, 3, 4).double(),
        "prev_actions": torch.randn(2, 3, 16).double(),
        "image_wrist": torch.randn(2, 3, 2, 5, 3).double(),
    }
    scale, offset = (state[f"{limits}.action.{key}"] for key in ("scale", "offset"))
    literal = {
        key.replace("arm_2", "dom").replace("_wrist.net.0.", "_wrist.net."): value
        for key, value in state.items()
        if ".net.1." not in key
    }
    prepared = seen | {"prev_actions": seen["prev_actions"] * scale + offset}
    if not normalize_state:
        literal["normalizer.dom.params_dict.state.scale"] = torch.ones(4).double()
        literal["normalizer.dom.params_dict.state.offset"] = torch.zeros(4).double()
    features = literal_features(literal, prepared, 4, 2)
    hidden = torch.nn.functional.silu(
        features @ literal["heads.dom.mlp.0.weight"].T + literal["heads.dom.mlp.0.bias"]
    )
    context = hidden @ literal["heads.dom.mlp.2.weight"].T + literal["heads.dom.mlp.2.bias"]
    action = (literal_queries(literal, "heads.dom", context, 4) - offset) / scale
    tensors = {f"param/{key}": value for key, value in state.items()}
    tensors |= {f"in/{key}": value for key, value in seen.items()}
    tensors |= {"out/action": action.flatten(1), "out/features": features}
    header = ("hpt", "policy", {}, given, "eval", torch.float64, 1e-9, 1e-10)
    report = verify_case(Fixture(*header, Path("x"), tensors))
    assert report.passed, report.problem or report.worst
    assert len(report.rows) == 2


def test_one_robot_out_of_a_file_of_several(tmp_path):
    given = constructor("action_token_mlp_head")
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    other = SYSTEM.to_official(net.state_dict(), given | {"domain": "disc"})
    torch.save(other | state, tmp_path / "both.pth")
    converted = from_official(tmp_path / "both.pth", "hpt", given)
    for key, value in net.state_dict().items():
        assert torch.equal(converted.model.net.state_dict()[key], value)
    assert set(converted.accounting.dropped) == set(other) - set(state)
    assert converted.accounting.dropped["action_tokens.disc"] == "of another robot than dom"
    torch.save(state | {"stems.dom_sonar.tokens": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"1 unknown: stems\.dom_sonar\.tokens"):
        from_official(tmp_path / "more.pth", "hpt", given)


def test_copies_of_a_stem_share_their_weights(tmp_path):
    given = varied()
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    key = "stems.arm_2_image_wrist.net.1.0.weight"
    assert torch.equal(state[key], net.stems["image_wrist"].net[0].weight)
    torch.save(state | {key: state[key] + 1}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"net\.1\.0\.weight differs from the first copy's"):
        from_official(tmp_path / "model.pth", "hpt", given)


@pytest.mark.parametrize("whole", [False, True])
def test_trunk_files(whole, tmp_path):
    given = constructor()
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    if not whole:
        state = {k[6:]: v for k, v in state.items() if k.startswith("trunk.")}
    torch.save(state, tmp_path / "trunk.pth")
    trunk = Trunk(16, 2, 4, 0.1)
    trunk.load_state_dict(read_trunk(tmp_path / "trunk.pth"))
    for key, value in net.trunk.state_dict().items():
        assert torch.equal(trunk.state_dict()[key], value)
    write_trunk(tmp_path / "again.pth", trunk)
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    alone = {k[6:] if whole else k: v for k, v in state.items() if "trunk.blocks." in k}
    assert set(again) == set(alone)
    assert all(torch.equal(value, alone[key]) for key, value in again.items())


@pytest.mark.fault
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("head", "_target_"), "hpt.models.policy_head.Conv1D", "'Conv1D', which is not supported"),
        (("head", "output_dim"), 13, "13, which 3 actions do not share evenly"),
        (("stem", "image", "_target_"), "hpt.models.policy_stem.Conv3D", "stem.image._target_ is"),
        (("stem", "state", "tanh_end"), True, "stem.state.tanh_end is True, but only False"),
        (("stem", "cross_attention"), False, "stem.cross_attention is False"),
        (("policy", "token_postprocessing"), "attentive", "is 'attentive': the official code"),
    ],
)
def test_constructors_that_are_refused(path, value, message):
    given = copy.deepcopy(constructor())
    place = given
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(given)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("option", "value"),
    [("clip_sample", False), ("prediction_type", "sample"), ("beta_schedule", "linear")],
)
def test_schedulers_that_are_refused(option, value):
    given = copy.deepcopy(constructor("diffusion_head"))
    given["head"]["noise_scheduler"][option] = value
    with pytest.raises(ValueError, match=rf"noise_scheduler\.{option} is {value!r}, but only"):
        SYSTEM.arguments(given)


@pytest.mark.fault
def test_policies_that_the_official_code_cannot_have():
    small = {"action_dim": 2, "chunk": 2, "features": {"state": 3}, "depth": 1}
    net = create_model("hpt", **small, head="decoder", pooling="none")
    with pytest.raises(ValueError, match="action_dim = dim only, not 2 and 128"):
        SYSTEM.describe(net)
    with pytest.raises(ValueError, match=r"head_dropout is 0\.3, officially 0\.1"):
        SYSTEM.describe(create_model("hpt", **small, head_dropout=0.3))
    assert SYSTEM.describe(torch.nn.Linear(1, 1)) is None


@pytest.mark.fault
def test_files_that_do_not_tell_enough(tmp_path):
    given = constructor()
    name, arguments = SYSTEM.arguments(given)
    state = SYSTEM.to_official(create_model(name, **arguments).state_dict(), given)
    torch.save(state, tmp_path / "whole.pth")
    with pytest.raises(ValueError, match="tell num_blocks=2, embed_dim=16, but not the heads"):
        from_official(tmp_path / "whole.pth", "hpt")
    trunk = {k: v for k, v in state.items() if k.startswith("trunk.")}
    torch.save(trunk, tmp_path / "trunk.pth")
    with pytest.raises(ValueError, match=r"a trunk alone \(2 blocks of width 16\): read it by"):
        from_official(tmp_path / "trunk.pth", "hpt")
    with pytest.raises(ValueError, match=r"missing: heads\.dom"):
        from_official(tmp_path / "trunk.pth", "hpt", given)
    del trunk["trunk.trunk.blocks.1.attn.bias_v"]
    torch.save(trunk, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"cut\.pth .* 1 missing: .*blocks\.1\.attn\.bias_v"):
        read_trunk(tmp_path / "cut.pth")
    torch.save({"blocks.1.norm_1.weight": torch.ones(4)}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match="holds no trunk"):
        read_trunk(tmp_path / "odd.pth")
    with pytest.raises(ValueError, match="a Linear is no trunk"):
        write_trunk(tmp_path / "out.pth", torch.nn.Linear(1, 1))


@pytest.mark.fault
def test_files_without_a_trunk(tmp_path):
    torch.save({"heads.dom.net.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="holds no trunk"):
        read_trunk(tmp_path / "other.pth")
