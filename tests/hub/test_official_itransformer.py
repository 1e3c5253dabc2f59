"""The official iTransformer: arguments, keys both ways, replays of cases that nobody recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surform.hub.convert import from_official
from surform.hub.official.fixture import Fixture
from surform.hub.official.itransformer import SYSTEM
from surform.hub.verify import verify_case
from surform.registry import create_model
from tests.forecasting.literal_itransformer import literal_forward

CONFIGS = {
    "seq_len": 10, "pred_len": 6, "d_model": 12, "n_heads": 3, "e_layers": 2, "d_ff": 20,
    "dropout": 0.1, "activation": "gelu", "use_norm": True, "output_attention": False,
    "embed": "timeF", "freq": "h", "factor": 1, "class_strategy": "projection",
}  # fmt: skip


def constructor(cls: str = "iTransformer.Model", **changes: Any) -> dict[str, Any]:
    return {"cls": cls, "configs": CONFIGS | changes}


def official_state(given: dict[str, Any]) -> dict[str, Tensor]:
    """Random values under the official keys."""
    torch.manual_seed(0)
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return SYSTEM.to_official(net.state_dict(), given)


def fixture(given: dict[str, Any], marks: int, mode: str = "eval", attention: bool = False):
    """A case made by the literal formulas without dropout under the official names."""
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments | {"dropout": 0.0}).double().train(mode == "train")
    state = official_state(given)
    net.load_state_dict(SYSTEM.to_ours(state, given))
    x = torch.randn(3, 10, 4).double()
    tensors = {"in/x_enc": x}
    if marks:
        tensors["in/x_mark_enc"] = torch.rand(3, 10, marks).double() - 0.5
    leaves = {k: v.clone().requires_grad_() for k, v in tensors.items()}
    y = literal_forward(net, leaves["in/x_enc"], leaves.get("in/x_mark_enc"))
    cotangent = torch.randn_like(y)
    (y * cotangent).sum().backward()
    gradients = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    tensors |= {f"grad/{name}": leaf.grad for name, leaf in leaves.items()}
    tensors |= {f"grad/{k}": v for k, v in SYSTEM.to_official(gradients, given).items()}
    tensors |= {f"param/{k}": v for k, v in state.items()}
    tensors |= {"out/y": y.detach(), "in/cot": cotangent}
    if attention:
        _, maps = net.forward_with_attention(x, past_marks=tensors.get("in/x_mark_enc"))
        tensors |= {f"out/attn.{i}": weights.detach() for i, weights in enumerate(maps)}
    return Fixture(
        "itransformer", "model", {}, given, mode, torch.float64, 1e-9, 1e-10, Path("x"), tensors
    )


@pytest.mark.parametrize(
    ("given", "marks", "mode"),
    [
        (constructor(), 4, "eval"),
        (constructor(use_norm=0, activation="relu"), 0, "eval"),
        (constructor(dropout=0.0, n_heads=5), 5, "train"),
        (constructor(dropout=0.4), 2, "train"),  # the official rate was set to 0 elsewhere
        (constructor("model.iFlowformer.Model"), 1, "eval"),
        (constructor("iFlowformer.Model", use_norm=0, e_layers=1), 3, "eval"),
        (constructor("iFlowformer.Model", d_ff=None), 0, "eval"),
        (constructor(output_attention=True, activation="tanh"), 4, "eval"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_other_cases_replay(given, marks, mode, dtype):
    case = fixture(given, marks, mode, given["configs"]["output_attention"])
    report = verify_case(case, dtype)
    assert report.passed, report.problem or report.worst
    names = {row.name for row in report.rows}
    assert "grad/in/x_enc" in names
    assert ("grad/in/x_mark_enc" in names) == bool(marks)
    assert ("out/attn.1" in names) == given["configs"]["output_attention"]


@pytest.mark.parametrize("cls", ["iTransformer.Model", "iFlowformer.Model"])
def test_keys_go_to_ours_and_back(cls):
    given = constructor(cls)
    state = official_state(given)
    back = SYSTEM.to_official(SYSTEM.to_ours(state, given), given)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert state["encoder.attn_layers.1.conv1.weight"].shape == (20, 12, 1)
    assert state["encoder.attn_layers.0.attention.key_projection.weight"].shape == (12, 12)
    assert state["projector.weight"].shape == (6, 12)


def test_official_defaults_and_words():
    name, arguments = SYSTEM.arguments({})
    assert name == "itransformer"
    assert arguments == {
        "lookback": 96, "horizon": 96, "dim": 512, "depth": 2, "heads": 8, "mlp_ratio": 4.0,
        "dropout": 0.1, "activation": "gelu", "normalize": True, "attention": "softmax",
    }  # fmt: skip
    assert SYSTEM.arguments(constructor(use_norm=0))[1]["normalize"] is False
    flow = SYSTEM.arguments(constructor("iFlowformer.Model", use_norm=0))[1]
    assert (flow["normalize"], flow["attention"]) == (True, "flow")
    assert SYSTEM.arguments(CONFIGS) == SYSTEM.arguments(constructor())  # without class
    for activation, ours in (("relu", "relu"), ("RELU", "gelu"), ("gelu", "gelu")):
        assert SYSTEM.arguments(constructor(activation=activation))[1]["activation"] == ours


def test_unknown_variants_are_named():
    with pytest.raises(ValueError, match=r"cls is 'iReformer'.* iTransformer, iFlowformer"):
        SYSTEM.arguments(constructor("iReformer.Model"))
    with pytest.raises(ValueError, match="kind 'scalers'"):
        SYSTEM.arguments(constructor(), kind="scalers")


def test_a_checkpoint_converts_with_its_constructor_only(tmp_path):
    given = constructor(d_model=16, n_heads=8, e_layers=3)
    state = {key: value.float() for key, value in official_state(given).items()}
    torch.save(state, tmp_path / "checkpoint.pth")
    told = (
        "seq_len=10, pred_len=6, d_model=16, e_layers=3, d_ff=20, but not its n_heads, activation"
    )
    with pytest.raises(ValueError, match=told):
        from_official(tmp_path / "checkpoint.pth", "itransformer")
    model = from_official(tmp_path / "checkpoint.pth", "itransformer", given).model
    x = torch.randn(2, 10, 5)
    net = create_model(*SYSTEM.arguments(given)[:1], **SYSTEM.arguments(given)[1]).eval()
    net.load_state_dict(SYSTEM.to_ours(state, given))
    torch.testing.assert_close(model.net(x), net(x))
    del state["projector.bias"]
    torch.save(state, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match=r"missing.*projector\.bias"):
        from_official(tmp_path / "checkpoint.pth", "itransformer", given)
