"""Properties of GNOT and CGPTNO."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from surform import attention
from surform.operators.gnot import CGPTNO, GNOT
from surform.registry import create_model
from tests.operators.literal_gnot import literal_forward

SMALL = {
    "in_channels": 2,
    "out_channels": 3,
    "parameters": 2,
    "input_channels": (3, 4),
    "dim": 12,
    "depth": 2,
    "heads": 2,
    "mlp_depth": 1,
}
VARIANTS = [
    {"heads": 1, "activation": "tanh"},
    {"heads": 6, "activation": "relu", "mlp_depth": 0},
    {"input_channels": (), "parameters": 0, "activation": "sigmoid"},
    {"input_channels": (2,), "horiz_fourier_dim": 2, "depth": 1},
    {"in_channels": 5, "mlp_ratio": 1.5, "depth": 3},
]
MODELS = {"gnot": GNOT, "cgptno": CGPTNO}
both = pytest.mark.parametrize("name", MODELS)


def build(name="gnot", dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = MODELS[name](**(SMALL | options)).to(dtype).eval()
    for p in model.parameters():  # norms, too
        p.data.add_(0.1 * torch.randn_like(p))
    return model


def sample(model, counts=(9, 5), inputs=None, dtype=torch.float64, seed=1):
    """Samples of these numbers of points, as keyword arguments; padding holds NaN."""
    g = torch.Generator().manual_seed(seed)

    def rows(lengths, channels):
        values = torch.full((len(lengths), max(lengths), channels), torch.nan, dtype=dtype)
        for i, n in enumerate(lengths):
            values[i, :n] = torch.randn(n, channels, generator=g, dtype=dtype)
        return values, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    points, mask = rows(counts, model.in_channels)
    functions = [rows([n + j for n in counts[::-1]], c) for j, c in enumerate(model.input_channels)]
    return {
        "points": points,
        "parameters": torch.randn(len(counts), model.parameter_count, generator=g, dtype=dtype),
        "inputs": [f for f, _ in functions],
        "mask": mask,
        "input_masks": [m for _, m in functions],
    }


def alone(call, i):
    """Sample i of a batch without its padding."""
    keep = call["mask"][i]
    return {
        "points": call["points"][i : i + 1, keep],
        "parameters": call["parameters"][i : i + 1],
        "inputs": [
            f[i : i + 1, m[i]] for f, m in zip(call["inputs"], call["input_masks"], strict=True)
        ],
    }


def full(model, counts=(7, 7), **options):
    """Samples without padding."""
    call = sample(model, counts, **options)
    call["inputs"] = [f[:, : min(counts)] for f in call["inputs"]]
    return {k: v for k, v in call.items() if "mask" not in k}


def count(model):
    return sum(p.numel() for p in model.parameters())


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
