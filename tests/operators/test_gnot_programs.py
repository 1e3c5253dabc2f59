"""GNOT rebuilt, in other precisions, compiled and exported; and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch

from surform import attention
from surform.operators.gnot import GNOT
from surform.registry import create_model
from tests.operators.gnot_models import (
    MODELS,
    SMALL,
    both,
    build,
    full,
    sample,
)


@both
def test_recorded_arguments_rebuild_the_model_through_json(name):
    model = build(name, mlp_ratio=1.5)
    again = create_model(name, **json.loads(json.dumps(model.arguments))).double()
    again.load_state_dict(model.state_dict())
    call = sample(model)
    assert torch.equal(model(**call), again.eval()(**call))


@both
@pytest.mark.parametrize("heads", [1, 3])
def test_bf16_autocast_stays_close_and_trains(name, heads):
    model = build(name, torch.float32, heads=heads)
    call = sample(model, dtype=torch.float32)
    expected = model(**call)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(**call).float()
    assert (found - expected).norm() < 0.05 * expected.norm()
    found.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@both
def test_models_of_16_bits_stay_close(name, dtype):
    model = build(name, torch.float32)
    call = sample(model, dtype=torch.float32)
    expected = model(**call)
    small = {k: v.to(dtype) if k in ("points", "parameters") else v for k, v in call.items()}
    small["inputs"] = [f.to(dtype) for f in call["inputs"]]
    found = model.to(dtype)(**small)
    assert found.dtype == dtype
    assert (found.float() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("name", ["gnot", pytest.param("cgptno", marks=pytest.mark.slow)])
def test_compiles_without_a_graph_break(name):
    model = build(name, depth=1, input_channels=(3,))
    call = sample(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(**call), model(**call))


@pytest.mark.slow
@both
def test_trains_when_compiled(name):
    model = build(name, depth=1)
    call = sample(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    gradients = []
    for run in (model, compiled):
        model.zero_grad()
        run(**call).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", ["gnot", pytest.param("cgptno", marks=pytest.mark.slow)])
def test_exports_for_any_number_of_points(name):
    model = build(name, depth=1)
    call = full(model, (6, 6))
    args = (call["points"], call["parameters"], tuple(call["inputs"]))
    n, m = torch.export.Dim("n", min=2, max=100_000), torch.export.Dim("m", min=2, max=100_000)
    shapes = {"points": {1: n}, "parameters": None, "inputs": ({1: m}, None)}
    program = torch.export.export(model, args, dynamic_shapes=shapes)
    other = full(model, (13, 13))
    other["inputs"][1] = call["inputs"][1]
    args = (other["points"], other["parameters"], tuple(other["inputs"]))
    torch.testing.assert_close(program.module()(*args), model(*args))
    assert not [node for node in program.graph.nodes if "surform" in str(node.target)]


def test_the_reference_kernels_give_the_same():
    model = build()
    call = sample(model)
    expected = model(**call)
    with attention.use("reference"):
        torch.testing.assert_close(model(**call), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "dim 12 is not divisible by heads 5"),
        ({"depth": 0}, "depth is 0"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"parameters": -1}, "parameters is -1"),
        ({"input_channels": (3, 0)}, r"input_channels\[1\] is 0"),
        ({"activation": "gelo"}, "did you mean 'gelu'"),
        ({"mlp_ratio": 0.01}, "leaves no hidden channel"),
        ({"dropout": 1.0}, r"dropout is 1.0, but must lie in \[0, 1\)"),
        ({"attention_dropout": -0.1}, "attention_dropout is -0.1"),
        ({"horiz_fourier_dim": -1}, "horiz_fourier_dim is -1"),
        ({"quadrature": True, "legacy_padding": True}, "legacy_padding must be off"),
    ],
)
@both
def test_constructor_names_what_is_wrong(name, options, message):
    with pytest.raises(ValueError, match=message):
        MODELS[name](**(SMALL | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 0}, "experts is 0"),
        ({"space_dim": 3}, "space_dim is 3, but the points have in_channels = 2 columns"),
        ({"space_dim": 0}, "space_dim is 0"),
    ],
)
def test_constructor_of_gnot_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        GNOT(**(SMALL | options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(2, 7, 3)}, r"\(2, 7, 3\), expected \(b, n, in_channels\)"),
        ({"points": torch.zeros(7, 2)}, r"points have shape \(7, 2\)"),
        ({"parameters": None}, r"parameters are missing, expected .* \(2, 2\)"),
        ({"parameters": torch.zeros(2, 3)}, r"of shape \(2, 3\), expected"),
        ({"inputs": []}, "0 input functions are given, the network was built for 2"),
        ({"inputs": [torch.zeros(2, 7, 3)] * 2}, r"inputs\[1\] has shape \(2, 7, 3\)"),
        ({"mask": torch.ones(2, 7)}, r"mask is torch.float32 of shape \(2, 7\), expected bool"),
        ({"mask": torch.ones(2, 6) > 0}, r"mask is torch.bool of shape \(2, 6\)"),
        ({"input_masks": [None]}, "1 input_masks for 2 input functions"),
        ({"input_masks": [torch.ones(2, 3) > 0, None]}, r"input_masks\[0\] is"),
        ({"weights": torch.ones(2, 5)}, r"weights are torch.float32 of shape \(2, 5\)"),
        ({"input_weights": [None, torch.ones(7)]}, r"input_weights\[1\] are"),
        ({"chunk": 0}, "chunk is 0"),
    ],
)
def test_forward_names_what_is_wrong(change, message):
    model = build(dtype=torch.float32)
    with pytest.raises(ValueError, match=message):
        model(**(full(model, dtype=torch.float32) | change))
