"""Properties of the Galerkin Transformer models."""

from __future__ import annotations

import json
import warnings

import lightning
import pytest
import torch

from surform.operators.galerkin import GalerkinTransformer1d, GalerkinTransformer2d
from surform.registry import create_model

KINDS = ["galerkin", "linear", "fourier", "softmax"]
SMALL_1D = {"dim": 12, "depth": 2, "heads": 2, "decoder_dim": 6, "modes": 4}
SMALL_2D = {
    "dim": 12,
    "depth": 1,
    "heads": 2,
    "decoder_dim": 6,
    "modes": 3,
    "coarse_size": 6,
}
VARIANTS_1D = [
    {"attention": "galerkin", "head_norm": "instance"},
    {"attention": "softmax", "head_norm": None, "layer_norm": True, "residual": "minus"},
    {"attention": "linear", "batch_norm": True, "activation": "gelu", "skip_encoder": True},
    {"decoder": "pointwise", "grid_channels": 1, "decoder_activation": "relu"},
    {"position_channels": 0, "last_activation": False, "symmetric_init": True},
]
VARIANTS_2D = [
    {"attention": "fourier", "boundary": "dirichlet"},
    {"downscaler": "none", "upscaler": "none"},
    {"upscaler": "none", "decoder": "pointwise"},
    {"down_sizes": (0.7, 0.7), "up_sizes": ((8, 8), (9, 9)), "grid_channels": 0},
    {"downscaler": "conv", "upscaler": "conv", "downscaler_activation": "silu"},
]


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def line(n: int) -> tuple[torch.Tensor]:
    return (torch.linspace(0, 1, n),)


def small_1d(**options) -> GalerkinTransformer1d:
    torch.manual_seed(0)
    return GalerkinTransformer1d(**(SMALL_1D | options)).eval()


def small_2d(**options) -> GalerkinTransformer2d:
    torch.manual_seed(0)
    return GalerkinTransformer2d(**(SMALL_2D | options)).eval()


def test_defaults_have_the_published_number_of_parameters():
    assert parameters(GalerkinTransformer1d()) == 530_305
    assert parameters(GalerkinTransformer1d(attention="galerkin")) == 530_305
    assert parameters(GalerkinTransformer2d()) == 2_220_829
    inverse = GalerkinTransformer2d(dim=192, decoder="pointwise", decoder_depth=1, coarse_size=36)
    assert parameters(inverse) == 2_383_873


@pytest.mark.parametrize("variant", VARIANTS_1D)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variants_1d_run_and_train_every_parameter(variant, dtype):
    model = small_1d(in_channels=2, out_channels=3, **variant).to(dtype).train()
    y = model(torch.randn(2, 20, 2, dtype=dtype), line(20))
    assert y.shape == (2, 20, 3)
    assert y.dtype == dtype
    y.square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("variant", VARIANTS_2D)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variants_2d_run_and_train_every_parameter(variant, dtype):
    model = small_2d(in_channels=2, **variant).to(dtype).train()
    y = model(torch.randn(2, 24, 24, 2, dtype=dtype), line(24) * 2)
    assert y.dtype == dtype
    assert torch.isfinite(y).all()
    y.square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("variant", "size"),
    [({}, 24), ({"upscaler": "none"}, 6), ({"up_sizes": ((6, 6), (6, 6))}, 6)],
)
def test_output_lies_on_the_input_grid_or_on_the_coarse_one(variant, size):
    assert small_2d(**variant)(torch.zeros(1, 24, 24, 1), line(24) * 2).shape == (1, size, size, 1)


