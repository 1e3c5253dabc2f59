"""FactFormer models: counts, properties, resolutions, errors, precisions, compilers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from surform.operators.factformer import FactFormer2d, FactFormer3d, FactFormerSteady2d
from tests.operators.literal_factformer import literal_forward, literal_steady
from tests.operators.literal_factformer3d import literal_volume

SMALL = {"dim": 16, "depth": 2, "heads": 2, "head_dim": 6}
NORMS = ["group", "row_instance", "channel_instance"]


def axes(*sizes: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return tuple(torch.linspace(0, 1, n, dtype=dtype) for n in sizes)


def steady(**options) -> FactFormerSteady2d:
    return FactFormerSteady2d(**SMALL | options)


def window(**options) -> FactFormer2d:
    return FactFormer2d(**SMALL | {"input_steps": 3} | options)


def volume(**options) -> FactFormer3d:
    return FactFormer3d(**SMALL | {"input_steps": 3, "depth": 1} | options)


def example(model: nn.Module, batch: int = 2) -> tuple[Tensor, tuple[Tensor, ...]]:
    if isinstance(model, FactFormerSteady2d):
        return torch.randn(batch, 9, 8, model.in_channels), axes(9, 8)
    if isinstance(model, FactFormer2d):
        return torch.randn(batch, 3, 9, 8, model.in_channels), axes(9, 8)
    return torch.randn(batch, 3, 5, 6, 7, model.in_channels), axes(5, 6, 7)


MODELS = [steady, window, volume]


@pytest.mark.parametrize(
    ("model", "count"),
    [(FactFormer2d, 3_464_001), (FactFormerSteady2d, 3_750_337), (FactFormer3d, 4_502_340)],
)
def test_defaults_have_the_published_number_of_parameters(model, count):
    assert sum(parameter.numel() for parameter in model().parameters()) == count


def test_initialisation_is_the_published_one():
    torch.manual_seed(0)
    model = FactFormer2d()
    kernel = model.layers[0].block.axes[0]
    bound = 0.02 * (6 / sum(kernel.to_query.weight.shape)) ** 0.5
    assert kernel.to_query.weight.abs().max() <= bound
    assert kernel.to_query.weight.abs().max() > 0.99 * bound
    assert model.marching.step_embedding.std().item() == pytest.approx(0.02, rel=0.1)
    frequencies = model.layers[0].encoding.frequencies
    assert frequencies.std().item() == pytest.approx(8, rel=0.2)
    assert not frequencies.requires_grad


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_window_model_equals_the_literal_formulas(norm, dtype):
    torch.manual_seed(0)
    model = window(out_norm=norm, kernel_multiplier=5).to(dtype)
    u, x = torch.randn(2, 3, 10, 7, 1, dtype=dtype), axes(10, 7, dtype=dtype)
    same_as_literal(model, model(u, x), literal_forward(model, u, x), dtype)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_steady_model_equals_the_literal_formulas(norm, dtype):
    torch.manual_seed(0)
    model = steady(out_norm=norm, in_channels=2).to(dtype)
    u, x = torch.randn(2, 10, 7, 2, dtype=dtype), axes(10, 7, dtype=dtype)
    same_as_literal(model, model(u, x), literal_steady(model, u, x), dtype)


@pytest.mark.parametrize("options", [{}, {"padding": 0, "skip": False, "in_channels": 2}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_volume_model_equals_the_literal_formulas(options, dtype):
    torch.manual_seed(0)
    model = volume(**{"in_channels": 4, "depth": 2} | options).to(dtype)
    u = torch.randn(2, 3, 5, 6, 7, model.in_channels, dtype=dtype)
    x = axes(5, 6, 7, dtype=dtype)
    same_as_literal(model, model(u, x), literal_volume(model, u, x), dtype)


def same_as_literal(model: nn.Module, ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    found = gradients(model, ours.square().sum())
    expected = gradients(model, theirs.square().sum())
    for name in expected:
        scale = expected[name].abs().max().item()
        tolerance = 1e-9 if dtype == torch.float64 else 2e-3
        assert (found[name] - expected[name]).abs().max() <= tolerance * scale + 1e-12, name


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


@pytest.mark.parametrize("make", MODELS)
def test_samples_do_not_see_each_other(make):
    model = make().double()
    u, x = example(model, batch=3)
    u = u.double()
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(model(u[order], x), model(u, x)[order])
    torch.testing.assert_close(model(u[1:2], x), model(u, x)[1:2])


@pytest.mark.parametrize("make", [window, volume])
def test_fewer_steps_give_the_first_frames(make):
    model = make(max_steps=4).double()
    u, x = example(model)
    every = model(u.double(), x)
    assert every.shape[1] == 4
    for steps in (1, 3):
        torch.testing.assert_close(model(u.double(), x, steps), every[:, :steps])


@pytest.mark.parametrize("make", MODELS)
def test_with_and_without_gradients_agree(make):
    model = make().double()
    u, x = example(model)
    with torch.no_grad():
        quiet = model(u.double(), x)
    torch.testing.assert_close(quiet, model(u.double(), x))
    with torch.inference_mode():
        torch.testing.assert_close(quiet, model(u.double(), x))
    model(u.double(), x).sum().backward()  # nothing kept from inference mode spoils training


@pytest.mark.parametrize("norm", NORMS)
def test_recomputing_changes_memory_only(norm):
    torch.manual_seed(0)
    kept = window(out_norm=norm).double()
    redone = window(out_norm=norm, recompute=True).double()
    redone.load_state_dict(kept.state_dict())
    u, x = example(kept)
    found = [gradients(model, model(u.double(), x).square().sum()) for model in (kept, redone)]
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name])


@pytest.mark.parametrize("make", MODELS)
def test_other_resolutions_and_length_one_axes(make):
    model = make()
    rank = 3 if make is volume else 2
    for sizes in ((4, 7, 5)[:rank], (6, 6, 6)[:rank], (1, 5, 2)[:rank]):
        frames = () if make is steady else (3,)
        u = torch.randn(1, *frames, *sizes, model.in_channels)
        out = model(u, axes(*sizes))
        assert out.shape[:-1] == (*((1,) if make is steady else (1, 4)), *sizes)
        assert out.isfinite().all()


def test_a_steady_map_converges_under_refinement():
    """A finer sampling of the same function gives nearly the same kernels: pooling is a mean."""
    torch.manual_seed(0)
    block = window().layers[0].block.double()
    coarse, fine = (kernels_of(block, n) for n in (32, 64))
    error = (fine[..., ::2, ::2] - coarse).abs().max() / coarse.abs().max()
    assert error < 0.05


def kernels_of(block: nn.Module, n: int) -> Tensor:
    x = torch.arange(n, dtype=torch.float64) / n
    waves = torch.stack([torch.sin(2 * torch.pi * (x + k / 16)) for k in range(16)], -1)
    u = waves[None, :, None] + 0.5 * waves[None, None, :].cos()
    return block.kernels(u, (x, x))[0]


def test_the_chain_depends_on_the_order_of_axes_only_through_its_norm():
    """Kernels on different axes commute: swapping axes and weights swaps the result."""
    torch.manual_seed(0)
    block = window(depth=1).layers[0].block.double()
    swapped = copy.deepcopy(block)
    swapped.axes = nn.ModuleList(reversed(list(swapped.axes)))
    u, (x, y) = torch.randn(2, 6, 9, 16).double(), axes(6, 9, dtype=torch.float64)
    torch.testing.assert_close(swapped(u.transpose(1, 2), (y, x)), block(u, (x, y)).transpose(1, 2))


def test_positions_of_padded_cells_can_be_given():
    model = volume(padding=2).double()
    u, x = torch.randn(1, 3, 6, 6, 6, 4).double(), axes(6, 6, 6, dtype=torch.float64)
    longer = tuple(torch.cat((t, t[-1] + t[-1] / 6 * torch.arange(1, 3))) for t in x)
    torch.testing.assert_close(model(u, longer), model(u, x))


@pytest.mark.parametrize("make", MODELS)
def test_second_derivatives_exist_and_are_right(make):
    torch.manual_seed(0)
    model = make(depth=1).double()
    u, x = example(model, batch=1)
    u = u.double().requires_grad_()
    direction = torch.randn_like(u)

    def slope(at: Tensor) -> Tensor:
        (g,) = torch.autograd.grad(model(at, x).square().mean(), at, create_graph=True)
        return (g * direction).sum()

    (curvature,) = torch.autograd.grad(slope(u), u)
    step = 1e-5 * direction
    difference = (slope(u + step) - slope(u - step)).item() / 2e-5
    assert (curvature * direction).sum().item() == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("make", MODELS)
def test_bfloat16_and_float16_autocast_stay_finite_and_close(make):
    torch.manual_seed(0)
    model = make()
    u, x = example(model)
    exact = model(u, x)
    for dtype, factor in ((torch.bfloat16, 1.0), (torch.float16, 100.0)):
        with torch.autocast("cpu", dtype=dtype):
            out = model(factor * u, x)
        assert out.isfinite().all()
        if factor == 1.0:
            assert (out.float() - exact).abs().max() <= 0.05 * exact.abs().max()
        model.zero_grad()
        out.float().sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", MODELS)
def test_models_in_16_bits_stay_close_and_train(make, dtype):
    torch.manual_seed(0)
    model = make()
    u, x = example(model)
    exact = model(u, x)
    out = model.to(dtype)(u.to(dtype), x)
    assert out.dtype == dtype
    assert (out - exact).norm() <= 16 * torch.finfo(dtype).eps * exact.norm()
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("make", MODELS)
def test_an_empty_batch_gives_an_empty_result(make):
    model = make()
    u, x = example(model)
    assert model(u[:0], x).shape == (0, *model(u, x).shape[1:])


@pytest.mark.parametrize("make", MODELS)
def test_compiles_without_graph_break(make):
    torch._dynamo.reset()
    model = make(depth=1)
    u, x = example(model, batch=1)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(u, x), model(u, x), rtol=1e-4, atol=1e-5)
    compiled(u, x).sum().backward()
    assert model.lift.weight.grad is not None


@pytest.mark.parametrize("make", MODELS)
def test_exports_to_plain_operations(make):
    model = make(depth=1).eval()
    u, x = example(model, batch=1)
    program = torch.export.export(model, (u, x))
    assert not [n for n in program.graph.nodes if "surform" in str(n.target)]
    torch.testing.assert_close(program.module()(u, x), model(u, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
def test_arguments_are_recorded_and_rebuild_the_model(make):
    model = make(out_norm="row_instance")
    twin = type(model)(**model.arguments)
    twin.load_state_dict(model.state_dict())
    u, x = example(model)
    torch.testing.assert_close(twin(u, x), model(u, x))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (steady, {"out_norm": "groups"}, "did you mean 'group'"),
        (steady, {"out_norm": "batch"}, "choose from|must be one of"),
        (steady, {"dim": 6}, "2 \\* dim = 12 must be a multiple of 8"),
        (steady, {"heads": 0}, "heads"),
        (steady, {"head_dim": 3, "kernel_multiplier": 1}, "must be even for rotary"),
        (window, {"latent_multiplier": 1.3}, "latent_multiplier"),
        (window, {"input_steps": 0}, "input_steps"),
        (window, {"depth": 1.5}, "depth"),
        (volume, {"in_channels": 3}, "multiple of 2 \\* in_channels = 6"),
        (volume, {"norm_groups": 5}, "norm_groups is 5"),
        (volume, {"padding": -1}, "padding"),
        (volume, {"latent_multiplier": 0.1}, "^latent_multiplier is 0.1"),
        (window, {"latent_multiplier": 1.3, "dim": 80}, r"int\(8 \* latent_multiplier\).* is 10"),
    ],
)
def test_wrong_arguments_are_named(make, options, message):
    with pytest.raises(ValueError, match=message) as error:
        make(**options)
    assert "\n" not in str(error.value)


def test_wrong_inputs_are_named():
    model = window()
    u, x = example(model)
    with pytest.raises(ValueError, match="1 coordinates for a grid of 2 axes"):
        model(u, x[:1])
    with pytest.raises(ValueError, match=r"coordinates\[1\] has shape \(9,\)"):
        model(u, (x[0], x[0]))
    with pytest.raises(ValueError, match="has 2 frames"):
        model(u[:, 1:], x)
    with pytest.raises(ValueError, match="has 2 channels"):
        model(u.expand(-1, -1, -1, -1, 2), x)
    with pytest.raises(ValueError, match="expected"):
        model(u[0], x)
    for steps in (0, 5):
        with pytest.raises(ValueError, match="1 to 4"):
            model(u, x, steps)
