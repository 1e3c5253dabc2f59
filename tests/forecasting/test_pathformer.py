"""Pathformer: counts, literal formulas, routing, properties, errors, precisions, compilers."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from surform import attention
from surform.forecasting.pathformer import Pathformer
from surform.forecasting.pathformer_patches import PUBLISHED, check_patches, fitting_patches
from surform.recipes import find_recipe, list_recipes
from tests.forecasting.literal_pathformer import literal_forward

SMALL = {"lookback": 24, "horizon": 8, "variates": 4, "dim": 4}
SMALL |= {"patch_sizes": ((8, 6, 4), (3, 2, 12))}
QUIET = {"dropout": 0.0, "ffn_dropout": 0.0}


def small(**options) -> Pathformer:
    torch.manual_seed(0)
    return Pathformer(**SMALL | options)


def history(batch: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 24, 4, generator=generator, dtype=dtype).cumsum(1)


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(model.parameters(), found, strict=True)
    ]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"top_k": 3, "dim": 4, "mlp_ratio": 16.0, "residual": True}, 410_342),
        (
            {
                "variates": 21,
                "dim": 8,
                "mlp_ratio": 8.0,
                "patch_sizes": ((16, 12, 8, 4), (12, 8, 6, 4), (8, 6, 2, 12)),
            },
            699_820,
        ),
    ],
)
def test_published_sizes_have_the_published_parameters_without_the_unused_ones(arguments, count):
    assert sum(parameter.numel() for parameter in Pathformer(**arguments).parameters()) == count


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 3},
        {"patch_sizes": ((8, 6, 4), (3, 2), (12, 1)), "top_k": 3},  # all of fewer experts
        {"top_k": 1, "residual": True, "restore_order": True},
        {"batch_norm": True, "normalize": False},
        {"patch_sizes": ((8, 1), (24, 2), (3, 3)), "dim": 6, "mlp_ratio": 2.5},
    ],
)
def test_it_equals_the_literal_formulas(options, train):
    model = small(**QUIET | options).double().train(train)
    torch.manual_seed(1)
    y, penalty = model.forecast_and_penalty(history())
    torch.manual_seed(1)  # the same noise of the router
    expected, cost = literal_forward(model, history())
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(penalty, cost)
    found = gradients(model, y.square().sum() + penalty)
    wanted = gradients(model, expected.square().sum() + cost)
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-9 * (1 + b.abs().max())


def test_float32_is_close_to_float64():
    model = small(**QUIET)
    y = model.eval()(history().float())
    torch.testing.assert_close(y.double(), model.double()(history()), rtol=1e-3, atol=1e-3)


def test_dropout_rates_reach_every_place():
    for options in ({"ffn_dropout": 0.0}, {"dropout": 0.0}):
        model = small(**options).double().train()
        noise = [torch.zeros(5, 3, dtype=torch.float64)] * 2
        draws = [model.forecast_and_penalty(history(), gate_noise=noise)[0] for _ in range(2)]
        assert not torch.allclose(*draws)
    model = small(**QUIET).double().train()
    draws = [model.forecast_and_penalty(history(), gate_noise=noise)[0] for _ in range(2)]
    assert torch.equal(*draws)


def test_training_is_a_function_of_the_seed():
    model = small().train()
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(model(history(dtype=torch.float32)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])


def test_samples_do_not_see_each_other():
    model = small().double().eval()
    x, order = history(), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(model(x[order]), model(x)[order])
    torch.testing.assert_close(model(x[2:3]), model(x)[2:3])


def test_units_of_a_variate_do_not_matter():
    """Normalisation per sample and variate: a shifted and scaled history shifts the forecast."""
    model = small().double().eval()
    x, scale, shift = history(), torch.tensor([1.0, 100.0, 0.5, 3.0]), torch.tensor([0.0, 5, -9, 1])
    expected = model(1e3 * x) * scale + shift
    torch.testing.assert_close(model(1e3 * x * scale + shift), expected, rtol=1e-6, atol=1e-4)


def test_the_right_order_keeps_nodes_apart_between_patches():
    """Only the router sees several variates then; the published order mixes them."""
    for restore_order in (True, False):
        inter = small(restore_order=restore_order).double().eval().layers[0].experts[0].inter
        x = torch.randn(4, 8, 3, 4, 2, dtype=torch.float64)
        other = x.clone()
        other[:, :, :, 1] += 1.0
        moved = (inter(other) - inter(x)).abs().amax((0, 1, 3)) > 1e-12
        assert moved.tolist() == ([False, True, False, False] if restore_order else [True] * 4)


def test_batches_of_one_and_one_expert_train():
    for options in ({}, {"patch_sizes": ((8,), (6,)), "top_k": 1}):
        model = small(**options).train()
        y, penalty = model.forecast_and_penalty(history(1, torch.float32))
        (y.abs().mean() + penalty).backward()
        assert penalty.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_an_empty_batch_gives_an_empty_forecast():
    assert small().eval()(history(0, torch.float32)).shape == (0, 8, 4)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_expert_nobody_takes_is_left_alone(batch_norm):
    model = small(top_k=1, batch_norm=batch_norm).train()
    with torch.no_grad():
        model.layers[0].router.gate.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
        model.layers[0].router.gate.weight.zero_()
    before = copy.deepcopy(model.layers[0].experts[1].state_dict())
    y, penalty = model.forecast_and_penalty(history(dtype=torch.float32))
    (y.sum() + penalty).backward()
    unused = model.layers[0].experts[1]
    assert all(p.grad is None or not p.grad.any() for p in unused.parameters())
    assert all(torch.equal(before[k], v) for k, v in unused.state_dict().items())


def test_weights_of_nodes_are_kept_between_evaluations_and_never_stale():
    model = small().double().eval()
    weights = model.layers[0].node_weights
    with torch.no_grad():
        first = model(history())
        kept = weights()
        assert weights() is kept
        weights.memory.mul_(1.5)
        assert weights() is not kept
        changed = model(history())
        assert not torch.allclose(first, changed)
    assert weights()[0].token.requires_grad  # made anew where gradients are wanted
    torch.testing.assert_close(model(history()), changed)
    twin = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(twin(history()), changed)
    with torch.inference_mode():
        model(history())
    model.train()(history()).sum().backward()  # nothing kept from inference mode spoils training


def test_bfloat16_autocast_stays_finite_and_close():
    model = small(**QUIET, top_k=3)
    x = history(dtype=torch.float32)
    exact = model.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
    assert (out.float() - exact).abs().max() <= 0.05 * (exact.abs().max() + 1)
    model.train().zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, penalty = model.forecast_and_penalty(x)
    (y.float().abs().mean() + penalty).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_model_in_bfloat16_runs_and_trains():
    model = small().bfloat16().train()
    y, penalty = model.forecast_and_penalty(history(dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    (y.float().abs().mean() + penalty).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_second_derivatives_exist_on_request_and_are_right():
    model = small(**QUIET, normalize=False).double().eval()
    x = history(70).requires_grad_()
    direction = torch.randn_like(x)

    def slope(at: Tensor, again: bool) -> Tensor:
        (g,) = torch.autograd.grad(model(at).square().mean(), at, create_graph=again)
        return (g * direction).sum()

    with attention.use(second_order=True):
        (curvature,) = torch.autograd.grad(slope(x, True), x)
    step = 1e-6 * direction
    ahead, behind = (slope((x + s).detach().requires_grad_(), False) for s in (step, -step))
    difference = (ahead - behind).item() / 2e-6
    assert (curvature * direction).sum().item() == pytest.approx(difference, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_compiles_without_graph_break(train):
    torch._dynamo.reset()
    patches = ((8, 6),)  # tracing takes seconds per expert
    model = small(**QUIET, batch_norm=True, patch_sizes=patches, top_k=1).double().train(train)
    twin = copy.deepcopy(model)
    noise = [torch.randn(5, 2, dtype=torch.float64) for _ in patches]
    compiled = torch.compile(model.forecast_and_penalty, backend="aot_eager", fullgraph=True)
    with torch.set_grad_enabled(train):
        y, penalty = compiled(history(), gate_noise=noise)
    expected, cost = twin.forecast_and_penalty(history(), gate_noise=noise)
    torch.testing.assert_close((y, penalty), (expected, cost))
    torch.testing.assert_close(model.state_dict(), twin.state_dict())
    if train:
        found = gradients(model, y.square().sum() + penalty)
        for a, b in zip(found, gradients(twin, expected.square().sum() + cost), strict=True):
            assert (a - b).abs().max() <= 1e-9 * (1 + b.abs().max())


def test_exports_to_plain_operations():
    model = small(patch_sizes=((8, 6),), top_k=1).eval()
    x = history(dtype=torch.float32)
    program = torch.export.export(model, (x,))
    assert not [n for n in program.graph.nodes if "surform" in str(n.target)]
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-4)


def test_patch_sizes_that_nobody_named_are_the_published_ones_or_the_nearest_that_fit():
    for lookback in (96, 192, 672):
        assert fitting_patches(lookback, 2) == PUBLISHED
    assert fitting_patches(168, 2) == ((14, 12, 8, 28), (12, 8, 6, 4), (8, 6, 4, 2))
    for lookback in range(12, 400):
        sizes = [d for d in range(2, lookback // 2 + 1) if lookback % d == 0]
        if len(sizes) >= 2:
            rows = fitting_patches(lookback, 2)
            assert all(set(row) <= set(sizes) and len(set(row)) == len(row) for row in rows)
            check_patches(rows, lookback, 2)
    model = small(patch_sizes=None, lookback=20).eval()
    assert model(torch.randn(2, 20, 4)).shape == (2, 8, 4)


def test_arguments_are_recorded_and_rebuild_the_model():
    model = small(residual=True, batch_norm=True).eval()
    twin = Pathformer(**model.arguments).eval()
    twin.load_state_dict(model.state_dict())
    x = history(dtype=torch.float32)
    torch.testing.assert_close(twin(x), model(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"patch_sizes": ((8, 7),)},
            "7 does not divide lookback = 24; valid are 1, 2, 3, 4, 6, 8, 12, 24, or null",
        ),
        ({"patch_sizes": None, "lookback": 97}, "lookback = 97 can be cut into patches of no step"),
        (
            {"patch_sizes": None, "lookback": 9, "top_k": 2},
            "into patches of 3 steps, too few sizes",
        ),
        ({"patch_sizes": ((8, 0),)}, "0 does not divide"),
        ({"patch_sizes": ((8, 2.0),)}, "2.0 does not divide"),
        ({"patch_sizes": ()}, "patch_sizes is empty"),
        ({"patch_sizes": ((8, 6), (3,)), "top_k": 3}, "no layer has more than 2 experts"),
        ({"top_k": 0}, "top_k"),
        ({"dim": 5}, "dim = 5 must be even"),
        ({"dim": 1}, "dim"),
        ({"mlp_ratio": 0.01}, "mlp_ratio = 0.01"),
        ({"variates": 0}, "variates"),
        ({"horizon": 1.5}, "horizon"),
        ({"dropout": 1.0}, "dropout"),
        ({"ffn_dropout": -0.1}, "ffn_dropout"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message) as error:
        small(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(2, 24, 5), (2, 23, 4), (24, 4)])
def test_wrong_histories_are_named(shape):
    with pytest.raises(ValueError, match=r"was built for \(batch, lookback, variates\)"):
        small()(torch.zeros(shape))


def test_wrong_noise_is_named():
    with pytest.raises(ValueError, match="gate_noise has 1 tensors, but there are 2 layers"):
        small().train().forecast_and_penalty(
            history(dtype=torch.float32), gate_noise=[torch.zeros(5, 3)]
        )


@pytest.mark.parametrize(
    "name", [n for n in list_recipes() if n.startswith("forecasting/pathformer-")]
)
def test_recipes_describe_networks_that_exist(name):
    import yaml

    recipe = yaml.safe_load(find_recipe(name).read_text())
    net, data = recipe["model"]["init_args"]["net"]["init_args"], recipe["data"]["init_args"]
    with torch.device("meta"):
        model = Pathformer(**net)
    assert (model.lookback, net["horizon"]) == (data["lookback"], data["horizon"])
    assert name.endswith(f"-{net['horizon']}")


def test_every_published_recipe_is_there():
    found = [n for n in list_recipes() if n.startswith("forecasting/pathformer-")]
    assert len(found) == 7 * 4
