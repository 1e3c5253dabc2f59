"""Properties of GNOT and CGPTNO."""

from __future__ import annotations

import copy

import pytest
import torch

from surform.operators.gnot import CGPTNO, GNOT
from tests.operators.gnot_models import (
    VARIANTS,
    alone,
    both,
    build,
    count,
    full,
    sample,
)
from tests.operators.literal_gnot import literal_forward


@pytest.mark.parametrize("options", [{}, *VARIANTS])
@both
def test_equals_the_official_operations(name, options):
    model = build(name, **options)
    call = full(model)
    torch.testing.assert_close(
        model(**call),
        literal_forward(model, call["points"], call["parameters"], call["inputs"]),
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize("options", [{}, VARIANTS[1], VARIANTS[2]])
@both
def test_gradients_equal_those_of_the_official_operations(name, options):
    model = build(name, **options)
    call = full(model)
    call["points"].requires_grad_()
    inputs = [call["points"], *model.parameters()]
    outs = (
        model(**call),
        literal_forward(model, call["points"], call["parameters"], call["inputs"]),
    )
    found, expected = (torch.autograd.grad(out.sin().sum(), inputs) for out in outs)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("options", [{}, *VARIANTS])
@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_trains_every_parameter(name, options, dtype):
    model = build(name, dtype, **options).train()
    call = sample(model, dtype=dtype)
    y = model(**call)
    assert (y.shape, y.dtype) == ((2, 9, 3), dtype)
    y.square().mean().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@both
def test_a_sample_does_not_depend_on_its_batch_mates(name):
    model = build(name)
    call = sample(model, (9, 5, 7))
    together = model(**call)
    other = copy.deepcopy(call)
    for f in (other["points"], other["parameters"], *other["inputs"]):
        f[1:] *= 1.7
    assert torch.equal(model(**other)[0], together[0])  # equal padding: bit for bit
    for i, n in enumerate((9, 5, 7)):
        torch.testing.assert_close(model(**alone(call, i))[0], together[i, :n], rtol=0, atol=1e-12)
    assert not together[~call["mask"]].any()


@both
def test_padding_has_no_gradient(name):
    model = build(name)
    call = sample(model)
    call["points"] = call["points"].nan_to_num().requires_grad_()
    call["inputs"] = [f.nan_to_num().requires_grad_() for f in call["inputs"]]
    model(**call).sum().backward()
    assert not call["points"].grad[~call["mask"]].any()
    for f, m in zip(call["inputs"], call["input_masks"], strict=True):
        assert not f.grad[~m].any()
        assert f.grad[m].any()


@both
def test_legacy_padding_lets_zeros_take_part(name):
    model, call = build(name, legacy_padding=True), sample(build(name))
    zeros = {
        "points": call["points"].nan_to_num(),
        "parameters": call["parameters"],
        "inputs": [f.nan_to_num() for f in call["inputs"]],
    }
    expected = literal_forward(model, zeros["points"], zeros["parameters"], zeros["inputs"])
    found = model(**call)
    mask = call["mask"]
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-11, atol=1e-11)
    with_masks = build(name)(**call)
    assert (found - with_masks)[1].abs().max() > 1e-3 * with_masks.abs().max()
    single = alone(call, 0)
    torch.testing.assert_close(model(**single), build(name)(**single), rtol=1e-12, atol=1e-12)


