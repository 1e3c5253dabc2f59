"""The official diffusion transformer policy: keys both ways, files, cases that nobody recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surform.hub.convert import from_official, to_official
from surform.hub.official.dit_policy import SYSTEM
from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case
from surform.registry import create_model
from tests.robotics.literal_dit_policy import literal_noise

INNER = {"hidden_dim": 12, "num_blocks": 2, "nhead": 3, "dim_feedforward": 20, "time_dim": 6}
AGENT = {
    "cls": "DiffusionTransformerAgent", "noise_net_kwargs": INNER, "ac_dim": 2, "ac_chunk": 5,
    "odim": 4, "n_cams": 2, "feature_dim": 12,
}  # fmt: skip
ALONE = {"cls": "_DiTNoiseNet", "ac_dim": 2, "ac_chunk": 5} | INNER


def state_of(given: dict[str, Any]) -> dict[str, Tensor]:
    """Random values under the official keys."""
    torch.manual_seed(0)
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return SYSTEM.to_official(net.state_dict(), given)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_other_cases_replay(activation, blocks):
    given = ALONE | {"activation": activation, "num_blocks": blocks}
    state = {k: v.double().requires_grad_() for k, v in state_of(given).items()}
    tensors = {f"param/{k}": v.detach() for k, v in state.items()}
    tensors |= {"param/enc_pos.pe[:64]": torch.zeros(64, 1, 12).double()}
    inputs = {
        "noise_actions": torch.randn(3, 5, 2).double().requires_grad_(),
        "time": torch.tensor([4, 0, 99]),
        "obs_tokens": torch.randn(3, 66, 12).double().requires_grad_(),
    }
    eps = literal_noise(state, *inputs.values(), 3, activation)
    cot = torch.randn_like(eps)
    (eps * cot).sum().backward()
    tensors |= {f"in/{k}": v.detach() for k, v in inputs.items()} | {"out/eps": eps.detach()}
    tensors |= {f"grad/{k}": v.grad for k, v in state.items() if k != "time_net.w"}
    tensors |= {"grad/in/obs_tokens": inputs["obs_tokens"].grad, "in/cot": cot}
    header = ("dit_policy", "noise_net", {}, given, "eval", torch.float64, 1e-9, 1e-10)
    report = verify_case(Fixture(*header, Path("x"), tensors))
    assert report.passed, report.problem or report.worst
    assert len(report.rows) == len(state) + 1


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"use_obs": "pad_img_tokens", "token_dim": 12, "feat_norm": "layer_norm"},
        {"use_obs": False, "imgs_per_cam": 2, "early_fusion": True, "feat_norm": "batch_norm"},
        {"feature_dim": 8, "token_dim": 12},
    ],
)
def test_keys_go_to_ours_and_back_by_file(extra, tmp_path):
    given = AGENT | extra
    state = state_of(given)
    table = {"noise_net.enc_pos.pe": torch.zeros(5000, 1, 12)}
    torch.save({"model": state | table, "global_step": 3}, tmp_path / "policy.ckpt")
    model = from_official(tmp_path / "policy.ckpt", "dit_policy", given).model
    to_official(model, "dit_policy", tmp_path / "out")
    back = torch.load(tmp_path / "out" / "weights.pth", weights_only=True)["state_dict"]
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)
    described = SYSTEM.describe(model.net)
    assert SYSTEM.arguments(described) == SYSTEM.arguments(given)


def test_published_networks_have_the_official_keys_and_size():
    features = {"size": 18, "norm_cfg": {"name": "group_norm", "num_groups": 16}}
    given = AGENT | {"noise_net_kwargs": {}, "ac_dim": 14, "ac_chunk": 100, "odim": 14}
    given = {k: v for k, v in given.items() if k != "feature_dim"} | {"features": features}
    name, arguments = SYSTEM.arguments(given)
    with torch.device("meta"):
        net = create_model(name, **arguments)
    keys = SYSTEM.to_official(net.state_dict(), given)
    assert keys["visual_features.1._model.layer4.1.bn2.weight"].shape == (512,)
    assert keys["noise_net.decoder.layers.5.mlp_mod2.scale.weight"].shape == (512, 512)
    assert keys["noise_net.dec_pos"].shape == (100, 1, 512)
    millions = round(sum(p.numel() for p in net.parameters()) / 1e6, 1)
    assert millions == 70.6  # as published
    assert SYSTEM.arguments(SYSTEM.describe(net)) == (name, arguments)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"n_cameras": 2}, "takes no n_cameras"),
        ({"cls": "GaussianMLPAgent"}, "cls is 'GaussianMLPAgent', but only"),
        ({"share_cam_features": True}, "crashes in the official code"),
        ({"feat_norm": "group"}, "feat_norm is 'group', but must be"),
        ({"use_obs": "concat"}, "use_obs is 'concat', but must be"),
        ({"noise_net_kwargs": {"width": 3}}, "_DiTNoiseNet takes no width"),
        ({"noise_net_kwargs": {"activation": "glu"}}, "activation 'glu'"),
    ],
)
def test_constructors_that_are_refused(extra, message):
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(AGENT | extra)


@pytest.mark.fault
def test_files_that_do_not_fit(tmp_path):
    state = state_of(AGENT)
    torch.save(state, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"tell ac_chunk=5, hidden_dim=12.* but not nhead"):
        from_official(tmp_path / "bare.pth", "dit_policy")
    del state["noise_net.decoder.layers.0.attn_mod1.shift.bias"]
    torch.save(state, tmp_path / "lacks.pth")
    with pytest.raises(ValueError, match=r"1 missing: .*attn_mod1\.shift\.bias"):
        from_official(tmp_path / "lacks.pth", "dit_policy", AGENT)


@pytest.mark.fault
def test_networks_that_the_official_code_cannot_have():
    seen = {"features": "patches", "state_dim": 4, "state_frames": 3, "depth": 1}
    net = create_model("dit_policy", action_dim=2, chunk=3, dim=8, **seen)
    assert SYSTEM.describe(net)["odim"] == 12
    net = create_model("dit_policy", action_dim=2, chunk=3, cameras=(), state_dim=4, dim=8)
    with pytest.raises(ValueError, match="no policy without cameras"):
        SYSTEM.describe(net)
    net = create_model("dit_policy", action_dim=2, chunk=3, dim=8, predicts="actions", **seen)
    with pytest.raises(ValueError, match="predict the noise, this network predicts the actions"):
        SYSTEM.describe(net)
    assert SYSTEM.describe(torch.nn.Linear(1, 1)) is None
