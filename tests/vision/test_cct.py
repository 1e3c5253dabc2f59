"""Compact transformers: official numbers, literal formulas, sizes, positions, precisions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from surform import attention
from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, verify_case
from surform.layers.sinusoid import rounded_sinusoid
from surform.registry import create_model
from surform.vision.cct import CCT, CVT, ViTLite
from surform.vision.published import published, published_names
from tests.vision.literal_cct import literal_forward

GOLDEN = Path(__file__).parents[1] / "golden" / "cct"
SMALL = {"image_size": 16, "num_classes": 5, "dim": 32, "depth": 2, "heads": 2, "mlp_ratio": 2.0}
KINDS = {
    "cct": (CCT, {"conv_layers": 2, "kernel_size": 3}),
    "cvt": (CVT, {}),
    "vit_lite": (ViTLite, {}),
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def model(kind: str = "cct", **options) -> nn.Module:
    torch.manual_seed(0)
    cls, own = KINDS[kind]
    net = cls(**SMALL | own | options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def images(*size: int, batch: int = 3, channels: int = 3, **options) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, channels, *(size or (16, 16)), **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", find_cases([GOLDEN]), ids=lambda path: path.stem)
def test_official_numbers(case: Path, dtype: torch.dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


@EVERY
@pytest.mark.parametrize("positions", ["learnable", "sine", "none"])
@pytest.mark.parametrize("size", [16, (24, 16)])
def test_it_is_the_literal_formula(kind, positions, size):
    net = model(kind, positions=positions, image_size=size).double().eval()
    x = images(*net.image_size).double().requires_grad_()
    ours, theirs = net(x), literal_forward(net, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    leaves = [x, *net.parameters()]
    found = [torch.autograd.grad(y.square().sum(), leaves) for y in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@EVERY
def test_training_is_the_literal_formula_without_noise(kind):
    net = model(kind, attention_dropout=0.0, drop_path=0.0).double().train()
    x = images().double()
    torch.testing.assert_close(net(x), literal_forward(net, x), rtol=1e-10, atol=1e-12)


def test_noise_acts_in_training_only():
    x = images(batch=8)
    for name in ("dropout", "attention_dropout", "drop_path"):
        rates = {"dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.0} | {name: 0.5}
        net = model(**rates)
        assert not torch.equal(net(x), net(x)), name
        assert torch.equal(net.eval()(x), net(x)), name


def test_dropped_branches_keep_the_mean():
    net, x = model(depth=1, drop_path=0.4, attention_dropout=0.0).double(), images().double()
    torch.manual_seed(0)
    tokens = net.tokenizer(x)[:1]
    block = net.encoder.blocks[0]
    block.drop_path.rate, block.norm = 0.4, nn.Identity()
    many = (block(tokens.expand(4000, -1, -1)) - tokens).mean(0)
    block.eval()
    mixed = block.attention(block.pre_norm(tokens))
    inside = 0.6 * block.feed_forward(tokens + mixed / 0.6) + 0.4 * block.feed_forward(tokens)
    assert (many - (mixed + inside)).norm() < 0.1 * (mixed + inside).norm()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cct_2_3x2_32", 283_723),
        ("cct_7_3x1_32", 3_760_139),
        ("vit_7_4_32", 3_716_874),
        ("cct_14_7x2_224", 22_367_273),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(name, count):
    with torch.device("meta"):
        net = published(name)
    # the official score of sequence pooling has a bias that nothing depends on
    assert sum(value.numel() for value in net.state_dict().values()) == count


@pytest.mark.parametrize("name", published_names())
def test_every_published_size_builds(name):
    with torch.device("meta"):
        net = published(name, num_classes=3)
    side = int(name.rpartition("_")[2])
    assert net.image_size == (side, side)
    assert net.encoder.head.out_features == 3


def test_sine_is_sine():
    table = published("cct_2_3x2_32_sine").encoder.positions
    assert not isinstance(table, nn.Parameter)
    torch.testing.assert_close(table[0], rounded_sinusoid(64, 128))
    assert table[0, 3, 0] == torch.tensor(3.0).sin()
    assert table[0, 3, 1] == torch.tensor(3.0).cos()
    slip = published("cct_2_3x2_32_sine", legacy_sine=True).encoder.positions
    assert isinstance(slip, nn.Parameter)
    assert slip.std().item() == pytest.approx(0.2, rel=0.05)


@EVERY
def test_without_positions_images_of_any_size_are_served(kind):
    net = model(kind, positions="none").double().eval()
    for size in ((8, 8), (16, 16), (32, 24)):
        x = images(*size).double()
        torch.testing.assert_close(net(x), literal_forward(net, x), rtol=1e-10, atol=1e-12)


@EVERY
def test_without_positions_patches_are_a_set(kind):
    net = model(kind, positions="none").double().eval()
    tokens = net.tokenizer(images().double())
    order = torch.randperm(tokens.shape[1])
    torch.testing.assert_close(net.encoder(tokens[:, order]), net.encoder(tokens))


def test_height_and_width_are_not_mixed_up():
    net = model(image_size=(16, 32))
    assert net.grid == (4, 8)
    tokens = net.tokenizer(images(16, 32))
    alone = net.tokenizer.layers[0].weight.new_zeros(1, 3, 16, 32)
    alone[..., 8:, :] = 1.0
    lower = net.tokenizer(alone)[0].norm(dim=1).unflatten(0, net.grid)
    assert tokens.shape == (3, 32, 32)
    assert (lower[3] > 0).all()
    assert (lower[0] == 0).all()


def test_initial_weights_are_as_published():
    torch.manual_seed(0)
    net = CCT(**SMALL | {"dim": 128, "kernel_size": 3})
    encoder = net.encoder
    assert encoder.positions.std().item() == pytest.approx(0.2, rel=0.05)
    assert encoder.blocks[0].attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert encoder.blocks[0].attention.qkv.bias is None
    assert not encoder.blocks[1].feed_forward.down.bias.any()
    assert net.tokenizer.layers[1].weight.std().item() == pytest.approx(
        (2 / (64 * 9)) ** 0.5, rel=0.05
    )
    assert net.tokenizer.layers[0].bias is None
    assert [block.drop_path.rate for block in encoder.blocks] == [0.0, 0.1]
    assert not ViTLite(**SMALL).encoder.class_token.any()


@EVERY
def test_bfloat16_stays_close_and_trains(kind):
    net, x = model(kind, attention_dropout=0.0, drop_path=0.0), images()
    exact = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x)
        out.square().mean().backward()
    assert (out - exact).abs().max() <= 0.05 * exact.abs().max()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    half = net.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half - exact).norm() <= 0.05 * exact.norm()


@pytest.mark.parametrize("kind", ["cct", "vit_lite"])
def test_exports_to_plain_operations(kind):
    net, x = model(kind, depth=1).eval(), images()
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(net, (x,), dynamic_shapes=shapes)
    assert not [n for n in program.graph.nodes if "surform" in str(n.target)]
    more = images(batch=7)
    torch.testing.assert_close(program.module()(more), net(more))


def test_compiles_in_one_graph_and_trains():
    torch.compiler.reset()
    net, x = model(depth=2, drop_path=0.3, dropout=0.1), images(batch=4)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    net.eval()
    torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)
    net.train()
    compiled(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_second_derivatives_exist():
    net, x = model(depth=1).double().eval(), images(batch=1).double().requires_grad_()
    with attention.use(second_order=True):
        (first,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()


@EVERY
def test_arguments_rebuild_the_network(kind):
    net = model(kind, positions="sine", image_size=(16, 24))
    twin = create_model(kind, **net.arguments)
    twin.load_state_dict(net.state_dict())
    x = images(16, 24)
    torch.testing.assert_close(twin.eval()(x), net.eval()(x))
    assert net.features(x).shape == (3, net.grid[0] * net.grid[1] + (kind == "vit_lite"), 32)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("cct", {"heads": 3}, "heads is 3, but must divide dim = 32"),
        ("cct", {"depth": 1.5}, "depth is 1.5"),
        ("cct", {"mlp_ratio": 0.01}, "mlp_ratio is 0.01"),
        ("cct", {"positions": "sin"}, "did you mean 'sine'"),
        ("cct", {"drop_path": 1.0}, r"drop_path is 1.0, but must lie in \[0, 1\)"),
        ("cct", {"attention_dropout": -1}, "attention_dropout is -1"),
        ("cct", {"pool_padding": 2}, "pool_padding is 2, but at most half of pool_size = 3"),
        ("cct", {"image_size": 1, "kernel_size": 9, "padding": 0}, "1 x 1 leave no token"),
        ("cct", {"image_size": (16, 16, 3)}, r"image_size is \(16, 16, 3\)"),
        ("cct", {"image_size": "16"}, "image_size is '16', but must be a side"),
        ("cct", {"image_size": 16.5}, "image_size is 16.5, but must be a side"),
        ("cct", {"image_size": 0}, "image_size is 0"),
        ("cvt", {"patch_size": 5}, "16 x 16 cannot be cut into patches of patch_size = 5"),
        ("vit_lite", {"num_classes": 0}, "num_classes is 0"),
    ],
)
def test_wrong_arguments_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message) as error:
        model(kind, **options)
    assert "\n" not in str(error.value)


def test_wrong_images_are_named():
    with pytest.raises(ValueError, match="in_channels is 3"):
        model()(images(channels=1))
    with pytest.raises(ValueError, match="images are 16 x 20, but CCT was built for 16 x 16"):
        model()(images(16, 20))
    with pytest.raises(ValueError, match="16 x 18 cannot be cut into patches"):
        model("cvt", positions="none")(images(16, 18))
    with pytest.raises(ValueError, match=r"images are torch\.uint8, but must be normalised floats"):
        model()(images().to(torch.uint8))
    with pytest.raises(ValueError, match="images of 3 x 9 leave no token"):
        model("cct", positions="none", kernel_size=5, padding=0)(images(3, 9))


@pytest.mark.parametrize("name", ["cct_3_3x1_32", "cct_7_3x1", "resnet18"])
def test_unknown_names_are_refused_with_the_closest(name):
    with pytest.raises(ValueError, match=r"is no published compact transformer: did you mean cct_"):
        published(name)
