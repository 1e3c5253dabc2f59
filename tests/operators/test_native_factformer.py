"""FactFormer by native kernels against the torch path in float64, forward and gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from surform import attention
from surform.layers import native
from surform.operators import latent_marching, mixed_update
from surform.operators.axis_kernel import AxisKernel
from surform.operators.factformer import FactFormer2d, FactFormer3d
from surform.operators.factorized_block import FactorizedBlock
from surform.operators.out_norm import OUT_NORMS

pytestmark = pytest.mark.skipif(native.library() is None, reason=str(native.reason()))

# neither axis a multiple of a tile; longer than one; axes of one point; more axes
GRIDS = [(7, 6), (33, 20), (150, 3), (3, 140), (1, 4), (5, 1), (5, 3, 4), (1, 1, 2), (2, 3, 2, 2)]


@pytest.fixture(params=[1, 2], ids=["1thread", "2threads"])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def outcome(net: nn.Module, u: Tensor, *arguments) -> list[Tensor]:
    """The result, the gradient of u, and those of all parameters."""
    u = u.detach().requires_grad_()
    y = net(u, *arguments)
    cotangent = torch.randn(
        y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [y.detach(), *torch.autograd.grad((y * cotangent.to(y.dtype)).sum(), [u, *parameters])]


def assert_close(
    found: list[Tensor], exact: list[Tensor], plain: list[Tensor], bound: float = 1e-5
) -> None:
    """The error is that of rounding, or of the same size as float32 torch's."""
    for a, b, c in zip(found, exact, plain, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() <= 5 * (c - b).norm() + bound * b.norm() + 1e-7


def compare(net: nn.Module, u: Tensor, coordinates: list[Tensor], bound: float = 1e-5) -> None:
    """Native float32 against float64 by torch."""
    found = outcome(net, u, coordinates)
    wide = [x.double() for x in coordinates]
    exact = outcome(copy.deepcopy(net).double(), u.double(), wide)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SURFORM_NATIVE", "0")
        plain = outcome(net, u, coordinates)
    assert_close(found, exact, plain, bound)
    with torch.no_grad():
        torch.testing.assert_close(net(u, coordinates), found[0], rtol=1e-4, atol=1e-5)


def block(rank: int, **options) -> FactorizedBlock:
    torch.manual_seed(0)
    made = FactorizedBlock(64, 3, 32, rank, dim_out=32, **options)
    for kernel in made.axes:
        for linear in (kernel.to_query, kernel.to_key):
            nn.init.normal_(linear.weight, std=0.1)
    return made


def example(grid: tuple[int, ...], samples: int = 2) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(1)
    return torch.randn(samples, *grid, 64), [torch.linspace(0, 2, n) for n in grid]


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """Names of what ran natively."""
    calls: list[str] = []
    mixer, march = mixed_update.Mixer, latent_marching.NativeMarch
    monkeypatch.setattr(mixed_update, "Mixer", lambda *a: calls.append("mix") or mixer(*a))
    monkeypatch.setattr(
        latent_marching, "NativeMarch", lambda *a: calls.append("march") or march(*a)
    )
    return calls


@pytest.mark.parametrize("norm", OUT_NORMS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_block_equals_the_torch_path(grid, norm, threads, counted):
    compare(block(len(grid), out_norm=norm), *example(grid))
    assert "mix" in counted


@pytest.mark.parametrize("norm", OUT_NORMS)
@pytest.mark.parametrize("grid", [(33, 20), (5, 1), (5, 3, 4), (2, 3, 2, 2)], ids=str)
def test_block_in_parallel_equals_the_torch_path(grid, norm, threads, counted):
    # a norm over all points of a head hides the scale of a 1 x 1 kernel: its gradient cancels
    bound = 1e-4 if norm == "group" and 1 in grid else 1e-5
    compare(block(len(grid), out_norm=norm, parallel=True), *example(grid), bound)
    assert "mix" in counted


@pytest.mark.parametrize("size", [1 << 24, 1], ids=["together", "one by one"])
@pytest.mark.parametrize("parallel", [False, True], ids=["chained", "parallel"])
@pytest.mark.parametrize("norm", OUT_NORMS)
def test_recomputed_block(norm, parallel, size, monkeypatch):
    u, x = example((9, 10), samples=3)
    kept = outcome(block(2, out_norm=norm, parallel=parallel), u, x)
    monkeypatch.setattr(mixed_update, "_NUMBERS", size)
    again = outcome(block(2, out_norm=norm, parallel=parallel, recompute=True), u, x)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@pytest.mark.parametrize("options", [{"periodic": True}, {"latent_dim": 32}], ids=str)
def test_other_kernels(options):
    compare(block(2, **options), *example((8, 12)))


@pytest.mark.parametrize("n", [1, 5, 33, 64])
@pytest.mark.parametrize("rotary", [True, False], ids=["rotary", "plain"])
def test_axis_kernel_equals_float64(n, rotary, threads):
    torch.manual_seed(0)
    made = AxisKernel(64, 3, 32, 96, 5, rotary=rotary)
    for linear in (made.to_query, made.to_key):
        nn.init.normal_(linear.weight, std=0.2)
    pooled, outer = torch.randn(2, n, 64, requires_grad=True), torch.randn(2, 3, n, n)

    def results(kernel: AxisKernel, dtype: torch.dtype) -> list[Tensor]:
        y = kernel(pooled.to(dtype), torch.linspace(0, 2, n, dtype=dtype))
        loss = (y * outer.to(dtype)).sum()
        return [y, *torch.autograd.grad(loss, [pooled, *kernel.parameters()])]

    found = results(made, torch.float32)
    exact = results(copy.deepcopy(made).double(), torch.float64)
    for a, b in zip(found, exact, strict=True):
        assert (a - b).abs().max() <= 2e-5 * b.abs().max()


def test_hooks_of_queries_and_keys_run():
    made, calls = AxisKernel(64, 2, 32, 64), []
    made.to_key.register_forward_hook(lambda *a: calls.append("key"))
    made(torch.randn(1, 6, 64), torch.linspace(0, 1, 6))
    assert calls == ["key"]


def test_residual_and_strided_input(counted):
    made, (u, x) = block(2), example((6, 5))
    added = torch.randn(2, 6, 5, 32)
    torch.testing.assert_close(made(u, x, residual=added), made(u, x) + added)
    turned = u.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(made(turned, x), made(u, x))
    assert counted


def test_what_is_not_native(counted):
    u, x = example((6, 5))
    with attention.use("reference"):
        block(2)(u, x)
    FactorizedBlock(64, 3, 4, 2)(u, x)  # heads narrower than a vector
    block(2).double()(u.double(), [t.double() for t in x])
    block(1)(u[:, :, 0], x[:1])
    assert counted == []


def test_values_far_from_zero():
    """The tails of the GELU and of its derivative."""
    made, (u, x) = block(2), example((12, 11))
    with torch.no_grad():
        made.to_out.weight *= 30
    compare(made, u, x)


@pytest.mark.parametrize("parallel", [False, True], ids=["chained", "parallel"])
def test_a_large_mean_keeps_the_digits_of_the_variance(parallel):
    made, (u, x) = block(2, parallel=parallel), example((12, 11))
    with torch.no_grad():
        made.norm.bias += 30
    found = made(u, x)
    exact = copy.deepcopy(made).double()(u.double(), [t.double() for t in x])
    assert (found - exact).norm() < 1e-3 * exact.norm()


def test_nans_are_not_hidden():
    made, (u, x) = block(2), example((6, 5))
    u[0, 0, 0, 0] = float("nan")
    y = made(u, x)
    assert y[0].isnan().all()
    assert not y[1].isnan().any()


def model(**options) -> FactFormer2d:
    torch.manual_seed(0)
    small = {"dim": 64, "heads": 2, "head_dim": 32, "depth": 2, "input_steps": 3, "max_steps": 3}
    return FactFormer2d(**(small | {"latent_multiplier": 2.0} | options))


def window(*grid: int, samples: int = 2) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(3)
    return torch.randn(samples, 3, *grid, 1), [torch.linspace(0, 6, n) for n in grid]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("norm", OUT_NORMS)
def test_model(norm, samples, threads, counted):
    compare(model(out_norm=norm, dim=128), *window(13, 21, samples=samples))
    assert {"mix", "march"} <= set(counted)


@pytest.mark.parametrize("out_channels", [1, 3, 17])
def test_channels_of_frames(out_channels):
    compare(model(out_channels=out_channels, dim=128), *window(9, 8))


def test_three_axes(counted):
    torch.manual_seed(0)
    net = FactFormer3d(
        1, 2, input_steps=3, max_steps=2, heads=2, depth=2, padding=1, latent_multiplier=2.0
    )
    compare(net, *window(5, 4, 6, samples=1))
    assert {"mix", "march"} <= set(counted)


def test_two_runs_give_the_same_bits(threads):
    net, (u, x) = model(dim=128), window(40, 33)
    first, second = outcome(net, u, x), outcome(net, u, x)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_switched_off(monkeypatch, counted):
    net, (u, x) = model(dim=128), window(9, 8)
    found = outcome(net, u, x)
    monkeypatch.setenv("SURFORM_NATIVE", "0")
    counted.clear()
    plain = outcome(net, u, x)
    assert counted == []
    assert_close(found, plain, plain, 1e-4)


def test_second_derivatives():
    """They go through the plain expression."""
    net, (u, x) = model(dim=128, depth=1), window(6, 5, samples=1)

    def twice(net: nn.Module, u: Tensor, x: list[Tensor]) -> list[Tensor]:
        u = u.detach().requires_grad_()
        (first,) = torch.autograd.grad(net(u, x).square().sum(), u, create_graph=True)
        parameters = [p for p in net.parameters() if p.requires_grad]
        found = torch.autograd.grad(first.square().sum(), [u, *parameters], allow_unused=True)
        return [g for g in found if g is not None]

    exact = twice(copy.deepcopy(net).double(), u.double(), [t.double() for t in x])
    found = twice(net, u, x)
    assert_close(found, exact, found, 1e-3)


def test_only_some_inputs_need_gradients():
    net, (u, x) = model(dim=128), window(9, 8)
    full = outcome(net, u, x)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.startswith("marching.up") or ".to_value" in name)
    y = net(u, x)
    cotangent = torch.randn(
        y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    (y * cotangent.float()).sum().backward()
    reference = dict(
        zip(
            (n for n, p in model(dim=128).named_parameters() if p.requires_grad),
            full[2:],
            strict=True,
        )
    )
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, reference[name])
