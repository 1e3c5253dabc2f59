from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from surform.data.solvers.darcy import darcy
from surform.data.solvers.elliptic import apply_elliptic, central_differences, solve_elliptic
from surform.data.solvers.samples import Samples


def manufactured_error(nodes: int) -> float:
    """u = sin(pi x) sin(2 pi y), a = 1 + x^2 y + cos(pi x)/2, f by hand."""
    x = torch.linspace(0, 1, nodes, dtype=torch.float64)[:, None]
    y = torch.linspace(0, 1, nodes, dtype=torch.float64)[None]
    pi = math.pi
    u = torch.sin(pi * x) * torch.sin(2 * pi * y)
    a = 1 + x**2 * y + torch.cos(pi * x) / 2 + 0 * y
    a_x, a_y = 2 * x * y - pi / 2 * torch.sin(pi * x), x**2
    u_x, u_y = (
        pi * torch.cos(pi * x) * torch.sin(2 * pi * y),
        2 * pi * torch.sin(pi * x) * torch.cos(2 * pi * y),
    )
    f = -(a_x * u_x + a_y * u_y - 5 * pi**2 * a * u)
    found = solve_elliptic(a[None], f[None, 1:-1, 1:-1])[0]
    return float((found - u).abs().max())


def test_manufactured_solution_second_order():
    errors = [manufactured_error(n) for n in (17, 33, 65)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(1.9 < p < 2.1 for p in orders), (errors, orders)


def test_constant_coefficient_is_solved_exactly_at_once():
    n = 20
    x = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    u = torch.outer(torch.sin(3 * math.pi * x), torch.sin(math.pi * x))[None]
    eigenvalue = 4 * n**2 * (math.sin(3 * math.pi / 2 / n) ** 2 + math.sin(math.pi / 2 / n) ** 2)
    a = torch.full_like(u, 2.0)
    found = solve_elliptic(a, 2.0 * eigenvalue * u[:, 1:-1, 1:-1], max_iterations=3)
    torch.testing.assert_close(found, u, rtol=0, atol=1e-13)


def test_agrees_with_a_sparse_direct_solver():
    sparse = pytest.importorskip("scipy.sparse")
    linalg = pytest.importorskip("scipy.sparse.linalg")
    data = darcy(Samples(range(1)), grid=14, stride=1).fields
    a, u = data["a"].values[0].numpy(), data["u"].values[0].numpy()
    n, h = 14, 1 / 13
    matrix, right = sparse.lil_matrix((n * n, n * n)), np.zeros(n * n)
    for i in range(n):
        for j in range(n):
            row = i * n + j
            if i in (0, n - 1) or j in (0, n - 1):
                matrix[row, row] = 1
                continue
            right[row] = 1
            for k, m in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                face = (a[i, j] + a[k, m]) / 2 / h**2
                matrix[row, row] += face
                matrix[row, k * n + m] -= face
    expected = linalg.spsolve(matrix.tocsr(), right).reshape(n, n)
    np.testing.assert_allclose(u, expected, rtol=1e-9, atol=1e-13)


def test_outflow_through_the_boundary_is_what_the_source_puts_in():
    n = 33
    a = darcy(Samples(range(3)), grid=n, stride=1, coefficient="lognormal").fields["a"].values
    u = solve_elliptic(a, torch.ones(3, n - 2, n - 2, dtype=torch.float64), tolerance=1e-13)
    h = 1 / (n - 1)
    out = torch.zeros(3, dtype=torch.float64)
    for turn in range(4):
        b, v = torch.rot90(a, turn, (1, 2)), torch.rot90(u, turn, (1, 2))
        out += ((b[:, 0, 1:-1] + b[:, 1, 1:-1]) / 2 * v[:, 1, 1:-1]).sum(1)
    torch.testing.assert_close(out, torch.full_like(out, (n - 2) ** 2 * h**2))


def test_operator_is_symmetric_and_positive():
    a = torch.rand(1, 10, 10, dtype=torch.float64) + 0.1
    u, v = (torch.nn.functional.pad(torch.randn(1, 8, 8).double(), (1, 1, 1, 1)) for _ in range(2))
    inner = (slice(None), slice(1, -1), slice(1, -1))
    uv = (v[inner] * apply_elliptic(a, u)).sum()
    torch.testing.assert_close(uv, (u[inner] * apply_elliptic(a, v)).sum())
    assert float((u[inner] * apply_elliptic(a, u)).sum()) > 0


def test_samples_do_not_see_each_other():
    a = torch.rand(3, 12, 12, dtype=torch.float64) + 0.05
    f = torch.ones(3, 10, 10, dtype=torch.float64)
    together = solve_elliptic(a, f)
    for i in range(3):
        alone = solve_elliptic(a[i : i + 1], f[:1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fields_have_their_values_and_boundary(dtype):
    data = darcy(Samples(range(2), dtype=dtype), grid=41, stride=2, low=4.0)
    a, u = data.fields["a"].values, data.fields["u"].values
    assert a.shape == u.shape == (2, 21, 21)
    assert a.dtype == u.dtype == dtype
    assert set(a.unique().tolist()) == {4.0, 12.0}
    assert float(u[:, 0].abs().max()) == float(u[..., -1].abs().max()) == 0.0
    assert float(u[:, 1:-1, 1:-1].min()) > 0
    torch.testing.assert_close(data.axes["x"].values, torch.linspace(0, 1, 21).double())


def test_gradients_are_taken_on_the_solved_grid():
    fine = darcy(Samples(range(1)), grid=41, stride=1).fields
    coarse = darcy(Samples(range(1)), grid=41, stride=4).fields
    u = fine["u"].values
    expected = (u[:, 2:] - u[:, :-2]) * 41 / 2
    torch.testing.assert_close(fine["du_dx"].values[:, 1:-1], expected)
    torch.testing.assert_close(fine["du_dx"].values[:, 0], u[:, 1] * 41 / 2)
    torch.testing.assert_close(coarse["du_dy"].values, fine["du_dy"].values[:, ::4, ::4])


def test_central_differences_are_second_order():
    def error(n: int) -> float:
        x = torch.linspace(0, 1, n, dtype=torch.float64)
        u = torch.outer(torch.sin(3 * x), torch.cos(2 * x))
        du_dx, du_dy = central_differences(u[None], 1 / (n - 1))
        dx = torch.outer(3 * torch.cos(3 * x), torch.cos(2 * x))
        dy = torch.outer(torch.sin(3 * x), -2 * torch.sin(2 * x))
        inner = (slice(1, -1), slice(1, -1))
        return float(max((du_dx[0] - dx)[inner].abs().max(), (du_dy[0] - dy)[inner].abs().max()))

    assert 1.9 < math.log2(error(33) / error(65)) < 2.1


def test_no_convergence_is_one_sentence():
    a = torch.rand(1, 20, 20, dtype=torch.float64) + 1e-3
    with pytest.raises(ValueError, match="no convergence in 2 iterations: the coefficient varies"):
        solve_elliptic(a, torch.ones(1, 18, 18, dtype=torch.float64), max_iterations=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 6}, "stride=6 must be at least 1 and divide grid - 1=40"),
        ({"low": 0.0}, "low is 0.0, but it must be a number above 0"),
        ({"coefficient": "smooth"}, "coefficient is 'smooth', but it must be 'piecewise' or"),
        ({"grid": 2}, "grid is 2, but it must be at least 3"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        darcy(Samples(range(1)), **{"grid": 41, "stride": 1, **options})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
def test_what_is_not_finite_has_no_solution(value):
    ones = torch.ones(1, 20, 20, dtype=torch.float64)
    with pytest.raises(ValueError, match="must be finite"):
        solve_elliptic(ones, torch.full((1, 18, 18), value, dtype=torch.float64))
    if value != 1e200:
        with pytest.raises(ValueError, match="must be finite"):
            solve_elliptic(value * ones, ones[:, 1:-1, 1:-1])
