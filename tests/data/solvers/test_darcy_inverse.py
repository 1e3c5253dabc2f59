from __future__ import annotations

import numpy as np
import pytest
import torch

from surform.data.solvers.darcy import darcy
from surform.data.solvers.darcy_inverse import darcy_inverse, pool
from surform.data.solvers.samples import Samples


@pytest.mark.parametrize(("points", "size"), [(421, 3), (141, 4), (12, 3), (10, 4), (7, 1)])
def test_pool_is_the_mean_of_padded_blocks_without_the_padding(points, size):
    field = np.random.default_rng(0).standard_normal((2, points, points))
    blocks = -(-points // size)
    low = (blocks * size - points) // 2
    padded = np.full((2, blocks * size, blocks * size), np.nan)
    padded[:, low : low + points, low : low + points] = field
    expected = np.nanmean(padded.reshape(2, blocks, size, blocks, size), axis=(2, 4))
    np.testing.assert_allclose(pool(torch.from_numpy(field), size), expected, atol=1e-12)


def test_published_sizes():
    a = torch.ones(1, 421, 421)
    fine = pool(a, 3)
    assert fine.shape == (1, 141, 141)
    assert pool(fine, 4).shape == (1, 36, 36)


def test_pressure_is_that_of_the_forward_problem():
    inverse = darcy_inverse(Samples(range(2)), grid=61, stride=2, pool_stride=6)
    forward = darcy(Samples(range(2)), grid=61, stride=2)
    torch.testing.assert_close(inverse.fields["u"].values, forward.fields["u"].values)
    target = inverse.fields["a"]
    assert target.axes == ("x_coarse", "y_coarse")
    assert target.values.shape == (2, 11, 11)
    assert 3.0 <= float(target.values.min()) < float(target.values.max()) <= 12.0


def test_pool_stride_must_be_a_multiple_of_the_stride():
    with pytest.raises(ValueError, match="stride=3 must be at least 1 and divide pool_stride=8"):
        darcy_inverse(Samples(range(1)), grid=61, stride=3, pool_stride=8)
