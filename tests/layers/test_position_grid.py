from __future__ import annotations

import pytest
import torch

from surform.layers.position_grid import resize_positions


# torch's cubic (a = -0.75) bends a ramp a little
@pytest.mark.parametrize(("mode", "within"), [("bicubic", 0.06), ("bilinear", 1e-5)])
def test_a_linear_ramp_stays_one_inside(mode, within):
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="ij")
    grid = torch.stack((rows, columns), -1).reshape(1, 48, 2)
    found = resize_positions(grid, (8, 6), (16, 12), mode=mode).view(16, 12, 2)
    expected = (torch.arange(16.0) + 0.5) / 2 - 0.5  # the centre of each finer place
    torch.testing.assert_close(found[4:12, 6, 0], expected[4:12], rtol=0, atol=within)


def test_leading_entries_stay_and_equal_grids_change_nothing():
    positions = torch.randn(1, 2 + 12, 5)
    assert resize_positions(positions, (4, 3), (4, 3)) is positions
    found = resize_positions(positions, (4, 3), (6, 2))
    assert found.shape == (1, 14, 5)
    assert torch.equal(found[:, :2], positions[:, :2])


def test_too_few_entries_are_refused():
    with pytest.raises(ValueError, match="11 entries, fewer than the 4 x 3 places"):
        resize_positions(torch.randn(1, 11, 5), (4, 3), (6, 2))
