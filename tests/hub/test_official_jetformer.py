"""The official JetFormer: keys both ways, dead norms, constructors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case
from surform.particles.official import SYSTEM
from surform.registry import create_model
from tests.particles.literal_jetformer import literal_forward

GOLDEN = Path(__file__).parents[1] / "golden" / "jetformer"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def constructor(case: str = "jetformer_batchnorm") -> dict[str, Any]:
    return json.loads((GOLDEN / f"{case}.json").read_text())["constructor"]


def official_state(given: dict[str, Any]) -> dict[str, torch.Tensor]:
    """As the official code saves it, with the norms that it never applies."""
    name, arguments = SYSTEM.arguments(given)
    torch.manual_seed(0)
    state = SYSTEM.to_official(create_model(name, **arguments).double().state_dict(), given)
    size = (given["num_particles"] + 1) ** 2
    for number in range(given["num_transformers"]):
        state[f"transformers.{number}.self_attention.pre_exp_norm.weight"] = torch.ones(size)
    return state


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_official_numbers(case, dtype):
    report = verify_case(Fixture.load(GOLDEN / f"{case}.json"), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("case", CASES)
def test_official_numbers_of_the_literal_path(case):
    fixture = Fixture.load(GOLDEN / f"{case}.json")
    net = SYSTEM.build(fixture, torch.float64)
    logits = literal_forward(net, fixture.inputs(torch.float64)["x"])
    torch.testing.assert_close(
        logits.log_softmax(-1), fixture.named("out")["log_probs"], rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize(
    ("changed", "training"),
    [
        ({"num_transformers": 1, "num_heads": 4, "activation": "SiLU"}, False),
        ({"num_transformers": 3, "normalization": "Batch"}, True),
        ({"normalization": "None", "num_classes": 10}, False),
        ({"normalization": "Layer", "embbed_dim": 16, "dropout": 0.3}, True),
    ],
)
def test_other_cases_replay(changed, training):
    """Recorded from the literal formulas, with every parameter's gradient."""
    given = constructor() | changed
    name, arguments = SYSTEM.arguments(given)
    torch.manual_seed(0)
    net = create_model(name, **arguments | {"dropout": 0.0}).double().train(training)
    x = torch.randn(4, given["num_particles"], given["in_dim"]).double().requires_grad_()
    log_probs = literal_forward(net, x).log_softmax(-1)
    cotangent = torch.randn_like(log_probs)
    (log_probs * cotangent).sum().backward()
    tensors = {f"param/{k}": v for k, v in official_state(given).items()}
    tensors |= {"in/x": x.detach(), "in/cot": cotangent, "out/log_probs": log_probs.detach()}
    slopes = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    slopes = SYSTEM.to_official(slopes, given)
    tensors |= {f"grad/{k}": v for k, v in slopes.items()} | {"grad/in/x": x.grad}
    if given["normalization"] == "None":
        tensors["param/norm.weight"] = torch.ones(given["embbed_dim"])
        tensors["param/transformers.1.norm_0.running_mean"] = torch.zeros(given["embbed_dim"])
    mode = "train" if training else "eval"
    fixture = Fixture(
        "jetformer", "model", {}, given, mode, torch.float64, 1e-9, 1e-10, Path("x"), tensors
    )
    report = verify_case(fixture)
    assert report.passed, report.problem or report.worst
    assert len(report.rows) > len(slopes)


def test_middles_of_the_last_block_replay():
    given = constructor() | {"num_transformers": 1}
    tensors = {f"param/{k}": v for k, v in official_state(given).items()}
    tensors |= {"in/x": torch.randn(2, 8, 3).double(), "mid/transformer0": torch.zeros(2, 9, 8)}
    fixture = Fixture(
        "jetformer", "model", {}, given, "eval", torch.float64, 1e-9, 1e-10, Path("x"), tensors
    )
    assert SYSTEM.kinds["model"](fixture, torch.float64).mid["transformer0"].shape == (2, 9, 8)


@pytest.mark.parametrize("case", CASES)
def test_a_network_is_described_as_its_constructor(case):
    given = constructor(case)
    name, arguments = SYSTEM.arguments(given)
    described = SYSTEM.describe(create_model(name, **arguments))
    assert described == {key: given[key] for key in described}
    assert SYSTEM.describe(torch.nn.Linear(1, 1)) is None


@pytest.mark.fault
def test_weights_do_not_tell_everything():
    with pytest.raises(ValueError, match=r"embbed_dim=8.*num_particles=8, but not num_heads"):
        SYSTEM.infer(official_state(constructor()))


@pytest.mark.fault
def test_constructors_that_are_refused():
    with pytest.raises(ValueError, match="activation is 'GELU', but must be ReLU or SiLU"):
        SYSTEM.arguments(constructor() | {"activation": "GELU"})
    with pytest.raises(ValueError, match="kind 'mixer' is no JetFormer"):
        SYSTEM.arguments(constructor(), kind="mixer")
    with pytest.raises(ValueError, match="the official network has no mask"):
        SYSTEM.describe(create_model("jetformer", mask_padding=True))
