"""ViTPose: the literal formulas, published sizes, precisions, compilers, wrong input."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from surform.registry import create_model
from surform.training.parameter_groups import decay_groups
from surform.vision.vitpose import SIZES, ViTPose
from tests.vision.literal_vitpose import literal_forward
from tests.vision.nets import crops, pose_net

OPTIONS = [
    pytest.param({}, id="classic"),
    pytest.param({"decoder": "simple"}, id="simple"),
    pytest.param({"decoder": "simple", "upsample": 2, "final_kernel": 1}, id="simple, 1 x 1"),
    pytest.param({"deconv_kernels": (3, 2), "final_kernel": 3}, id="other kernels"),
    pytest.param({"deconv_channels": (), "deconv_kernels": ()}, id="no deconvolution"),
    pytest.param({"ratio": 2, "qkv_bias": False}, id="overlapping patches"),
    pytest.param({"last_norm": False, "mlp_ratio": 1.5, "in_channels": 3}, id="no last norm"),
    pytest.param({"knowledge_dim": 16}, id="token"),
    pytest.param({"knowledge_dim": 6, "norm_eps": 1e-3}, id="token of another width"),
]


def gradients(net: ViTPose, out: Tensor, images: Tensor) -> list[Tensor]:
    out.square().sum().backward()
    assert images.grad is not None
    found = [images.grad]
    for value in net.parameters():
        assert value.grad is not None
        found.append(value.grad)
    return found


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_the_literal_formula(options: dict[str, Any], training: bool):
    net = pose_net(**options).double().train(training)
    twin = copy.deepcopy(net)
    a, b = (crops().double().requires_grad_() for _ in range(2))
    ours, theirs = net(a), literal_forward(twin, b)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for name, value in net.named_buffers():  # the running statistics moved alike
        torch.testing.assert_close(value, twin.get_buffer(name))
    for found, expected in zip(gradients(net, ours, a), gradients(twin, theirs, b), strict=True):
        atol = 1e-9 * (1 + expected.abs().max().item())
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=atol)


@pytest.mark.parametrize("decoder", ["classic", "simple"])
def test_float32_stays_close(decoder: str):
    net = pose_net(decoder=decoder).eval()
    exact = literal_forward(copy.deepcopy(net).double(), crops().double())
    assert (net(crops()) - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_drop_path_keeps_the_mean():
    net, images = pose_net(drop_path=0.5, deconv_channels=(), deconv_kernels=()), crops(64)
    torch.manual_seed(2)
    draws = torch.stack([net.train()(images).detach() for _ in range(20)])
    assert draws.std(0).amax((1, 2, 3)).min() > 0  # every sample's result varies
    net.eval()
    assert torch.equal(net(images), net(images))


@pytest.mark.parametrize(
    ("size", "decoder", "count"),
    [
        ("s", "classic", 24_290_577),
        ("s", "simple", 21_722_513),
        ("b", "classic", 89_994_513),
        ("b", "simple", 85_912_337),
        ("l", "classic", 308_544_785),
        ("h", "classic", 637_208_849),
    ],
)
def test_the_published_sizes(size: str, decoder: str, count: int):
    with torch.device("meta"):
        net = create_model("vitpose", decoder=decoder, **SIZES[size])
    assert sum(value.numel() for value in net.parameters()) == count


def test_parameters_know_their_layer():
    net = pose_net(knowledge_dim=6)
    layers = {name: net.layer_of(name) for name, _ in net.named_parameters()}
    assert layers["backbone.positions"] == layers["backbone.patch.bias"] == 0
    assert layers["backbone.knowledge.token"] == 0
    assert layers["backbone.blocks.1.norm2.weight"] == 2
    assert layers["backbone.norm.weight"] == layers["head.final.bias"] == net.layers == 3
    groups = decay_groups(net, 0.5)
    assert sorted({group["lr_scale"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]
    undecayed = [p for group in groups if "weight_decay" in group for p in group["params"]]
    assert any(value is net.backbone.positions for value in undecayed)
    assert not any(value is net.backbone.patch.weight for value in undecayed)


@pytest.mark.parametrize("decoder", ["classic", "simple"])
def test_bfloat16_autocast_stays_close_and_trains(decoder: str):
    net = pose_net(decoder=decoder, drop_path=0.2)
    exact = net.eval()(crops())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (net(crops()) - exact).abs().max() <= 0.05 * exact.abs().max()
        out = net.train()(crops(8))
    out.float().square().sum().backward()
    assert all(value.grad.isfinite().all() for value in net.parameters())


def test_it_compiles_to_one_graph():
    net, images = pose_net(drop_path=0.2).eval(), crops()
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), net(images), rtol=1e-4, atol=1e-4)
    net.train()
    compiled(images).square().sum().backward()
    assert all(value.grad.isfinite().all() for value in net.parameters())


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (50, 32)}, "height must be a multiple of patch_size 16"),
        ({"image_size": (48, 40)}, "width must be a multiple of patch_size 16"),
        ({"image_size": (48,)}, r"must be \(height, width\)"),
        ({"dim": 18}, "dim 18 must be a multiple of heads 4"),
        ({"patch_size": 12, "image_size": (48, 36), "ratio": 5}, "multiple of ratio 5"),
        ({"drop_path": 1.0}, r"drop_path is 1.0, but must lie in \[0, 1\)"),
        ({"joints": 0}, "joints is 0, but must be a whole number >= 1"),
        ({"depth": 0}, "depth is 0"),
        ({"mlp_ratio": 0.0}, r"mlp_ratio is 0.0"),
        ({"decoder": "clasic"}, "did you mean 'classic'"),
        ({"deconv_channels": (8,)}, "must name the same number of deconvolutions"),
        ({"deconv_kernels": (5, 4)}, r"deconv_kernels is 5, but must be one of \[4, 3, 2\]"),
        ({"final_kernel": 5}, r"final_kernel is 5, but must be one of \[1, 3\]"),
        ({"knowledge_dim": -1}, "knowledge_dim is -1"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        pose_net(**options)


@pytest.mark.fault
def test_crops_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3, 64, 48\), but must be \(batch, 3, 48, 32"):
        pose_net()(crops(size=(64, 48)))
    with pytest.raises(ValueError, match="crop them to that size"):
        pose_net()(crops()[:, :1])
