from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from surform.data.solvers.random_fields import neumann_square, periodic_line, periodic_square
from surform.data.solvers.samples import Samples


def test_numbers_of_a_sample_depend_on_its_seed_and_number_alone():
    one, two = Samples(range(3, 5), seed=7), Samples(range(9), seed=7)
    torch.testing.assert_close(one.normal(4), two.normal(4)[3:5], rtol=0, atol=0)
    torch.testing.assert_close(one.uniform(0, 2, 3), two.uniform(0, 2, 3)[3:5], rtol=0, atol=0)
    assert not torch.equal(Samples(range(1), seed=8).normal(4), Samples(range(1), seed=7).normal(4))


def test_periodic_line_is_its_series():
    noise = torch.randn(2, 8, 2, dtype=torch.float64)
    sigma, tau, gamma = 3.0, 2.0, 1.5
    field = torch.fft.irfft(periodic_line(noise, 64, sigma, tau, gamma), n=64)
    x = torch.arange(64, dtype=torch.float64) / 64
    expected = torch.zeros_like(field)
    for k in range(1, 9):
        size = math.sqrt(2) * sigma * ((2 * math.pi * k) ** 2 + tau**2) ** (-gamma / 2)
        wave = noise[:, k - 1, :1] * torch.cos(2 * math.pi * k * x)
        wave = wave + noise[:, k - 1, 1:] * torch.sin(2 * math.pi * k * x)
        expected += size * wave
    torch.testing.assert_close(field, expected)


def test_finer_line_continues_the_same_field():
    noise = torch.randn(1, 8, 2, dtype=torch.float64)
    fine = torch.fft.irfft(periodic_line(noise, 128, 1.0, 1.0, 2.0), n=128)
    coarse = torch.fft.irfft(periodic_line(noise, 64, 1.0, 1.0, 2.0), n=64)
    torch.testing.assert_close(fine[:, ::2], coarse)


def test_neumann_square_is_the_inverse_cosine_transform_at_cell_centres():
    fft = pytest.importorskip("scipy.fft")
    s, tau, alpha = 12, 3.0, 2.0
    noise = torch.randn(1, s, s, dtype=torch.float64)
    centres = (torch.arange(s, dtype=torch.float64) + 0.5) / s
    k = np.arange(s)
    squared = np.pi**2 * (k[:, None] ** 2 + k**2)
    coefficient = tau ** (alpha - 1) * (squared + tau**2) ** (-alpha / 2) * noise[0].numpy()
    coefficient[0, 0] = 0
    expected = s * fft.idctn(coefficient, norm="ortho")
    found = neumann_square(noise.clone(), centres, tau, alpha)[0]
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_periodic_square_has_zero_mean_and_the_stated_spectrum():
    n, sigma, tau, alpha = 16, 2.0, 3.0, 2.5
    noise = Samples(range(4000), 0).normal(n, n // 2 + 1, 2)
    spectrum = periodic_square(noise, sigma, tau, alpha, 2 * math.pi)
    assert float(spectrum[:, 0, 0].abs().max()) < 1e-9
    for kx, ky in ((1, 1), (0, 3), (-2, 2)):
        size = n**2 * math.sqrt(2) * sigma * (kx**2 + ky**2 + tau**2) ** (-alpha / 2)
        found = float(spectrum[:, kx, ky].abs().square().mean().sqrt())
        assert found == pytest.approx(size, rel=0.05)