@pytest.mark.parametrize("model", [small_1d(attention=kind) for kind in KINDS], ids=KINDS)
def test_one_model_serves_every_resolution_in_1d(model):
    def value(n: int) -> torch.Tensor:
        x = torch.linspace(0, 1, n)
        return model(torch.cos(2 * torch.pi * x)[None, :, None], (x,))[0, :: (n - 1) // 32, 0]

    fine, coarse = value(257), value(129)
    assert (fine - coarse).abs().max() < 0.05 * fine.abs().max()


def test_one_model_serves_every_resolution_and_shape_in_2d():
    model = small_2d()
    for shape in ((24, 24), (31, 31), (20, 28)):
        coordinates = tuple(torch.linspace(0, 1, n) for n in shape)
        assert model(torch.randn(1, *shape, 1), coordinates).shape == (1, *shape, 1)


def test_coordinates_in_any_unit_stand_for_positions_from_zero_to_one():
    model, u = small_1d(grid_channels=1), torch.randn(2, 20, 1)
    unit = torch.linspace(0, 1, 20)[None, :, None].expand(2, -1, -1)
    expected = model(u, positions=unit, grid=unit)
    torch.testing.assert_close(model(u, (torch.linspace(3, 8, 20),)), expected)


def test_rim_is_zero_after_denormalising_and_takes_boundary_values():
    model, u = small_2d(boundary="dirichlet"), torch.randn(1, 12, 12, 1)
    y = model(u, line(12) * 2, denormalize=lambda y: y + 5)
    rim = torch.ones(12, 12, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    assert not y[0, rim].any()
    assert (y[0, ~rim] != 0).all()
    value = torch.full_like(y, 2.0)
    torch.testing.assert_close(
        model(u, line(12) * 2, boundary_value=value)[0, rim, 0], value[0, rim, 0]
    )


def test_eval_is_deterministic_and_legacy_score_dropout_is_not():
    u = torch.randn(1, 20, 1)
    model = small_1d(attention="galerkin", score_dropout=0.5, encoder_dropout=0.1)
    assert torch.equal(model(u, line(20)), model(u, line(20)))
    legacy = small_1d(attention="galerkin", legacy_score_dropout=True)
    assert not torch.equal(legacy(u, line(20)), legacy(u, line(20)))


def test_score_masks_of_ones_change_nothing():
    model, u = small_1d(attention="galerkin"), torch.randn(2, 20, 1)
    masks = [torch.ones(2, 2, 7, 7), None]
    torch.testing.assert_close(model(u, line(20), score_masks=masks), model(u, line(20)))


def test_skip_encoder_adds_the_embedding():
    plain, skipping = small_1d(), small_1d(skip_encoder=True)
    assert not torch.equal(
        plain(torch.ones(1, 20, 1), line(20)), skipping(torch.ones(1, 20, 1), line(20))
    )


def test_layers_start_as_copies_with_small_near_diagonal_maps():
    model = GalerkinTransformer1d()
    first, second = model.encoder.layers[0], model.encoder.layers[1]
    assert torch.equal(first.attention.qkv.weight, second.attention.qkv.weight)
    assert first.attention.qkv.weight is not second.attention.qkv.weight
    for weight in first.attention.qkv.weight.chunk(3):
        off = weight - 1e-2 * torch.eye(96)
        assert off.abs().max() <= 1e-3 * (6 / 192) ** 0.5
    assert model.decoder.convs[0].weight.std().item() == pytest.approx(
        (2 / ((96 + 48) * 32)) ** 0.5 / (96 * 48), rel=0.05
    )


@pytest.mark.parametrize("name", ["galerkin1d", "galerkin2d"])
def test_recorded_arguments_rebuild_the_model_through_json(name):
    model = create_model(name, **(SMALL_1D if name == "galerkin1d" else SMALL_2D), mlp_ratio=1.75)
    again = create_model(name, **json.loads(json.dumps(model.arguments)))
    again.load_state_dict(model.state_dict())
    u = torch.randn(1, 12, 1) if name == "galerkin1d" else torch.randn(1, 12, 12, 1)
    coordinates = line(12) * (u.ndim - 2)
    assert torch.equal(model.eval()(u, coordinates), again.eval()(u, coordinates))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", [1, 2])
def test_bf16_autocast_stays_close_and_trains(kind, axes):
    model = small_1d(attention=kind) if axes == 1 else small_2d(attention=kind)
    u = torch.randn(2, *(20,) * axes, 1)
    expected = model(u, line(20) * axes)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(u, line(20) * axes).float()
    assert (found - expected).norm() < 0.05 * expected.norm()
    found.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("axes", [1, 2])
def test_models_of_16_bits_stay_close(axes, dtype):
    model = small_1d(attention="galerkin") if axes == 1 else small_2d()
    u = torch.randn(2, *(20,) * axes, 1)
    expected = model(u, line(20) * axes)
    found = model.to(dtype)(u.to(dtype), line(20) * axes)
    assert found.dtype == dtype
    assert (found.float() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("axes", [1, 2])
def test_trains_in_bf16_true(axes):
    class Fit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = small_1d() if axes == 1 else small_2d()

        def training_step(self, batch, _):
            return self.net(batch, line(20) * axes).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-2)

    fit = Fit()
    before = fit.net.decoder.head.bias.detach().clone()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_steps=2, precision="bf16-true", accelerator="cpu", enable_model_summary=False, **quiet
    )
    data = torch.utils.data.DataLoader([torch.randn(*(20,) * axes, 1) for _ in range(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about workers and devices
        trainer.fit(fit, data)
    after = fit.net.decoder.head.bias.detach()
    assert after.dtype == torch.bfloat16
    assert not torch.equal(after.float(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_without_a_graph_break_1d(kind):
    model, u = small_1d(attention=kind, depth=1), torch.randn(2, 20, 1)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(u, line(20)), model(u, line(20)))


def test_compiles_without_a_graph_break_2d():
    model, u = small_2d(boundary="dirichlet"), torch.randn(2, 20, 20, 1)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(u, line(20) * 2), model(u, line(20) * 2))


@pytest.mark.slow
@pytest.mark.parametrize("axes", [1, 2])
def test_trains_when_compiled(axes):
    model = (small_1d if axes == 1 else small_2d)(depth=1)
    u = torch.randn(2, *(20,) * axes, 1)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    gradients = []
    for call in (model, compiled):
        model.zero_grad()
        call(u, line(20) * axes).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("axes", [1, 2])
def test_exports(axes):
    model = small_1d() if axes == 1 else small_2d()
    u = torch.randn(2, *(20,) * axes, 1)
    program = torch.export.export(model, (u, line(20) * axes))
    torch.testing.assert_close(program.module()(u, line(20) * axes), model(u, line(20) * axes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "galerkn"}, "did you mean 'galerkin'"),
        ({"dim": 10, "heads": 3}, "dim 10 is not divisible by heads 3"),
        ({"depth": 0}, "depth is 0"),
        ({"head_norm": "batch"}, "head_norm is 'batch'"),
        ({"residual": "plus"}, "residual is 'plus'"),
        ({"activation": "tanh"}, "activation is 'tanh'"),
        ({"decoder": "fourier"}, "decoder is 'fourier'"),
        ({"decoder_activation": "gelu"}, "decoder_activation is 'gelu'"),
        ({"modes": 0}, "modes is 0"),
        ({"dropout": 1.0}, r"dropout is 1.0, but must lie in \[0, 1\)"),
        ({"encoder_dropout": -0.1}, "encoder_dropout is -0.1"),
        ({"mlp_ratio": 0.0}, "must be positive"),
        ({"mlp_ratio": 0.01}, "leaves no hidden channel"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"position_channels": -1}, "position_channels is -1"),
    ],
)
def test_constructor_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        GalerkinTransformer1d(**(SMALL_1D | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boundary": "neumann"}, "boundary is 'neumann'"),
        ({"downscaler": "pool"}, "downscaler is 'pool'"),
        ({"coarse_size": None}, "either coarse_size or down_sizes"),
        ({"coarse_size": 0}, "coarse_size is 0"),
        ({"position_channels": 1}, "position_channels is 1"),
        ({"grid_channels": 3}, "grid_channels is 3"),
    ],
)
def test_constructor_2d_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        GalerkinTransformer2d(**(SMALL_2D | options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(torch.zeros(1, 20, 2), line(20)), "channels=1"),
        (lambda m: m(torch.zeros(20, 1), line(20)), r"must be \(batch, n, channels\)"),
        (lambda m: m(torch.zeros(1, 20, 1)), "needs coordinates"),
        (lambda m: m(torch.zeros(1, 20, 1), line(19)), r"lengths \(19,\)"),
        (lambda m: m(torch.zeros(1, 5, 1), line(5)), "modes 4 needs a grid of at least 6"),
        (
            lambda m: m(torch.zeros(1, 20, 1), positions=torch.zeros(1, 20, 2)),
            "positions have shape",
        ),
        (lambda m: m(torch.zeros(1, 20, 1), positions=torch.zeros(1, 19, 1)), r"\(1, 20, 1\)"),
        (lambda m: m(torch.zeros(1, 20, 1), positions=torch.zeros(3, 20, 1)), "u has 1"),
        (lambda m: m(torch.zeros(1, 20, 1), (torch.ones(20),)), "must span an interval"),
        (lambda m: m(torch.zeros(1, 20, 1), line(20), score_masks=[None]), "1 score_masks for 2"),
    ],
)
def test_forward_names_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(small_1d())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": torch.zeros(1, 36, 3)}, r"positions have shape .* \(1, 36, 2\)"),
        ({"positions": torch.zeros(1, 35, 2)}, r"positions have shape .* \(1, 36, 2\)"),
        ({"grid": torch.zeros(1, 20, 19, 2)}, r"grid have shape .* \(1, 20, 20, 2\)"),
        ({"coordinates": (line(20)[0], torch.zeros(20))}, r"coordinates\[1\] begins and ends at 0"),
    ],
)
def test_forward_2d_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        small_2d()(torch.zeros(1, 20, 20, 1), **({"coordinates": line(20) * 2} | options))
