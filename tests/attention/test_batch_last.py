"""Softmax attention with the batch as last axis: kernels against the definition, and each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surform import attention

FAST = [kernel.name for kernel in attention.kernels("softmax_batch_last") if kernel.priority]


def tensors(h=2, d=3, n=4, m=5, e=6, b=7, size=1.0, dtype=torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(h + d + n + m + e + b)
    shapes = ((h, d, n, b), (h, d, m, b), (h, e, m, b))
    return [
        (size * torch.randn(shape, generator=generator, dtype=dtype)).requires_grad_()
        for shape in shapes
    ]


def run(name: str, inputs: list[Tensor], **options) -> list[Tensor]:
    """The output and the gradients of sum(output * fixed numbers)."""
    with attention.use(softmax_batch_last=name):
        out = attention.softmax_batch_last(*inputs, **options)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)]


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"h": 1, "n": 2, "m": 33, "b": 400},  # several blocks of the vectors kernel at any size
        {"h": 4, "d": 2, "n": 24, "m": 24, "e": 2, "b": 700},  # and of the products kernel
        {"d": 1, "e": 1, "n": 1, "m": 1},
        {"b": 1},
        {"size": 40.0},  # exponentials that overflow unless the largest score is taken out
    ],
)
def test_fast_kernels_agree_with_the_definition(name, dtype, sizes):
    inputs = tensors(dtype=dtype, **sizes)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-3
    expected = run("reference", inputs)
    for found, wanted in zip(run(name, inputs), expected, strict=True):
        assert (found - wanted).abs().max() <= tolerance * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize("name", FAST)
def test_strides_and_scale_are_respected(name):
    inputs = [x.detach().permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0) for x in tensors()]
    inputs = [x.requires_grad_() for x in inputs]
    for found, wanted in zip(
        run(name, inputs, scale=0.3), run("reference", inputs, scale=0.3), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_it_is_softmax_with_the_batch_last():
    q, k, v = tensors()
    turned = [x.permute(3, 0, 2, 1) for x in (q, k, v)]
    expected = attention.softmax(*turned).permute(1, 3, 2, 0)
    torch.testing.assert_close(attention.softmax_batch_last(q, k, v), expected)


@pytest.mark.parametrize("name", ["reference", *FAST])
def test_first_derivatives_are_right(name):
    with attention.use(softmax_batch_last=name):
        assert torch.autograd.gradcheck(attention.softmax_batch_last, tensors(b=2))


@pytest.mark.parametrize("name", ["vectors", "products"])
def test_second_derivatives_are_refused_or_given_to_the_definition(name):
    inputs = tensors(b=2)
    with attention.use(softmax_batch_last=name):
        out = attention.softmax_batch_last(*inputs)
        with pytest.raises(ValueError, match="has no second derivative"):
            torch.autograd.grad(out.sum(), inputs, create_graph=True)
    with attention.use(second_order=True):
        assert torch.autograd.gradgradcheck(attention.softmax_batch_last, inputs)


@pytest.mark.parametrize("name", FAST)
def test_an_empty_batch_gives_an_empty_result(name):
    inputs = tensors(b=0)
    with attention.use(softmax_batch_last=name):
        out = attention.softmax_batch_last(*inputs)
    assert out.shape == (2, 6, 4, 0)
    assert torch.autograd.grad(out.sum(), inputs)[0].shape == (2, 3, 4, 0)


def test_the_choice_follows_the_sizes():
    def chosen(**sizes):
        return attention.explain("softmax_batch_last", *tensors(**sizes)).chosen

    assert chosen(h=1, n=2, b=1000) == "vectors"
    assert chosen(h=4, n=24, m=24, b=100) == "products"
    assert chosen(h=4, n=6, m=6, b=100) == "reference"
    assert chosen(n=200, m=200, b=2) == "sdpa"


def test_wrong_shapes_are_named():
    q, k, v = tensors()
    for wrong in ((q[0], k, v), (q[:, :2], k, v), (q, k, v[:, :, :2]), (q, k[..., :3], v)):
        with pytest.raises(ValueError, match=r"must be \(heads, width, tokens, batch\)"):
            attention.softmax_batch_last(*wrong)


def test_it_compiles_without_graph_break():
    torch._dynamo.reset()
    inputs = [x.detach() for x in tensors()]
    compiled = torch.compile(attention.softmax_batch_last, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), attention.softmax_batch_last(*inputs))
