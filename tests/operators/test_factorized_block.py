"""The factorised block: rank, parallel form, kernels against the dispatcher's reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surform import attention
from surform.operators import kernel_integral
from surform.operators.factorized_block import FactorizedBlock
from surform.operators.headwise import mix_axes
from surform.operators.out_norm import OUT_NORMS, out_norm

GRIDS = [(7,), (6, 9), (4, 3, 5), (1, 4), (3, 1, 1)]


def block(rank: int, **options) -> FactorizedBlock:
    torch.manual_seed(0)
    made = FactorizedBlock(8, 3, 4, rank, **options).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def example(grid: tuple[int, ...], samples: int = 2) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(1)
    coordinates = [torch.linspace(0, 2, n, dtype=torch.float64) for n in grid]
    return torch.randn(samples, *grid, 8, dtype=torch.float64, requires_grad=True), coordinates


def outcome(made: FactorizedBlock, grid: tuple[int, ...], samples: int = 2) -> list[Tensor]:
    u, x = example(grid, samples)
    y = made(u, x)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()
    return [y, *torch.autograd.grad(loss, [u, *made.parameters()])]


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("parallel", [False, True], ids=["chained", "parallel"])
@pytest.mark.parametrize("norm", OUT_NORMS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_head_by_head_equals_the_plain_expression(grid, norm, parallel, recompute):
    made = block(len(grid), out_norm=norm, parallel=parallel, recompute=recompute)
    fast = outcome(made, grid)
    with attention.use("reference"):
        plain = outcome(made, grid)
    for a, b in zip(fast, plain, strict=True):
        assert (a - b).abs().max() <= 1e-9 * b.abs().max() + 1e-10


# bytes of a block: three indices of the first axis, one left over; one index; two of three samples
@pytest.mark.parametrize("size", [1728, 1, 8064])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("parallel", [False, True], ids=["chained", "parallel"])
@pytest.mark.parametrize("norm", OUT_NORMS)
@pytest.mark.parametrize("grid", [(42,), (7, 6), (7, 3, 2)], ids=str)
def test_uneven_blocks_and_groups_of_samples(monkeypatch, grid, norm, parallel, recompute, size):
    made = block(len(grid), out_norm=norm, parallel=parallel, recompute=recompute)
    with attention.use("reference"):
        plain = outcome(made, grid, samples=3)
    monkeypatch.setattr(kernel_integral, "_BLOCK_BYTES", size)
    for a, b in zip(outcome(made, grid, samples=3), plain, strict=True):
        assert (a - b).abs().max() <= 1e-9 * b.abs().max() + 1e-10


def test_pieces_cover_heads_and_features_once(monkeypatch):
    made = block(2)
    kernels = [torch.rand(2, 3, n, n).double() for n in (6, 9)]
    u = torch.rand(2, 6, 9, 8).double()
    for size in (1, 4000, 8000, 1 << 20):
        monkeypatch.setattr(kernel_integral, "_BLOCK_BYTES", size)
        values = made.to_value.weight.unflatten(0, (3, 4))
        integral = kernel_integral.KernelIntegral(False, u, values, kernels)
        covered = torch.zeros(3, 4)
        for heads, features in integral.pieces:
            covered[heads, features] += 1
        assert (covered == 1).all()
        assert [i for block in integral.blocks for i in range(6)[block]] == list(range(6))


def test_a_graph_can_be_walked_twice():
    made = block(2)
    u, x = example((6, 5))
    loss = made(u, x).square().sum()
    first = torch.autograd.grad(loss, [u, *made.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [u, *made.parameters()])
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_two_graphs_share_work_memory_safely():
    made = block(2)
    u, x = example((6, 5))
    other = torch.randn(2, 8, 9, 8, dtype=torch.float64)
    alone = outcome(made, (6, 5))[1]
    y = made(u, x)
    made(other, [torch.rand(8).double(), torch.rand(9).double()]).sum().backward()
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    (grad,) = torch.autograd.grad((y * weights).sum(), u)
    torch.testing.assert_close(grad, alone)


def test_residual_is_added():
    made = block(2)
    u, x = example((6, 5))
    torch.testing.assert_close(made(u, x, residual=u), made(u, x) + u)


def test_group_norm_makes_the_update_blind_to_the_scale_of_the_values():
    made = block(2, out_norm="group")
    u, x = example((6, 5))
    with torch.no_grad():
        made.to_value.weight.mul_(1e6)  # far above the norm's eps
        before = made(u, x)
        made.to_value.weight.mul_(1e3)
        torch.testing.assert_close(made(u, x), before, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", OUT_NORMS)
def test_large_means_do_not_spoil_float32_variances(name):
    """Statistics are taken about a value near the mean: a big offset costs no digits."""
    u, width = torch.randn(1, 32, 32, 16) + 300, torch.eye(16)
    kernels = [torch.eye(32).expand(1, 1, 32, 32)] * 2
    exact = mix_axes(
        u.double(), width.double(), width.double(), [k.double() for k in kernels], out_norm(name)
    )
    error = (mix_axes(u, width, width, kernels, out_norm(name)) - exact).norm() / exact.norm()
    assert error < 1e-4


@pytest.mark.parametrize("norm", OUT_NORMS)
@pytest.mark.parametrize("parallel", [False, True])
def test_gradcheck(parallel, norm):
    made = FactorizedBlock(4, 2, 2, 2, parallel=parallel, out_norm=norm).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = [torch.linspace(0, 1, n, dtype=torch.float64) for n in (2, 3)]
    u = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: made(v, x), (u,))
    assert torch.autograd.gradgradcheck(lambda v: made(v, x), (u,))
