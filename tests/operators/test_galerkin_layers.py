"""Building blocks of the Galerkin Transformer against literal forms written with torch alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surform import attention
from surform.operators.galerkin_attention import GalerkinAttention, HeadNorm
from surform.operators.galerkin_decoders import PointwiseDecoder
from surform.operators.galerkin_encoder import FeedForward
from surform.operators.galerkin_positions import unit_positions
from surform.operators.galerkin_scalers import (
    ConvDownscaler,
    ConvUpscaler,
    InterpDownscaler,
    InterpUpscaler,
    downscale_sizes,
    scale_factor,
    upscale_sizes,
)
from surform.operators.galerkin_spectral import SpectralConv1d, SpectralConv2d

# fine, coarse -> factor, size in between on the way up: the published scripts' table
PUBLISHED_SCALES = [
    (85, 29, 0.59, 49),
    (141, 43, 0.555, 77),
    (211, 61, 0.54, 113),
    (211, 71, 0.585, 122),
    (141, 36, 0.51, None),
    (141, 71, 0.71, 99),
]


def attend(kind: str, heads: int = 3, position_channels: int = 2, **options) -> GalerkinAttention:
    torch.manual_seed(0)
    defaults = {
        "head_norm": "layer",
        "norm_eps": 1e-5,
        "score_dropout": 0.0,
        "legacy_score_dropout": False,
    }
    return GalerkinAttention(
        12, heads, kind=kind, position_channels=position_channels, **(defaults | options)
    ).double()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("points", "modes"), [(24, 5), (17, 9), (16, 9), (7, 1)])
def test_spectral_conv_1d_is_the_truncated_rfft(points, modes, dtype):
    torch.manual_seed(0)
    conv = SpectralConv1d(3, 4, modes, 0.0).to(dtype)
    nn.init.normal_(conv.weight)
    x = torch.randn(2, points, 3, dtype=dtype)
    spectrum = torch.fft.rfft(x, dim=1, norm="ortho")[:, :modes]
    product = torch.einsum("bki,iok->bko", spectrum, torch.view_as_complex(conv.weight.detach()))
    expected = conv.linear(x) + torch.fft.irfft(product, n=points, dim=1, norm="ortho")
    torch.testing.assert_close(conv(x, conv.basis(x)), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("n0", "n1", "modes"), [(12, 12, 4), (11, 14, 5), (8, 9, 5), (5, 8, 5)])
def test_spectral_conv_2d_is_the_truncated_rfft2(n0, n1, modes, dtype):
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 2, modes, 0.0).to(dtype)
    nn.init.normal_(conv.weight)
    x = torch.randn(2, n0, n1, 3, dtype=dtype)
    spectrum = torch.fft.rfft2(x, dim=(1, 2), norm="ortho")
    product = torch.zeros(2, n0, n1 // 2 + 1, 2, dtype=spectrum.dtype)
    low, high = torch.view_as_complex(conv.weight.detach())
    rule = "bxyi,ioxy->bxyo"
    product[:, :modes, :modes] = torch.einsum(rule, spectrum[:, :modes, :modes], low)
    product[:, -modes:, :modes] = torch.einsum(rule, spectrum[:, -modes:, :modes], high)
    expected = conv.linear(x) + torch.fft.irfft2(product, s=(n0, n1), dim=(1, 2), norm="ortho")
    torch.testing.assert_close(conv(x, conv.basis(x)), expected)


def test_spectral_conv_refuses_more_modes_than_the_grid_has():
    conv = SpectralConv1d(1, 1, 6, 0.0)
    with pytest.raises(ValueError, match="modes 6 needs a grid of at least 10, not 9"):
        conv.basis(torch.zeros(1, 9, 1))
    with pytest.raises(ValueError, match="rows, not 5"):
        SpectralConv2d(1, 1, 6, 0.0).basis(torch.zeros(1, 5, 12, 1))


@pytest.mark.parametrize("heads", [1, 3])
def test_head_norm_layer_is_one_layer_norm_per_head(heads):
    norm = HeadNorm(heads, 5, "layer", 1e-3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 7, heads, 5)
    for h in range(heads):
        expected = F.layer_norm(x[:, :, h], (5,), norm.weight[h], norm.bias[h], 1e-3)
        torch.testing.assert_close(norm(x)[:, :, h], expected)


def test_head_norm_instance_is_an_instance_norm_over_the_tokens():
    norm = HeadNorm(2, 5, "instance", 1e-3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 7, 2, 5)
    for h in range(2):
        per_channel = x[:, :, h].transpose(1, 2)
        expected = F.instance_norm(per_channel, None, None, norm.weight[h], norm.bias[h], eps=1e-3)
        torch.testing.assert_close(norm(x)[:, :, h], expected.transpose(1, 2))


@pytest.mark.parametrize("kind", ["galerkin", "linear", "fourier", "softmax"])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_literal_one(kind, masked):
    layer = attend(kind)
    x, positions = torch.randn(2, 9, 12).double(), torch.rand(2, 9, 2).double()
    width, tokens = 6, x.shape[1]
    q, k, v = layer.qkv(x).view(2, tokens, 3, 3, 4).unbind(2)
    q, k, v = layer.query_norm(q), layer.key_norm(k), layer.value_norm(v)
    front = positions[:, :, None].expand(2, tokens, 3, 2)
    q, k, v = (torch.cat((front, t), -1).transpose(1, 2) for t in (q, k, v))
    linear = kind in ("galerkin", "linear")
    mask = torch.rand(2, 3, width, width) if linear else torch.rand(2, 3, tokens, tokens)
    mask = mask.double() if masked else torch.ones_like(mask).double()
    if linear:
        if kind == "linear":
            q, k = q.softmax(-1), k.softmax(-2)
        mixed = q @ (k.mT @ v / tokens * mask)
    else:
        scores = q @ k.mT / width**0.5
        scores = scores / tokens if kind == "fourier" else scores.softmax(-1)
        mixed = scores * mask @ v
    expected = layer.out(mixed.transpose(1, 2).reshape(2, tokens, 18))
    result = layer(x, positions, score_mask=mask if masked else None)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(("kind", "present"), [("galerkin", "kv"), ("softmax", "kq")])
def test_norms_sit_on_the_published_pair(kind, present):
    layer = attend(kind)
    norms = {"q": layer.query_norm, "k": layer.key_norm, "v": layer.value_norm}
    assert {n for n, norm in norms.items() if isinstance(norm, HeadNorm)} == set(present)


def test_without_coordinates_there_is_no_output_projection():
    assert attend("galerkin", position_channels=0).out is None


@pytest.mark.parametrize("kind", ["galerkin", "fourier"])
def test_weight_scales_the_inputs_of_queries_and_keys_only(kind):
    layer = attend(kind, head_norm=None, position_channels=0)
    nn.init.zeros_(layer.qkv.bias)
    x = torch.randn(2, 9, 12).double()
    torch.testing.assert_close(layer(x, weight=torch.tensor(3.0)), 9 * layer(x))


def test_symmetric_init_gives_symmetric_maps_near_the_identity():
    layer = attend("galerkin")
    layer.reset_parameters(1e-3, 0.5, True)
    for weight in layer.qkv.weight.chunk(3):
        torch.testing.assert_close(weight, weight.T)
        assert (weight - torch.eye(12)).abs().max() < 5e-3
    assert not layer.qkv.bias.any()


@pytest.mark.parametrize("kind", ["galerkin", "linear", "fourier", "softmax"])
def test_score_dropout_is_off_in_eval_and_legacy_is_not(kind):
    x = torch.randn(1, 9, 12).double()
    usual = attend(kind, position_channels=0, score_dropout=0.3)
    assert not torch.equal(usual.train()(x), usual(x))
    assert torch.equal(usual.eval()(x), usual(x))
    legacy = attend(kind, position_channels=0, legacy_score_dropout=True).eval()
    assert not torch.equal(legacy(x), legacy(x))
    mean = legacy(x.expand(4000, -1, -1)).mean(0, keepdim=True)
    reference = usual(x)
    assert (mean - reference).abs().max() < 0.2 * reference.abs().max()  # p = 0.5 is unbiased


def test_batch_norm_comes_after_the_dropout_over_channels():
    ffn = FeedForward(4, 6, nn.SiLU(), 0.0, batch_norm=True)
    x = torch.randn(3, 5, 4)
    hidden = F.silu(ffn.linear1(x))
    norm = (hidden - hidden.mean((0, 1))) / (hidden.var((0, 1), correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(ffn(x), ffn.linear2(norm), rtol=1e-4, atol=1e-5)


def test_pointwise_decoder_needs_its_grid():
    decoder = PointwiseDecoder(4, 1, depth=1, grid_channels=1, activation="relu", dropout=0.0)
    with pytest.raises(ValueError, match="needs the coordinates"):
        decoder(torch.zeros(1, 3, 4))


@pytest.mark.parametrize(("fine", "coarse", "factor", "middle"), PUBLISHED_SCALES)
def test_scales_follow_the_published_rule(fine, coarse, factor, middle):
    assert scale_factor(fine, coarse) == pytest.approx(factor)
    assert downscale_sizes(fine, coarse) == (int(fine * factor), coarse)
    assert int(int(fine * factor) * factor) == coarse  # what the official factors lead to
    if middle:
        assert upscale_sizes(coarse, fine) == (middle, fine)


def test_coarse_size_is_exact_where_the_published_rule_misses_by_one():
    assert downscale_sizes(421, 61)[1] == 61
    for fine in range(1, 60):
        for coarse in range(1, fine + 1):
            middle, last = downscale_sizes(fine, coarse)
            assert coarse == last <= middle <= fine
            middle, last = upscale_sizes(coarse, fine)
            assert coarse <= middle <= last == fine


def test_coarse_size_above_the_grid_is_an_error():
    with pytest.raises(ValueError, match="coarse size 9 must lie between 1 and the grid's size 8"):
        InterpDownscaler(1, 6, coarse_size=9)(torch.zeros(1, 8, 8, 1))


def test_scalers_lead_there_and_back_on_any_rectangle():
    down, up = InterpDownscaler(2, 7, coarse_size=(5, 6)), InterpUpscaler(7, 7)
    x = down(torch.randn(1, 13, 19, 2))
    assert x.shape == (1, 5, 6, 7)
    assert up(x, (13, 19)).shape == (1, 13, 19, 7)


def test_factors_are_applied_one_after_the_other_and_rounded_down():
    assert InterpDownscaler(1, 6, sizes=[0.6, 0.6])(torch.zeros(1, 19, 19, 1)).shape[1] == 6


def test_whole_numbers_are_sizes_and_only_decimals_are_factors():
    x = torch.randn(1, 12, 12, 1)
    down = InterpDownscaler(1, 6, sizes=[9, 6]).eval()
    assert down(x).shape[1:3] == (6, 6)
    pairs = InterpDownscaler(1, 6, sizes=[(9, 9), (6, 6)]).eval()
    pairs.load_state_dict(down.state_dict())
    assert torch.equal(down(x), pairs(x))
    assert InterpDownscaler(1, 6, sizes=[0.75, 6])(x).shape[1:3] == (6, 6)
    assert InterpUpscaler(6, 6, sizes=[8, 9])(down(x)).shape[1:3] == (9, 9)


def test_conv_downscaler_uses_its_dropout():
    down, x = ConvDownscaler(2, 7, dropout=0.0).train(), torch.randn(1, 21, 21, 2)
    assert torch.equal(down(x), down(x))


def test_conv_scalers_have_the_published_sizes():
    assert ConvDownscaler(2, 7)(torch.zeros(1, 21, 21, 2)).shape == (1, 4, 4, 7)
    assert ConvUpscaler(4, 4)(torch.zeros(1, 6, 6, 4)).shape == (1, 51, 51, 4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InterpDownscaler(1, 6), "either coarse_size or down_sizes"),
        (lambda: InterpDownscaler(1, 6, sizes=["half", 3, 3]), "two factors or two sizes"),
        (lambda: InterpDownscaler(1, 2, coarse_size=3), "dim is 2"),
        (lambda: InterpDownscaler(1, 6, coarse_size=(3, 3, 3)), "one number or a pair"),
        (lambda: InterpUpscaler(6, 6, sizes=[0.5, 0.5]), "two sizes or pairs of nodes"),
        (lambda: InterpUpscaler(6, 6, mode="nearest"), "interpolation is 'nearest'"),
        (lambda: InterpUpscaler(6, 6)(torch.zeros(1, 3, 3, 6)), "target grid"),
        (lambda: ConvUpscaler(4, 5), "both stages take 4 channels"),
        (lambda: ConvDownscaler(1, 6, activation="gelu"), "one of"),
    ],
)
def test_scalers_name_what_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_positions_span_the_unit_square_with_the_last_axis_first():
    rows, columns = torch.linspace(2, 4, 5), torch.linspace(-1, 0, 3)
    grid = unit_positions((rows, columns), (5, 3), torch.zeros(()))
    assert grid.shape == (1, 5, 3, 2)
    torch.testing.assert_close(grid[0, 0, :, 0], torch.linspace(0, 1, 3))
    torch.testing.assert_close(grid[0, :, 0, 1], torch.linspace(0, 1, 5))
    coarse = unit_positions((rows, columns), (3, 2), torch.zeros(()))
    torch.testing.assert_close(coarse[0, :, 0, 1], torch.linspace(0, 1, 3))


def test_positions_of_16_bits_are_those_of_32_rounded_once():
    axis = (torch.linspace(0, 1, 2048),)
    expected = unit_positions(axis, (1000,), torch.zeros(())).bfloat16()
    assert torch.equal(
        unit_positions(axis, (1000,), torch.zeros((), dtype=torch.bfloat16)), expected
    )


def test_a_single_node_sits_at_zero():
    assert unit_positions((torch.tensor([7.0]),), (1,), torch.zeros(())).item() == 0


def test_attention_goes_through_the_dispatcher():
    layer = attend("fourier")
    x, positions = torch.randn(2, 40, 12).double(), torch.rand(2, 40, 2).double()
    with attention.use("reference"):
        literal = layer(x, positions)
    torch.testing.assert_close(layer(x, positions), literal)