@both
def test_the_order_of_points_does_not_matter(name):
    model = build(name)
    call = full(model, (11, 11))
    order, other = torch.randperm(11), torch.randperm(11)
    moved = call | {
        "points": call["points"][:, order],
        "inputs": [call["inputs"][0][:, other], *call["inputs"][1:]],
    }
    torch.testing.assert_close(model(**moved), model(**call)[:, order], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("options", [{}, {"quadrature": True}, {"legacy_padding": True}])
@both
def test_pieces_give_the_same(name, options, chunk):
    model = build(name, **options)
    call = sample(model)
    if "quadrature" in options:
        call["weights"] = torch.rand(2, 9, dtype=torch.float64)
    expected = model(**call)
    torch.testing.assert_close(model(**call, chunk=chunk), expected, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        torch.testing.assert_close(model(**call, chunk=chunk), expected, rtol=1e-11, atol=1e-11)


def test_inference_on_many_points_is_the_same_in_one_piece_and_in_many():
    model = build(dtype=torch.float32)
    call = full(model, (3000, 3000), dtype=torch.float32)
    with torch.no_grad():
        found, expected = model(**call), model(**call, chunk=3000)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@both
def test_input_functions_of_any_length_and_none_at_all(name):
    model = build(name)
    call = alone(sample(model), 0)
    without = build(name, input_channels=())
    without.load_state_dict(
        {k: v for k, v in model.state_dict().items() if k in without.state_dict()}
    )
    nothing = call | {"inputs": [f[:, :0] for f in call["inputs"]]}
    expected = without(call["points"], call["parameters"])
    torch.testing.assert_close(model(**nothing), expected, rtol=1e-12, atol=1e-12)
    masked = call | {
        "input_masks": [torch.zeros(f.shape[:2], dtype=torch.bool) for f in call["inputs"]]
    }
    torch.testing.assert_close(model(**masked), expected, rtol=1e-12, atol=1e-12)
    assert (model(**call) - expected).abs().max() > 1e-3
    assert model(**call | {"points": call["points"][:, :0]}).shape == (1, 0, 3)


@both
def test_quadrature_weighs_keys(name):
    plain, model = build(name), build(name, quadrature=True)
    call = sample(model)
    weights = torch.rand(2, 9, dtype=torch.float64)
    uniform = {
        "weights": torch.full_like(weights, 0.2),
        "input_weights": [
            torch.full(f.shape[:2], 3.0, dtype=torch.float64) for f in call["inputs"]
        ],
    }
    expected = plain(**call)
    torch.testing.assert_close(model(**call, **uniform), expected, rtol=1e-11, atol=1e-11)
    assert (model(**call, weights=weights) - expected).abs().max() > 1e-4
    torch.testing.assert_close(
        plain(**call, weights=weights), expected
    )  # read with quadrature only
    # a key of double weight is a key twice
    one = alone(call, 0)
    twice = [torch.cat([one["inputs"][0], one["inputs"][0][:, :1]], dim=1), one["inputs"][1]]
    double = torch.ones(1, one["inputs"][0].shape[1], dtype=torch.float64)
    double[0, 0] = 2
    torch.testing.assert_close(
        model(**one, weights=torch.ones(1, 9).double(), input_weights=[double, None]),
        model(**one | {"inputs": twice}, weights=torch.ones(1, 9).double()),
        rtol=1e-11,
        atol=1e-11,
    )


def test_quadrature_makes_the_mesh_density_matter_less():
    """A region meshed twice as finely, its weights halved, changes nothing."""
    model = build(quadrature=True)
    call = full(model, (8, 8))
    fine = torch.cat([call["points"], call["points"][:, :3]], dim=1)
    weights = torch.ones(2, 8, dtype=torch.float64)
    halves = torch.ones(2, 11, dtype=torch.float64)
    halves[:, [0, 1, 2, 8, 9, 10]] = 0.5
    torch.testing.assert_close(
        model(**call | {"points": fine}, weights=halves)[:, :8],
        model(**call, weights=weights),
        rtol=1e-11,
        atol=1e-11,
    )


def test_one_expert_has_no_gate_and_the_gate_sees_positions_only():
    assert all(layer.gate is None for layer in build(experts=1).layers)
    model = build(in_channels=4, space_dim=2)
    gates = model.layers[0].gates(torch.randn(1, 6, 2).double())
    torch.testing.assert_close(gates.sum(-1), torch.ones(1, 6).double())
    assert model.layers[0].gate.first.in_features == 2
    assert build(in_channels=4).layers[0].gate.first.in_features == 4


def test_gates_of_the_same_positions_are_made_once_in_inference(monkeypatch):
    model = build(dtype=torch.float32)
    call = full(model, (7, 7), dtype=torch.float32)
    made = []
    for layer in model.layers:
        layer.gate.register_forward_hook(lambda *_: made.append(1))
    with torch.no_grad():
        expected = model(**call)
        assert len(made) == 2  # one per layer
        assert torch.equal(model(**call), expected)
        assert len(made) == 2
        moved = call["points"] + 1.0
        fresh = build(dtype=torch.float32)(**call | {"points": moved})
        assert torch.equal(model(**call | {"points": moved}), fresh)
        call["points"].add_(1.0)  # in place: seen as well
        assert torch.equal(model(**call), fresh)
        assert len(made) == 4
        model.layers[0].gate.first.bias.data.add_(0.5)
        assert not torch.equal(model(**call), fresh)
        assert len(made) == 5
    model(**call)
    assert len(made) == 7  # with gradients always anew


def test_published_sizes_have_the_published_number_of_parameters():
    sizes = {"dim": 128, "depth": 3, "out_channels": 3, "parameters": 12, "input_channels": (3, 3)}
    assert count(GNOT(**sizes, experts=3)) == 3_935_500
    assert count(CGPTNO(**sizes)) == 1_557_763


@both
def test_dropout_acts_in_training_only(name):
    model = build(name, dropout=0.3, attention_dropout=0.2)
    call = full(model)
    assert torch.equal(model(**call), model(**call))
    torch.testing.assert_close(model(**call), build(name)(**call))
    model.train()
    assert not torch.equal(model(**call), model(**call))


@both
def test_physics_losses_differentiate_twice(name):
    model = build(name, depth=1, dim=4, mlp_ratio=1.0)
    call = alone(sample(model, (3, 3)), 0)

    def field(points):
        return model(points, call["parameters"], call["inputs"])

    points = call["points"].requires_grad_()
    assert torch.autograd.gradcheck(field, (points,))
    assert torch.autograd.gradgradcheck(field, (points,))


@both
def test_second_derivatives_of_the_parameters(name):
    """The gradient of a loss on first derivatives, against the plain operations."""
    model = build(name, activation="tanh")
    call = full(model)
    points = call["points"].requires_grad_()

    def gradients(out):
        (slope,) = torch.autograd.grad(out.sum(), points, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [*model.parameters()], allow_unused=True)

    found = gradients(model(**call))
    expected = gradients(literal_forward(model, points, call["parameters"], call["inputs"]))
    for mine, theirs in zip(found, expected, strict=True):
        mine, theirs = (0.0 * points.sum() if g is None else g for g in (mine, theirs))
        torch.testing.assert_close(mine, theirs.expand_as(mine), rtol=1e-8, atol=1e-9)
